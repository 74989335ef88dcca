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

"""A device that libvirt has lost, as when it was killed while it attached."""

import ddt

from tests.live import base
from tests.live import cloud
from tests.live import hosts


@ddt.ddt
class LostDeviceTest(base.LiveTest):

    @ddt.data(*cloud.ARCHS)
    def test_taken_away(self, arch):
        """QEMU has a device that libvirt does not know of."""
        server = self.boot(arch)
        self.grow(server, 640)
        first = server.wait_guest(
            '128 MiB on node 1',
            lambda guest: guest['nodes'].get(1, 0) == 128 * base.MIB_KB)
        hosts.attach_unseen(server, 256, slot=1)
        server.wait_guest(
            '384 MiB on node 1',
            lambda guest: guest['nodes'].get(1, 0) == 384 * base.MIB_KB)
        self.assert_total(server, 640)
        self.grow(server, 1152)
        last = server.wait_guest(
            '640 MiB on node 1',
            lambda guest: guest['nodes'].get(1, 0) == 640 * base.MIB_KB)
        self.assert_grown(first, last, 1, 512)
        self.assert_total(server, 1152)
        self.assertEqual(
            {dev['alias'] for dev in server.memory()['devices']},
            {dev['data']['id'] for dev in hosts.ask_qemu(
                server, 'query-memory-devices')})
        self.assertEqual(1, server.boots(), 'the guest was rebooted')
