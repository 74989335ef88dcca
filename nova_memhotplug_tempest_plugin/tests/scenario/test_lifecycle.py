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

"""What has become of the memory after the guest was started again."""

from tempest import config
from tempest.lib import decorators
from tempest.lib import exceptions

from nova_memhotplug_tempest_plugin.tests import base

CONF = config.CONF


class LifecycleTest(base.MemoryTest):
    """The tests share a server, and each of them lets it grow."""

    @classmethod
    def resource_setup(cls):
        super().resource_setup()
        cls.server_id = cls.boot(cls.addClassResourceCleanup)
        cls.first = cls.report(cls.server_id)

    def assert_folded(self, total_mb):
        """All memory is what the guest has booted with; slots are free."""
        memory = self.show(self.server_id)
        self.assertEqual((total_mb, [], memory['slots']['total']), (
            memory['boot_mb'], memory['devices'], memory['slots']['free']))
        self.wait_guest(self.server_id, lambda report: (
            report.nodes.keys() == self.first.nodes.keys() and
            report.total_kb > self.first.total_kb))
        self.assert_total(self.server_id, total_mb)

    @decorators.idempotent_id('fa3d7b92-0c6e-4e15-8d4f-b1a9c5e7203d')
    def test_hard_reboot(self):
        total_mb = self.grow(self.server_id)
        self.act(self.server_id, self.servers.reboot_server, type='HARD')
        self.assert_folded(total_mb)

    @decorators.idempotent_id('1e9c4d80-b5a7-4f62-93d1-6e0f8b2a7c95')
    def test_soft_reboot(self):
        total_mb = self.grow(self.server_id)
        before = self.show(self.server_id)
        self.act(self.server_id, self.servers.reboot_server, type='SOFT')
        self.wait_guest(self.server_id, lambda report: (
            report.nodes.keys() > self.first.nodes.keys()))
        self.assertEqual(
            before['devices'], self.show(self.server_id)['devices'])
        self.assert_total(self.server_id, total_mb)

    @decorators.idempotent_id('6c2f8e5b-d03a-4b97-a1e6-5d9b7c4f0e38')
    def test_stop_and_start(self):
        total_mb = self.grow(self.server_id)
        wanted_mb = total_mb + self.show(self.server_id)['step_mb']
        self.act(self.server_id, self.servers.stop_server, status='SHUTOFF')
        self.refuse(exceptions.Conflict, 'not_active', self.server_id,
                    'stopped', memory_mb=wanted_mb)
        self.act(self.server_id, self.servers.start_server)
        self.assert_folded(total_mb)
