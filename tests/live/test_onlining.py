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

"""Memory that the books count stays in use, whatever the guest does."""

import functools

from tests.live import agent
from tests.live import base
from tests.live import cloud
from tests.live import hosts

TOTAL_MB = 1024
#: In a guest: leave the newest block offline.
LEAVE_OFFLINE = """
cd /sys/devices/system/node/node1
for block in memory*; do last=$block; done
echo offline > $last/state
cat $last/state
"""
#: In a guest: start again, without a word to anybody outside.
REBOOT = (
    '(sleep 1; echo b > /proc/sysrq-trigger) < /dev/null > /dev/null 2>&1 &')


class OnliningTest(base.LiveTest):
    """The kernel leaves new memory offline; the agent runs."""

    def grown(self, arch):
        image = 'live-memory-left-offline-' + arch
        cloud.copy_image(arch, image, 'memhotplug.online=no')
        self.addCleanup(cloud.delete_image, image)
        server = self.boot(arch, image=image)
        self.grow(server, TOTAL_MB)
        self.assert_in_use(server)
        return server

    def assert_in_use(self, server, boots=1):
        """In a moment the guest uses all that the books count."""
        server.wait_guest(
            '%d MiB in use after boot %d' % (TOTAL_MB, boots),
            lambda guest: guest['nodes'].get(1) == 512 * base.MIB_KB and
            server.boots() == boots)
        self.wait_confirmed(server, True)
        self.assert_total(server, TOTAL_MB)

    @staticmethod
    def wait_confirmed(server, wanted):
        """Ask until the agent answers: the host may be asking it, too."""
        cloud.until(60, 'confirmed: %s' % wanted, lambda: (
            server.memory(guest=True)['guest']['confirmed'] is wanted))

    def run_in(self, server, script):
        return agent.run(
            functools.partial(hosts.virsh, hosts.host_of(server)),
            server.id, script)

    def test_x86_64(self):
        server = self.grown('x86_64')
        self.run_in(server, REBOOT)
        self.assert_in_use(server, boots=2)
        self.assertEqual(
            'offline', self.run_in(server, LEAVE_OFFLINE).split()[-1])
        self.wait_confirmed(server, False)
        self.assertIs(False, self.grow(server, TOTAL_MB)['changed'])
        self.assert_in_use(server, boots=2)
        hosts.migrate_live(server)
        self.run_in(server, REBOOT)
        # The console begins anew on the other host.
        self.assert_in_use(server, boots=1)

    def test_aarch64(self):
        server = self.grown('aarch64')
        server.act({'reboot': {'type': 'SOFT'}})
        server.wait()
        self.assert_in_use(server)
