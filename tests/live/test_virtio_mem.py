#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.
"""Guests that boot with a virtio-mem, on both architectures at once."""

import os

import ddt

from tests.live import base
from tests.live import cloud
from tests.live import hosts

#: What the servers have, and what of it is boot memory, in MiB.
TOTAL_MB, BOOT_MB, CEILING_MB = 1024, 512, 2048
#: How often a server is brought up and down; many rounds take long.
ROUNDS = int(os.environ.get('MEMHOTPLUG_ROUNDS', '1'))


class VirtioMemTest(base.LiveTest):

    def test_boots_with_less(self):
        """The guest takes the rest, also after Nova has made it anew, and
        after it has moved.
        """
        flavor = self.flavor(
            'live-virtio-mem', TOTAL_MB,
            memhotplug__max_memory_mb=str(CEILING_MB),
            memhotplug__model='virtio-mem',
            memhotplug__boot_memory_mb=str(BOOT_MB),
            trait__CUSTOM_MEMORY_HOTPLUG_VIRTIO_MEM='required')
        servers = [self.create(arch, flavor) for arch in cloud.ARCHS]
        for server in servers:
            server.wait()
            added_kb = (TOTAL_MB - BOOT_MB) * base.MIB_KB
            server.wait_guest(
                '%d kB on node 1' % added_kb,
                lambda guest: guest['nodes'].get(1) == added_kb)
            self.check(server)
            server.act({'reboot': {'type': 'HARD'}})
        for server in servers:
            server.wait()
            self.check(server)
        hosts.migrate_live(servers[0])
        self.check(servers[0])

    def check(self, server):
        """The guest takes all that it is asked to, and the books have it."""
        (dev,) = cloud.until(
            120, 'all of the device', lambda: self.devices(server))
        self.assertEqual(
            ('ua-memhotplug-vmem-0', 1, None, TOTAL_MB - BOOT_MB),
            (dev.alias, dev.node, dev.slot, dev.size_mb))
        self.assert_total(server, TOTAL_MB)

    def devices(self, server):
        """List the devices, if the guest has taken all of them."""
        guest = hosts.read_domain(server)
        self.assertEqual(
            (BOOT_MB, CEILING_MB), (guest.boot_mb, guest.max_mb))
        return guest.taken_mb == TOTAL_MB and guest.devices


@ddt.ddt
class BothWaysTest(base.LiveTest):

    @ddt.data(*cloud.ARCHS)
    def test_up_and_down(self, arch):
        """Any total can be had, also after the guest has moved; no book
        drifts.
        """
        server = self.boot(
            arch, 'elastic-vmem', image='memhotplug-%s-movable' % arch)
        for number in range(ROUNDS):
            self.bring(server, 3072)
            self.bring(server, 1024)
            if number == 0:
                hosts.migrate_live(server)
            self.bring(server, 2048)
            self.bring(server, BOOT_MB)
        self.assertEqual(
            BOOT_MB, hosts.read_domain(server).boot_mb)

    def bring(self, server, total_mb):
        """Ask for a total; the guest has it, and then the books have."""
        self.grow(server, total_mb)
        server.wait_guest(
            '%d MiB on node 1' % (total_mb - BOOT_MB),
            lambda guest: guest['nodes'].get(1, 0) ==
            (total_mb - BOOT_MB) * base.MIB_KB)
        cloud.until(
            60, '%d MiB in the books' % total_mb,
            lambda: server.books() == (total_mb, total_mb),
            lambda: '%s %s' % (server.books(), server.memory()))
        self.assert_total(server, total_mb)
        outcome = cloud.until(
            60, 'the end of the resize', lambda: self.final(server))
        self.assertEqual(('confirmed', True), (
            outcome['verdict'], outcome['final']), outcome)

    @staticmethod
    def final(server):
        outcome = (server.memory()['last_resize'] or {}).get('outcome')
        return outcome if outcome and outcome['final'] else None
