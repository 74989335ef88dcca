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

import sys

import fixtures
from nova.api.validation.extra_specs import validators

from nova_memhotplug.models import registry
from tests.functional import base
from tests.functional import fixtures as our_fixtures

NAME = 'memhotplug_thirds'
ENTRY_POINTS = '[nova_memhotplug.memory_models]\nthirds = %s:Thirds\n' % NAME
#: Plugs two DIMMs instead of one, and wants a watchdog in the guest.
SOURCE = '''
from lxml import etree

from nova_memhotplug.core import device
from nova_memhotplug.core import layouts
from nova_memhotplug.core import planner
from nova_memhotplug.models import base

#: Aliases of the devices that it has read.
SEEN = set()


class Thirds(base.MemoryModel):

    element = 'dimm'

    def boot(self, request):
        return layouts.BootMemory(
            tuple(cell.memory_kib for cell in request.cells), request.slots,
            (etree.Element('watchdog', model='itco', action='none'),))

    def step_mb(self, guest, blocks):
        return 256

    def refusals(self, guest, target):
        yield from planner.unaligned(guest, target, self.base_mb(guest))

    def plan(self, guest, target):
        half_mb = (target.total_mb - guest.present_mb) // 2
        return (tuple(planner.attach(device.MemoryDevice(
            'dimm', half_mb, guest.target_node,
            alias=device.new_alias('thirds'))) for _half in range(2)),)

    def progress(self, guest, change):
        return base.progress_of_whole(guest, change)

    def read(self, element):
        dev = super().read(element)
        SEEN.add(dev.alias)
        return dev
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
        devices = self.guest(server).devices
        self.assertEqual([(0, 256), (1, 256)], [
            (dev.slot, dev.size_mb) for dev in devices])
        # It reads what it has made, and nothing else (V16).
        self.attach_unbooked(server, 256)
        self.assertEqual(1280, self.show(server)[1]['memory']['current_mb'])
        self.assertEqual(
            {dev.alias for dev in devices}, sys.modules[NAME].SEEN)
        # Steps and ways back are its own, too.
        self.assertEqual(['unaligned'], self.plan(server, 1408)[2])

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
