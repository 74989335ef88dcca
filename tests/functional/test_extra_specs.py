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

"""Flavor extra specs, which Nova itself validates."""

from tests.functional import base

WRONG = (
    ('memhotplug:slots', '0'),
    ('memhotplug:slots', '-1'),
    ('memhotplug:slots', '256'),
    ('memhotplug:slots', '300'),
    ('memhotplug:slots', 'x'),
    ('memhotplug:slots', ''),
    ('memhotplug:model', 'nvdimm'),
    ('memhotplug:model', ''),
    ('memhotplug:zero_node', 'perhaps'),
    ('memhotplug:max_memory_mb', '0'),
    ('memhotplug:max_memory_mb', '-1'),
    ('memhotplug:max_memory_mb', '1.5'),
    ('memhotplug:max_memory_mb', '4 GiB'),
    # What int() takes and a boot does not.
    ('memhotplug:max_memory_mb', '+4096'),
    ('memhotplug:max_memory_mb', '4_096'),
    ('memhotplug:max_memory_mb', '\u0664'),
    ('memhotplug:max_memory_mb', str(2 ** 31)),
    ('memhotplug:max_memory_mb', str(2 ** 63)),
    ('memhotplug:max_memory_mb', '9' * 255),
    ('memhotplug:slots', '+8'),
    ('memhotplug:slots', '8_0'),
    ('memhotplug:boot_memory_mb', '0'),
    ('memhotplug:boot_memory_mb', '512M'),
    ('memhotplug:foo', '1'),
    ('memhotplug:max_memory', '4096'),
)

RIGHT = {
    'memhotplug:max_memory_mb': '4096',
    'memhotplug:slots': '255',
    'memhotplug:zero_node': 'false',
    'memhotplug:model': 'dimm',
    'trait:CUSTOM_MEMORY_HOTPLUG': 'required',
}


class TestExtraSpecs(base.MemoryTestBase):

    def _post(self, flavor_id, extra_specs):
        return self.admin_api.api_request(
            'flavors/%s/os-extra_specs' % flavor_id, method='POST',
            body=base.jsonutils.dumps({'extra_specs': extra_specs}))

    def test_wrong(self):
        flavor_id = self.create_flavor()
        for key, value in WRONG:
            response = self._post(flavor_id, {key: value})
            self.assertEqual(400, response.status_code, (key, value))
        self.assertEqual(
            {}, self.admin_api.get_extra_specs(flavor_id))

    def test_right(self):
        flavor_id = self.create_flavor()
        response = self._post(flavor_id, RIGHT)
        self.assertEqual(200, response.status_code, response.text)
        for key, value in (('memhotplug:slots', '1'),
                           ('memhotplug:zero_node', 'True'),
                           ('memhotplug:model', 'virtio-mem'),
                           ('memhotplug:boot_memory_mb', '512'),
                           ('memhotplug:max_memory_mb', ' 4096 '),
                           ('memhotplug:max_memory_mb', '2147483647'),
                           ('memhotplug:max_memory_mb', '1')):
            response = self._post(flavor_id, {key: value})
            self.assertEqual(200, response.status_code, response.text)

    def test_trait_is_reported(self):
        """Flavors can ask for a host that can do it."""
        self.assertIn('CUSTOM_MEMORY_HOTPLUG', self._get_provider_traits(
            self.compute_rp_uuids['compute1']))

    def test_trait_keeps_servers_from_stock_hosts(self):
        self.computes['compute1'].stop()
        self.flags(compute_driver=base.STOCK_DRIVER)
        self.start_compute('compute2')
        self.admin_api.put_service_force_down(
            self.admin_api.get_services(
                host='compute1', binary='nova-compute')[0]['id'], True)
        server = self.boot(base.ELASTIC, expected_state='ERROR')
        self.assertIn('No valid host', self.api.get_server(
            server['id'])['fault']['message'])

    def test_host_without_the_plugin(self):
        """A flavor that does not ask for the trait may land anywhere."""
        self.flags(compute_driver=base.STOCK_DRIVER)
        self.restart_compute_service('compute1')
        server = self.boot({'memhotplug:max_memory_mb': '4096'})
        status, body = self.show(server)
        self.assertEqual(200, status, body)
        (reason,) = body['memory']['reasons']
        self.assertEqual('host_unaware', reason['code'])
        status, body = self.resize(server, 1024)
        self.assertEqual(409, status, body)
        self.assertIn('does not have the memory hot-plug extension',
                      body['conflictingRequest']['message'])
        self.assertIsNone(self.instance(server).task_state)
