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

from tests.live import base
from tests.live import cloud
from tests.live import hosts

#: What the servers have, and what of it is boot memory, in MiB.
TOTAL_MB, BOOT_MB, CEILING_MB = 1024, 512, 2048


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
