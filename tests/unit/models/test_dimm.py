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

import dataclasses

import ddt
import testtools

from nova_memhotplug.core import device
from nova_memhotplug.core import errors
from nova_memhotplug.core import planner
from nova_memhotplug.models import dimm
from tests.unit.core import test_planner


@ddt.ddt
class DimmTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.model = dimm.DimmModel()

    def test_one_dimm_for_all(self):
        (change,) = self.model.grow(
            test_planner.GUEST, (planner.Share(3584, 1),))
        alias = change.device.alias
        self.assertTrue(change.device.is_ours)
        self.assertEqual(device.MemoryDevice(
            'dimm', 3584, 1, slot=0, alias=alias), change.device)
        self.assertFalse(change.update)
        self.assertEqual(
            '<memory model="dimm"><target><size unit="KiB">3670016</size>'
            '<node>1</node></target><alias name="%s"/>'
            '<address type="dimm" slot="0"/></memory>' % alias,
            change.xml)

    def test_one_dimm_for_each_share(self):
        backing = device.Backing('3', 2048)
        first, second = self.model.grow(test_planner.NUMA, (
            planner.Share(256, 2, backing),
            planner.Share(256, 2, device.Backing('1'))))
        self.assertEqual(
            [(256, 2, backing), (256, 2, device.Backing('1'))],
            [(change.device.size_mb, change.device.node,
              change.device.backing) for change in (first, second)])
        self.assertNotEqual(first.device.alias, second.device.alias)
        self.assertIn('<source><pagesize unit="KiB">2048</pagesize>'
                      '<nodemask>3</nodemask></source>', first.xml)
        self.assertIn(
            '<source><nodemask>1</nodemask></source>', second.xml)

    def test_slot_and_address(self):
        changes = self.model.grow(test_planner.GROWN, (
            planner.Share(256, 1, base=9 << 29),
            planner.Share(256, 1, base=19 << 28)))
        self.assertEqual(
            ['<address type="dimm" slot="1" base="0x120000000"/>',
             '<address type="dimm" slot="2" base="0x130000000"/>'],
            [change.xml[change.xml.index('<address'):-len('</memory>')]
             for change in changes])

    @ddt.data((1, 1, '1 needed', '1 of 1'), (2, 2, '2 needed', '1 of 2'))
    @ddt.unpack
    def test_slots_used_up(self, slots, needed, *words):
        guest = dataclasses.replace(test_planner.GROWN, slots=slots)
        exc = self.assertRaises(
            errors.NoFreeSlot, self.model.grow, guest,
            (planner.Share(128, 1),) * needed)
        for word in words:
            self.assertIn(word, str(exc))

    def test_boots_with_nothing_more(self):
        self.assertEqual((), self.model.boot_devices(None))
