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

import ddt

from tests.live import base
from tests.live import cloud
from tests.live import refusals


@ddt.ddt
class RefusalTest(refusals.RefusalMixin, base.LiveTest):

    @ddt.data(*cloud.ARCHS)
    def test_sizes_and_users(self, arch):
        server = self.boot(arch)
        self.refuse(server, 1000, 400, '1000 MiB', '128 MiB', '896', '1024',
                    code='unaligned')
        self.refuse(server, 4224, 400, '4224 MiB', '4096 MiB',
                    code='above_ceiling')
        self.refuse(server, 256, 400, '256 MiB', '512 MiB',
                    code='below_present_size')
        self.refuse(server, 1024, 403, 'policy does not allow you to change',
                    user='reader', code='not_allowed')
        self.refuse(server, 1024, 404, server.id, user='member2')
        for body in (0, -512, 1.5, 'much', None, [1024], 1 << 40):
            self.refuse(server, body, 400, 'memory_mb')

    def test_another_projects_server_cannot_be_seen(self):
        server = self.boot()
        for user, status in (('reader', 200), ('member2', 404)):
            answer = cloud.connect(user).compute.get(
                server.path + '/os-memory')
            self.assertEqual(status, answer.status_code, answer.text)

    @ddt.data(*cloud.ARCHS)
    def test_slots_used_up(self, arch):
        flavor = self.flavor('live-one-slot-%s' % arch,
                             memhotplug__max_memory_mb='2048',
                             memhotplug__slots='1')
        server = self.boot(arch, flavor)
        self.grow(server, 640)
        self.refuse(server, 768, 409, '1 of 1', 'slots', code='no_free_slot')

    @ddt.data(*cloud.ARCHS)
    def test_flavor_without_the_key(self, arch):
        server = self.boot(arch, 'fixed')
        self.refuse(server, 1024, 409, 'memhotplug:max_memory_mb',
                    code='not_elastic')

    def test_stopped(self):
        server = self.boot()
        server.act({'os-stop': None})
        server.wait('SHUTOFF')
        self.refuse(server, 1024, 409, 'stopped', code='not_active')
        server.act({'os-start': None})
        server.wait()

    def test_locked(self):
        server = self.boot()
        server.act({'lock': None})
        self.refuse(server, 1024, 409, 'locked', code='locked')
        server.act({'unlock': None})
        self.grow(server, 1024)
        self.assert_total(server, 1024)


@ddt.ddt
class FlavorTest(base.LiveTest):

    @ddt.data(
        ('memhotplug:slots', '0'), ('memhotplug:slots', '300'),
        ('memhotplug:model', 'nonsense'), ('memhotplug:zero_node', 'perhaps'),
        ('memhotplug:max_memory_mb', 'much'), ('memhotplug:unknown', '1'))
    @ddt.unpack
    def test_refused_when_set(self, key, value):
        name = self.flavor('live-flavor', memhotplug__max_memory_mb='4096')
        compute = cloud.connect('admin').compute
        flavor = compute.find_flavor(name)
        answer = compute.post(
            '/flavors/%s/os-extra_specs' % flavor.id,
            json={'extra_specs': {key: value}}, microversion='2.86')
        self.assertEqual(400, answer.status_code, answer.text)

    def test_refused_at_boot(self):
        name = self.flavor('live-contradiction',
                           memhotplug__max_memory_mb='512')
        server = self.create(flavor=name)
        server.wait('ERROR')
        fault = cloud.connect('admin').compute.get_server(server.id).fault
        self.assertIn('memhotplug:max_memory_mb', fault['message'])
        self.assertIn('512 MiB', fault['message'])
