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

"""The main job: a running server grows, and its guest uses the memory."""

from tempest import config
from tempest.lib import decorators

from nova_memhotplug_tempest_plugin.tests import base

CONF = config.CONF
STEPS = 4


class GrowTest(base.MemoryTest):
    """A server grows to a size and to a flavor, without a reboot."""

    image_option = None

    @classmethod
    def skip_checks(cls):
        super().skip_checks()
        if cls.image_option:
            cls.skip_without(cls.image_option)

    def _grow_once(self, server_id):
        """Grow to a flavor if there is one."""
        flavor_id = CONF.memhotplug.flavor_ref_alt
        if not flavor_id:
            return self.grow(server_id, STEPS)
        flavor = self.os_primary.flavors_client.show_flavor(
            flavor_id)['flavor']
        answer, last = self.resize(server_id, flavorRef=flavor_id)
        self.assertEqual((True, 'done'), (answer['changed'], last['status']))
        self.assert_total(server_id, flavor['ram'])
        server = self.servers.show_server(server_id)['server']
        self.assertEqual(flavor['name'], server['flavor']['original_name'])
        return flavor['ram']

    @decorators.attr(type='smoke')
    @decorators.idempotent_id('e41b7d06-8c5f-4a93-b2d0-9f6a3e8c1d74')
    def test_twice(self):
        server_id = self.boot(self.addCleanup, image=(
            self.image_option and CONF.memhotplug[self.image_option]))
        memory, before = self.show(server_id), self.report(server_id)
        total_mb, devices = memory['current_mb'], []
        for growth in (self._grow_once, lambda one: self.grow(one, STEPS)):
            earlier_mb, total_mb = total_mb, growth(server_id)
            before = self.wait_added(server_id, before, total_mb - earlier_mb)
            self.assertEqual(devices, self.show(server_id)['devices'][:-1])
            devices = self.show(server_id)['devices']
        self.assertEqual(
            {**memory['slots'], 'used': len(devices),
             'free': memory['slots']['total'] - len(devices)},
            self.show(server_id)['slots'])
        self.assert_not_rebooted(server_id)


class GrowSecondImageTest(GrowTest):
    """The same with another image, as of another architecture."""

    image_option = 'second_image_ref'

    @decorators.idempotent_id('27d0c9f5-4e8b-4b61-8f3a-c5b7d2e09a18')
    def test_twice(self):
        super().test_twice()
