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

"""What is refused: with the right status, a sentence, and no change."""

from tempest import config
from tempest.lib.common.utils import data_utils
from tempest.lib import decorators
from tempest.lib import exceptions

from nova_memhotplug_tempest_plugin.tests import base

CONF = config.CONF
NO_SIZES = (0, -512, 1.5, 'much', '', None, [1024], 1 << 40)


class ServerMemoryNegativeTest(base.MemoryTest):
    """The tests share a server that has not grown."""

    @classmethod
    def resource_setup(cls):
        super().resource_setup()
        cls.server_id = cls.create(cls.addClassResourceCleanup)
        cls.before = cls.show(cls.server_id)

    def refuse_size(self, reason, memory_mb, *words):
        self.refuse(exceptions.BadRequest, reason, self.server_id, *words,
                    memory_mb=memory_mb)

    @decorators.attr(type='negative')
    @decorators.idempotent_id('d2c1a0c8-3c1f-4b1e-8e0d-7b1f3e0a9c55')
    def test_between_steps(self):
        step_mb, total_mb = self.before['step_mb'], self.before['current_mb']
        wanted_mb = total_mb + step_mb + 1
        self.refuse_size(
            'unaligned', wanted_mb, '%d MiB' % wanted_mb, '%d MiB' % step_mb,
            total_mb + step_mb, total_mb + 2 * step_mb)

    @decorators.attr(type='negative')
    @decorators.idempotent_id('7e0f6d52-9f4e-4d7c-8b2a-2a6c9d1e5f30')
    def test_above_the_ceiling(self):
        max_mb = self.before['max_mb']
        wanted_mb = max_mb + self.before['step_mb']
        self.refuse_size('above_ceiling', wanted_mb, '%d MiB' % wanted_mb,
                         '%d MiB' % max_mb)

    @decorators.attr(type='negative')
    @decorators.idempotent_id('1b7a4c9d-6e2f-4f83-a1d5-c8b0e9f7a264')
    def test_below_the_present_size(self):
        total_mb = self.before['current_mb']
        wanted_mb = total_mb - self.before['step_mb']
        self.refuse_size('below_present_size', wanted_mb,
                         '%d MiB' % wanted_mb, '%d MiB' % total_mb)

    @decorators.attr(type='negative')
    @decorators.idempotent_id('94c0b6d1-0f2a-4d0b-b4d7-3e5a8c7f1d29')
    def test_no_size(self):
        with self.unchanged(self.server_id):
            for wanted in NO_SIZES:
                refused = self.assertRaises(
                    exceptions.BadRequest, self.memory.resize_server_memory,
                    self.server_id, memory_mb=wanted)
                self.assertIn('memory_mb', refused.resp_body['message'])

    @decorators.attr(type='negative')
    @decorators.idempotent_id('a6d3e1f7-8b49-4a0e-9c5d-0e7b2f6a4c81')
    def test_neither_or_both(self):
        with self.unchanged(self.server_id):
            for wanted in ({}, {'memory_mb': 1024, 'flavorRef': '1'},
                           {'memory_gb': 1}):
                self.assertRaises(
                    exceptions.BadRequest, self.memory.resize_server_memory,
                    self.server_id, **wanted)

    @decorators.attr(type='negative')
    @decorators.idempotent_id('c58e0d2b-1a7f-4e6c-8d3b-f9a4b7c6e012')
    def test_no_such_flavor(self):
        nothing = data_utils.rand_uuid()
        self.refuse(
            exceptions.BadRequest, 'flavor_not_found', self.server_id,
            nothing, flavorRef=nothing)

    @decorators.attr(type='negative')
    @decorators.idempotent_id('2f4b8a6e-5d0c-4c1a-b7e9-6d3f1c0a8b95')
    def test_plain_flavor(self):
        self.skip_without('plain_flavor_ref')
        self.refuse(
            exceptions.BadRequest, 'flavor_inelastic', self.server_id,
            'memhotplug:max_memory_mb',
            flavorRef=CONF.memhotplug.plain_flavor_ref)

    @decorators.attr(type='negative')
    @decorators.idempotent_id('e07d9c3a-4b6f-4f2d-9a1e-8c5b0d7f3e46')
    def test_no_query(self):
        for query in ({'memory_mb': 'much'}, {'memory_mb': [1024, 2048]},
                      {'guest': 'perhaps'}, {'memory_gb': 1}):
            self.assertRaises(
                exceptions.BadRequest, self.memory.show_server_memory,
                self.server_id, **query)

    @decorators.attr(type='negative')
    @decorators.idempotent_id('69a1f4d8-0c3e-4b7d-8f2a-b5e6c9d0a713')
    def test_no_such_server(self):
        nobody = data_utils.rand_uuid()
        self.assertRaises(exceptions.NotFound,
                          self.memory.show_server_memory, nobody)
        self.assertRaises(exceptions.NotFound,
                          self.memory.resize_server_memory, nobody,
                          memory_mb=1024)


class PlainServerNegativeTest(base.MemoryTest):
    """A server of a flavor without the key."""

    @classmethod
    def skip_checks(cls):
        super().skip_checks()
        cls.skip_without('plain_flavor_ref')

    @decorators.attr(type='negative')
    @decorators.idempotent_id('b8c6e2a4-7d1f-4a59-8e0b-3f9d5c1a7e60')
    def test_cannot_grow(self):
        server_id = self.create(
            self.addCleanup, flavor=CONF.memhotplug.plain_flavor_ref)
        memory = self.show(server_id)
        self.assertEqual((False, ['not_elastic']), (
            memory['can_grow'], [why['code'] for why in memory['reasons']]))
        self.refuse(
            exceptions.Conflict, 'not_elastic', server_id,
            'memhotplug:max_memory_mb', memory_mb=2 * memory['current_mb'])
