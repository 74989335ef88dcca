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

"""What the owner of a server gets from the API."""

from tempest import config
from tempest.lib import decorators
from tempest.lib import exceptions

from nova_memhotplug_tempest_plugin.tests import base

CONF = config.CONF


class ServerMemoryTest(base.MemoryTest):
    """The tests share a server and may come in any order."""

    @classmethod
    def resource_setup(cls):
        super().resource_setup()
        cls.server_id = cls.boot(cls.addClassResourceCleanup)

    @decorators.attr(type='smoke')
    @decorators.idempotent_id('5a0a9e4f-4f0c-4f6e-9d8c-0a1c53b0fc1e')
    def test_show(self):
        memory = self.show(self.server_id)
        self.assertEqual((True, []), (memory['can_grow'], memory['reasons']))
        self.assertLess(memory['current_mb'], memory['max_mb'])
        self.assertEqual(
            memory['current_mb'], memory['boot_mb'] + sum(
                device['size_mb'] for device in memory['devices']))
        slots = memory['slots']
        self.assertEqual(slots['total'], slots['used'] + slots['free'])
        self.assert_total(self.server_id, memory['current_mb'])

    @decorators.idempotent_id('0c6a28f6-40f5-4d2a-b0a9-6f1e2e6f1a64')
    def test_plan_changes_nothing(self):
        memory = self.show(self.server_id)
        wanted_mb = memory['current_mb'] + memory['step_mb']
        with self.unchanged(self.server_id):
            plan = self.show(self.server_id, memory_mb=wanted_mb)['plan']
            self.assertEqual((wanted_mb, True, []), (
                plan['memory_mb'], plan['possible'], plan['reasons']))
            plan = self.show(
                self.server_id, memory_mb=memory['max_mb'] + 1)['plan']
        self.assertEqual((False, [], ['above_ceiling', 'unaligned']), (
            plan['possible'], plan['devices'],
            [why['code'] for why in plan['reasons']]))

    @decorators.attr(type='smoke')
    @decorators.idempotent_id('f0b9d0b4-4b44-4b1d-8a5c-1f6b1d0f2c7b')
    def test_resize(self):
        """It does what the plan says, once."""
        before = self.show(self.server_id)
        wanted_mb = before['current_mb'] + before['step_mb']
        plan = self.show(self.server_id, memory_mb=wanted_mb)['plan']
        answer, last = self.resize(self.server_id, memory_mb=str(wanted_mb))
        self.assertEqual((True, plan['devices']), (
            answer['changed'], answer['devices']))
        self.assertEqual('done', last['status'], last)
        self.assertEqual(
            last['request_id'], self.resizes(self.server_id)[0])
        self.assert_total(self.server_id, wanted_mb)

        with self.unchanged(self.server_id):
            again = self.memory.resize_server_memory(
                self.server_id, memory_mb=wanted_mb)['memory']
        self.assertEqual((False, []), (again['changed'], again['devices']))
        self.assertIn('nothing was changed', again['message'])

    @decorators.idempotent_id('b2f0c6f0-2c7e-4c0f-9a53-0f5a4f7b7d13')
    def test_locked(self):
        memory = self.show(self.server_id)
        wanted_mb = memory['current_mb'] + memory['step_mb']
        self.servers.lock_server(self.server_id)
        self.addCleanup(self.servers.unlock_server, self.server_id)
        self.assertEqual(
            ['locked'],
            [why['code'] for why in self.show(self.server_id)['reasons']])
        self.refuse(exceptions.Conflict, 'locked', self.server_id, 'locked',
                    memory_mb=wanted_mb)

    @decorators.idempotent_id('8f6a5a1c-57c1-4a3a-8e2e-5b9a0b7c3d42')
    def test_paused(self):
        if not CONF.compute_feature_enabled.pause:
            raise self.skipException('[compute-feature-enabled] pause')
        memory = self.show(self.server_id)
        wanted_mb = memory['current_mb'] + memory['step_mb']
        self.act(self.server_id, self.servers.pause_server, status='PAUSED')
        self.refuse(exceptions.Conflict, 'not_active', self.server_id,
                    'paused', memory_mb=wanted_mb)
        self.act(self.server_id, self.servers.unpause_server)

    @decorators.idempotent_id('3d3f5b8e-7a0e-4c56-9f5e-6c1b2a4d8e97')
    def test_guest_is_asked(self):
        if not CONF.memhotplug_feature_enabled.guest_agent:
            raise self.skipException('no guest agent')
        self.wait_guest(self.server_id)
        memory = self.until(lambda: self._confirmed(self.server_id))
        self.assertEqual(memory['current_mb'], memory['guest']['online_mb'])
        self.assertIs(True, memory['guest']['agent'])

    def _confirmed(self, server_id):
        memory = self.show(server_id, guest='true')
        return memory['guest']['confirmed'] and memory
