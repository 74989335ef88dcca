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

"""Flavors of an administrator, and what servers of them may do."""

from tempest import config
from tempest.lib import decorators
from tempest.lib import exceptions

from nova_memhotplug_tempest_plugin.tests import base

CONF = config.CONF
#: Above what the servers of a flavor boot with, in MiB. No step is larger.
ROOM_MB = 1024


class FlavorTest(base.MemoryTest):
    """Flavors that are made for a test."""

    credentials = ['primary', 'admin']
    # Since then the extra specs of flavors are checked.
    min_microversion = '2.86'

    @classmethod
    def setup_clients(cls):
        super().setup_clients()
        cls.flavors = cls.os_admin.flavors_client

    def like_the_elastic_one(self, **specs):
        """Make a flavor with some extra specs of its own.

        :param specs: without their prefix
        :returns: what was made
        """
        like = self.flavors.show_flavor(CONF.memhotplug.flavor_ref)['flavor']
        flavor = self.flavors.create_flavor(
            name=self.new_name(), ram=like['ram'], vcpus=like['vcpus'],
            disk=like['disk'])['flavor']
        self.addCleanup(self.flavors.delete_flavor, flavor['id'])
        self.flavors.set_flavor_extra_spec(flavor['id'], **{
            **self.flavors.list_flavor_extra_specs(like['id'])['extra_specs'],
            **{'memhotplug:' + key: str(value)
               for key, value in specs.items()}})
        return flavor

    @decorators.attr(type='negative')
    @decorators.idempotent_id('35f8c1a9-2d6e-4b7c-8a04-d9e3f7b0c612')
    def test_wrong_extra_specs(self):
        flavor = self.like_the_elastic_one()
        for key, value in (
                ('slots', '0'), ('slots', '300'), ('model', 'nonsense'),
                ('zero_node', 'perhaps'), ('max_memory_mb', 'much'),
                ('unknown', '1')):
            self.assertRaises(
                exceptions.BadRequest, self.flavors.set_flavor_extra_spec,
                flavor['id'], **{'memhotplug:' + key: value})

    @decorators.attr(type='negative')
    @decorators.idempotent_id('c7a0e5d4-9b1f-4c38-b6e2-0f4d8a3c7b59')
    def test_ceiling_too_low(self):
        flavor = self.like_the_elastic_one()
        low_mb = flavor['ram']
        self.flavors.set_flavor_extra_spec(
            flavor['id'], **{'memhotplug:max_memory_mb': str(low_mb)})
        server_id = self.create(
            self.addCleanup, flavor=flavor['id'], wait_until='ERROR')
        message = self.servers.show_server(
            server_id)['server']['fault']['message']
        self.assertIn('memhotplug:max_memory_mb', message)
        self.assertIn('%d MiB' % low_mb, message)

    @decorators.idempotent_id('0b5d9e63-7c2a-4f1e-9d84-a6c8b3e0f175')
    def test_to_the_ceiling(self):
        """In one slot, which is free again after a hard reboot.

        It is the administrator who grows the server of somebody else.
        """
        flavor = self.like_the_elastic_one(slots=1)
        max_mb = flavor['ram'] + ROOM_MB
        self.flavors.set_flavor_extra_spec(
            flavor['id'], **{'memhotplug:max_memory_mb': str(max_mb)})
        server_id = self.boot(self.addCleanup, flavor=flavor['id'])
        self.memory = self.os_admin.memhotplug.ServerMemoryClient()
        total_mb = self.grow(server_id)
        self.assert_allocated(server_id, total_mb)
        self.refuse(
            exceptions.Conflict, 'no_free_slot', server_id, '1 of 1',
            memory_mb=total_mb + self.show(server_id)['step_mb'])

        self.act(server_id, self.servers.reboot_server, type='HARD')
        answer, last = self.resize(server_id, memory_mb=max_mb)
        self.assertEqual('done', last['status'], last)
        self.assert_total(server_id, max_mb)
        self.assert_allocated(server_id, max_mb)

        self.act(server_id, self.servers.reboot_server, type='HARD')
        self.assert_total(server_id, max_mb)
        memory = self.show(server_id)
        self.assertEqual((False, ['at_ceiling'], max_mb), (
            memory['can_grow'], [why['code'] for why in memory['reasons']],
            memory['boot_mb']))
        self.refuse(exceptions.Conflict, 'at_ceiling', server_id,
                    '%d MiB' % max_mb, memory_mb=max_mb + ROOM_MB)

    def assert_allocated(self, server_id, total_mb):
        """Placement has the total, on whichever host it is."""
        allocations = self.os_admin.placement_client.list_allocations(
            server_id)['allocations']
        self.assertEqual([total_mb], [
            allocation['resources']['MEMORY_MB']
            for allocation in allocations.values()])
