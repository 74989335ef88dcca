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

"""A server that has grown moves at its real size (design T5)."""

import ddt

from tests.live import base
from tests.live import cloud


@ddt.ddt
class MoveTest(base.LiveTest):

    @ddt.data(*cloud.ARCHS)
    def test_live_migration(self, arch):
        server = self.boot(arch)
        self.grow(server, 1024)
        devices = server.memory()['devices']
        source = self._host(server)
        server.act({'os-migrateLive': {
            'host': None, 'block_migration': False,
            'disk_over_commit': False}}, user='admin')
        server.wait()
        self.assertNotEqual(source, self._host(server))
        self.assertEqual(devices, server.memory()['devices'])
        self.assert_total(server, 1024)
        self.grow(server, 1536)
        self.assert_total(server, 1536)

    def test_cold_migration_folds(self):
        server = self.boot()
        self.grow(server, 1024)
        server.act({'migrate': None}, user='admin')
        server.wait('VERIFY_RESIZE')
        server.act({'confirmResize': None})
        server.wait()
        self.assert_total(server, 1024)
        self.assertEqual([], server.memory()['devices'])
        self.grow(server, 1536)
        self.assert_total(server, 1536)

    def _host(self, server):
        return cloud.connect('admin').compute.get_server(
            server.id).compute_host
