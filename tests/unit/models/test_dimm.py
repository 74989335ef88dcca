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
from lxml import etree
import testtools

from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import layouts
from nova_memhotplug.core import planner
from nova_memhotplug.models import base
from nova_memhotplug.models import dimm
from tests.unit.core import test_planner

#: A machine type of which addresses are known.
PLACED = dataclasses.replace(test_planner.GROWN, machine='pc-q35-10.0')


@ddt.ddt
class DimmTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.model = dimm.DimmModel()

    def changes(self, guest, total_mb):
        (changes,) = self.model.plan(
            guest, planner.Target(total_mb, 128, 4096))
        return changes

    def test_one_dimm_for_all(self):
        (change,) = self.changes(test_planner.GUEST, 4096)
        alias = change.device.alias
        self.assertTrue(change.device.is_ours)
        self.assertEqual(device.MemoryDevice(
            'dimm', 3584, 1, slot=0, alias=alias), change.device)
        self.assertEqual((planner.ATTACH, 3584), (
            change.action, change.delta_mb))
        self.assertEqual(
            planner.Change(change.device, -3584, planner.DETACH), change.undo)
        self.assertEqual(
            '<memory model="dimm"><target><size unit="KiB">3670016</size>'
            '<node>1</node></target><alias name="%s"/>'
            '<address type="dimm" slot="0"/></memory>' % alias,
            change.xml)

    def test_one_dimm_for_each_node(self):
        first, second = self.changes(test_planner.NUMA, 1024)
        self.assertEqual(
            [(256, 2, device.Backing('7', 2048)),
             (256, 2, device.Backing('6', 2048))],
            [(change.device.size_mb, change.device.node,
              change.device.backing) for change in (first, second)])
        self.assertNotEqual(first.device.alias, second.device.alias)
        self.assertIn('<source><pagesize unit="KiB">2048</pagesize>'
                      '<nodemask>7</nodemask></source>', first.xml)

    def test_slot_and_address(self):
        (change,) = self.changes(PLACED, 1280)
        self.assertIn(
            '<address type="dimm" slot="1" base="0x120000000"/>', change.xml)

    @ddt.data(
        (test_planner.GROWN, 1, '1 needed', '1 of 1'),
        (test_planner.NUMA, 1, '2 needed', '0 of 1'))
    @ddt.unpack
    def test_slots_used_up(self, guest, slots, *words):
        exc = self.assertRaises(
            errors.NoFreeSlot, self.changes,
            dataclasses.replace(guest, slots=slots), 2048)
        for word in words:
            self.assertIn(word, str(exc))

    def test_taken_away(self):
        dimms = tuple(
            device.MemoryDevice(
                'dimm', 256, 1, slot, 'ua-memhotplug-%d' % slot,
                (4 << 30) + (slot << 28)) for slot in range(2))
        guest = dataclasses.replace(test_planner.GUEST, devices=dimms)
        self.assertEqual(
            tuple((planner.Change(dev, -256, planner.DETACH),)
                  for dev in reversed(dimms)),
            self.model.plan(guest, planner.Target(512, 128, 4096)))

    def test_progress(self):
        """Libvirt attaches at once, and a guest lets go when it does."""
        (change,) = self.changes(test_planner.GUEST, 1024)
        has = dataclasses.replace(
            test_planner.GUEST, devices=(change.device,))
        pending = base.Progress(base.PENDING, 0)
        done = base.Progress(base.DONE, 512)
        for one, guest, expected in (
                (change, has, done), (change, test_planner.GUEST, pending),
                (change.undo, has, pending),
                (change.undo, test_planner.GUEST, done)):
            self.assertEqual(expected, self.model.progress(guest, one))

    def test_reads_its_own(self):
        (change,) = self.changes(test_planner.GUEST, 1024)
        self.assertEqual(
            change.device, self.model.read(etree.fromstring(change.xml)))

    def test_boots_with_all_memory(self):
        """What is added is boot memory of the next domain (design T4)."""
        cells = (domain.Cell(0, 512, True), domain.Cell(1, 256, True))
        self.assertEqual(
            layouts.BootMemory((512, 256), slots=8),
            self.model.boot(layouts.BootRequest(
                cells, (2, 2), 4096, 8, first_mb=1)))
