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

"""What limits the number of memory devices of a guest is its host."""

import copy
import pathlib

import fixtures
from lxml import etree

from nova_memhotplug.virt import regions
from tests.functional import base


class TestRegions(base.MemoryTestBase):
    """The kernel's module vhost knows so many regions of memory."""

    def setUp(self):
        super().setUp()
        self.max_mem_regions = pathlib.Path(
            self.useFixture(fixtures.TempDir()).path) / 'max_mem_regions'
        self.useFixture(fixtures.MockPatchObject(
            regions, 'VHOST', self.max_mem_regions))
        describe = self.memory_libvirt.domain.XMLDesc

        def with_ports(domain, flags):
            """Nova's fake forgets what ports its guests were given."""
            root = etree.fromstring(describe(domain, flags))
            for port in root.findall('devices/interface'):
                port.getparent().remove(port)
            root.find('devices').extend(map(
                copy.deepcopy, domain._root.findall('devices/interface')))
            return etree.tostring(root, encoding='unicode')

        self.useFixture(fixtures.MockPatchObject(
            self.memory_libvirt.domain, 'XMLDesc', with_ports))

    def boot_with_port(self):
        return self._create_server(
            networks='auto', flavor_id=self.create_flavor(base.ELASTIC))

    def codes(self, server, memory_mb):
        return self.plan(server, memory_mb)[2]

    def refused(self, server, memory_mb):
        """Plan and action say the same, and nothing is touched."""
        self.assertEqual(['no_free_region'], self.codes(server, memory_mb))
        status, body = self.resize(server, memory_mb)
        self.assertEqual(409, status)
        (fault,) = body.values()
        self.assertEqual('no_free_region', fault['reason'])
        self.assertIn('can have 1 memory devices', fault['message'])

    def test_one_device_is_left(self):
        self.max_mem_regions.write_text('4\n')
        server = self.boot_with_port()
        self.assertIn('"most":1', self.note(server))
        self.assertTrue(self.show(server)[1]['memory']['can_grow'])
        self.grow(server, 1024)
        self.refused(server, 1536)
        self.assert_books(server, 1024)
        self._reboot_server(server, hard=True)
        self.grow(server, 1536)
        self.assert_books(server, 1536)

    def test_without_a_port(self):
        self.max_mem_regions.write_text('3\n')
        self.assertEqual([], self.codes(self.boot_elastic(), 1024))

    def test_without_the_module(self):
        server = self.boot_with_port()
        self.assertNotIn('most', self.note(server))
        self.assertEqual([], self.codes(server, 1024))
