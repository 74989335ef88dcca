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
"""Exporters and Ceilometer read from a domain what Nova's books say (P4)."""

from lxml import etree
import tenacity

from tests.functional import base
from tests.functional import fixtures


class TestMetadata(base.MemoryTestBase):

    def setUp(self):
        super().setUp()
        self.server = self.boot_elastic()
        self.name = self.server['name']

    def flavors(self):
        """Return what the domain says, live and stored."""
        return [etree.fromstring(one).find('{*}flavor')
                for one in self.fake_domain(self.server)._metadata.values()]

    def assert_told(self, total_mb):
        flavor = self.instance(self.server).flavor
        for found in self.flavors():
            self.assertEqual(str(total_mb), found.findtext('{*}memory'))
            self.assertEqual(
                (flavor.name, flavor.flavorid),
                (found.get('name'), found.get('id')))
            self.assertEqual(flavor.extra_specs, {
                spec.get('name'): spec.text
                for spec in found.findall('{*}extraSpecs/{*}extraSpec')})

    def told_later(self, total_mb):
        """What follows the end of a resize is waited for by nobody."""
        is_told = tenacity.Retrying(
            stop=tenacity.stop_after_delay(10), wait=tenacity.wait_fixed(0.1),
            retry=tenacity.retry_if_result(lambda result: not result),
            retry_error_callback=lambda state: False)(
                lambda: {str(total_mb)} == {
                    found.findtext('{*}memory') for found in self.flavors()})
        self.assertTrue(is_told)
        self.assert_told(total_mb)

    def test_grown(self):
        self.assert_told(base.BOOT_MB)
        self.grow(self.server, 1024)
        self.told_later(1024)
        # The rest is as Nova wrote it.
        for one in self.fake_domain(self.server)._metadata.values():
            root = etree.fromstring(one)
            self.assertEqual(self.name, root.findtext('{*}name'))
            self.assertEqual(1, len(root.findall('{*}flavor')))

    def test_other_flavor(self):
        flavor = self.create_flavor(base.ELASTIC, 1024)
        self.call(self.api, 'POST', self.server['id'], 'action',
                  {'resizeMemory': {'flavorRef': flavor}})
        self.wait_idle(self.server)
        self.told_later(1024)

    def test_corrected(self):
        self.crash_before_commit(self.server, 1024)
        self.restart_compute_service('compute1')
        self.assert_told(1024)

    def test_libvirt_refuses(self):
        """Nothing depends on it."""
        def refuse(domain, kind, uri, flags):
            # VIR_ERR_NO_DOMAIN_METADATA
            raise fixtures.libvirt_error(80, 'metadata not found')

        self.memory_libvirt.domain.metadata = refuse
        self.grow(self.server, 1024)
        self.assert_books(self.server, 1024)
