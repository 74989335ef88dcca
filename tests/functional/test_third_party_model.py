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

"""Somebody else's memory model: an entry point is all it takes."""

import fixtures
from nova.api.validation.extra_specs import validators

from nova_memhotplug.models import registry
from tests.functional import base
from tests.functional import fixtures as our_fixtures

NAME = 'memhotplug_thirds'
ENTRY_POINTS = '[nova_memhotplug.memory_models]\nthirds = %s:Thirds\n' % NAME
#: Plugs two DIMMs instead of one, and wants a watchdog in the guest.
SOURCE = '''
import dataclasses

from lxml import etree

from nova_memhotplug.core import device
from nova_memhotplug.core import planner
from nova_memhotplug.models import base


class Thirds(base.MemoryModel):

    def boot_devices(self, layout):
        return (etree.Element('watchdog', model='itco', action='none'),)

    def grow(self, guest, shares):
        (share,) = shares
        half_mb = share.size_mb // 2
        sizes = (half_mb, share.size_mb - half_mb)
        return tuple(self._change(number, size_mb, share.node)
                     for number, size_mb in enumerate(sizes))

    def _change(self, number, size_mb, node):
        dimm = device.MemoryDevice(
            model='dimm', size_mb=size_mb, node=node,
            alias='%sthirds-%d' % (
                getattr(device, 'ALIAS_PREFIX', 'ua-'), number))
        return planner.Change(
            device=dimm,
            xml=etree.tostring(device.build(dimm), encoding='unicode'))

    def read(self, element):
        return device.read(element)
'''


class TestThirdPartyModel(base.MemoryTestBase):

    def setUp(self):
        self.useFixture(our_fixtures.DistributionFixture(
            NAME, SOURCE, ENTRY_POINTS))
        # A process loads Nova's validators once, when it starts.
        self.useFixture(fixtures.MockPatchObject(
            validators, 'VALIDATORS', {}))
        self.useFixture(fixtures.MockPatchObject(
            validators, 'NAMESPACES', set()))
        registry.models.cache_clear()
        validators.load_validators()
        super().setUp()

    def test_found_by_name(self):
        self.assertEqual(NAME, type(registry.get('thirds')).__module__)
        self.assertEqual(
            'nova_memhotplug.models.dimm',
            type(registry.get('dimm')).__module__)

    def test_boot_and_grow(self):
        """The extra spec is accepted; the model boots and grows a guest."""
        server = self.boot_elastic(**{'memhotplug:model': 'thirds'})
        self.assertIn('<watchdog', self.defined_xml(server))
        plan = self.show(server, 1024)[1]['memory']['plan']
        self.assertEqual(
            [256, 256], [dev['size_mb'] for dev in plan['devices']])
        self.grow(server, 1024)
        self.assert_books(server, 1024)
        self.assertEqual([(0, 256), (1, 256)], [
            (dev.slot, dev.size_mb)
            for dev in self.guest(server).devices])

    def test_half_way(self):
        """The second of two devices fails: the first is taken back."""
        server = self.boot_elastic(**{'memhotplug:model': 'thirds'})
        seen = self.refuse_second_attach()
        self.grow(server, 1024)
        self.assertEqual(2, len(seen))
        self.assert_details(server, 'only one a day')
        self.assert_books(server, 512)

    def test_half_way_and_the_guest_keeps_the_first(self):
        """The books follow the guest (T2)."""
        server = self.boot_elastic(**{'memhotplug:model': 'thirds'})
        self.refuse_second_attach()
        self.keep_devices()
        self.grow(server, 1024)
        self.assert_details(server, 'only one a day')
        self.assert_books(server, 768)
