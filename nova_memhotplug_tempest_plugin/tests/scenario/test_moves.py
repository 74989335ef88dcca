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

"""A server that has grown moves at its real size."""

from tempest import config
from tempest.lib import decorators

from nova_memhotplug_tempest_plugin.tests import base

CONF = config.CONF


class MoveTest(base.MemoryTest):
    """The tests share a server, and each of them lets it grow twice."""

    credentials = ['primary', 'admin']

    @classmethod
    def skip_checks(cls):
        super().skip_checks()
        if CONF.compute.min_compute_nodes < 2:
            raise cls.skipException('[compute] min_compute_nodes is below 2')

    @classmethod
    def setup_clients(cls):
        super().setup_clients()
        cls.admin_servers = cls.os_admin.servers_client

    @classmethod
    def resource_setup(cls):
        super().resource_setup()
        cls.server_id = cls.boot(cls.addClassResourceCleanup)

    def _host(self):
        return self.admin_servers.show_server(
            self.server_id)['server']['OS-EXT-SRV-ATTR:host']

    @decorators.idempotent_id('9d7b0e34-6f1c-4a28-b5e9-c3d8f7a04b61')
    def test_live_migration(self):
        self.skip_without_feature('live_migration')
        self.skip_without_feature('live_migration', 'compute_feature_enabled')
        before, earlier_mb = self.report(self.server_id), self.show(
            self.server_id)['current_mb']
        total_mb = self.grow(self.server_id)
        before = self.wait_added(
            self.server_id, before, total_mb - earlier_mb)
        source, devices = self._host(), self.show(self.server_id)['devices']
        self.act(
            self.server_id, self.admin_servers.live_migrate_server,
            host=None, block_migration='auto')
        self.assertNotEqual(source, self._host())
        self.assertEqual(devices, self.show(self.server_id)['devices'])
        added_mb = self.grow(self.server_id) - total_mb
        self.wait_added(self.server_id, before, added_mb)

    @decorators.idempotent_id('42a8f6c1-7e0d-4d59-8b3f-0a6e9c5d1b72')
    def test_cold_migration(self):
        self.skip_without_feature('cold_migration', 'compute_feature_enabled')
        total_mb = self.grow(self.server_id)
        source = self._host()
        self.act(self.server_id, self.admin_servers.migrate_server,
                 status='VERIFY_RESIZE')
        self.act(self.server_id, self.servers.confirm_resize_server)
        self.assertNotEqual(source, self._host())
        self.assert_total(self.server_id, total_mb)
        self.assertEqual([], self.show(self.server_id)['devices'])
        self.wait_guest(self.server_id)
        self.grow(self.server_id)
