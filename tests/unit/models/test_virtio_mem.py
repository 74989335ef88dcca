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

"""The model virtio-mem: what a guest boots with, and what it is asked for."""

import dataclasses

import ddt
from lxml import etree
import testtools

from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import layouts
from nova_memhotplug.core import notes
from nova_memhotplug.core import observations
from nova_memhotplug.core import planner
from nova_memhotplug.models import base
from nova_memhotplug.models import virtio_mem
from tests.unit.core import test_planner

MIB = 1024
MODEL = virtio_mem.VirtioMemModel()
XML = (
    '<memory model="virtio-mem" access="shared">'
    '<source><pagesize unit="KiB">%(page)d</pagesize>'
    '<nodemask>%(host)d</nodemask></source>'
    '<target><size unit="KiB">%(size)d</size><node>2</node>'
    '<block unit="KiB">%(page)d</block>'
    '<requested unit="KiB">%(asked)d</requested></target>'
    '<alias name="ua-memhotplug-vmem-%(place)d"/></memory>')


def request(total_mb=512, first_mb=None, max_mb=4096, cells=1, page_kib=0):
    return layouts.BootRequest(
        cells=tuple(domain.Cell(
            number, total_mb * MIB // cells, True,
            device.Backing(str(number), page_kib, 'shared'))
            for number in range(cells)),
        nodes=(cells,) * cells, max_mb=max_mb, slots=8, first_mb=first_mb)


@ddt.ddt
class BootTest(testtools.TestCase):

    def boot(self, wanted):
        return MODEL.boot(wanted)

    @ddt.data(
        # RAM, first boot, ceiling, cells, page: boot memory of each cell,
        # size and request of each device, all in MiB
        (512, None, 4096, 1, 0, 512, 3584, 0),
        (512, 512, 4096, 1, 0, 512, 3584, 0),
        (3072, 512, 4096, 1, 0, 512, 3584, 2560),
        # At the ceiling nothing folds, either.
        (4096, 512, 4096, 1, 0, 512, 3584, 3584),
        (1024, 512, 4096, 2, 0, 256, 1792, 256),
        # Of what is no whole block the rest is boot memory.
        (513, 512, 4096, 1, 0, 513, 3456, 0),
        # A kernel does not use parts of its own blocks, 128 MiB or more.
        (1000, 512, 4095, 1, 0, 512, 3456, 488),
        (1000, 512, 4000, 2, 0, 256, 1664, 244),
        (1000, 512, 1000, 1, 0, 512, 488, 488),
        (3000, 1024, 8192, 1, 1024 * MIB, 1976, 6144, 1024),
        (4096, 2048, 8192, 2, 1024 * MIB, 1024, 3072, 1024))
    @ddt.unpack
    def test_memory(self, total_mb, first_mb, max_mb, cells, page_kib,
                    boot_mb, size_mb, asked_mb):
        wanted = request(total_mb, first_mb, max_mb, cells, page_kib)
        boot = self.boot(wanted)
        self.assertEqual((boot_mb * MIB,) * cells, boot.cells_kib)
        devices = [device.read(one) for one in boot.devices]
        self.assertEqual(
            [('ua-memhotplug-vmem-%d' % place, size_mb, asked_mb, cells)
             for place in range(cells)],
            [(one.alias, one.capacity_mb, one.size_mb, one.node)
             for one in devices])
        # The guest is to have all of the server's memory.
        self.assertEqual(total_mb, boot.total_mb + asked_mb * cells)
        # As many as it has devices: libvirt 9 counts a slot for each.
        self.assertEqual(cells, boot.slots)

    def test_device(self):
        """Each is bound to the nodes of the host of its own cell."""
        boot = self.boot(request(3072, 1024, 8192, 2, 2048))
        self.assertEqual(
            [XML % {'place': place, 'host': place, 'page': 2048,
                    'size': 3584 * MIB, 'asked': 1024 * MIB}
             for place in range(2)],
            [etree.tostring(one, encoding='unicode') for one in boot.devices])

    def test_cells_of_unequal_sizes(self):
        """What was added is divided evenly, as it was when it was added."""
        wanted = request(1024, first_mb=768, cells=2)
        first, second = wanted.cells
        boot = self.boot(dataclasses.replace(wanted, cells=(
            dataclasses.replace(first, memory_kib=768 * MIB),
            dataclasses.replace(second, memory_kib=256 * MIB))))
        self.assertEqual((640 * MIB, 128 * MIB), boot.cells_kib)

    @ddt.data(512, 639)
    def test_no_room(self, max_mb):
        wanted = request(512, max_mb=max_mb)
        boot = self.boot(wanted)
        self.assertEqual(layouts.BootMemory((512 * MIB,), slots=0), boot)
        # libvirt takes no ceiling without slots, or without room.
        self.assertIsNone(layouts.lay_out(wanted, boot, 'shim').max_kib)

    def test_nothing_left_of_a_node(self):
        wanted = request(1024, first_mb=128, cells=2)
        cells = (wanted.cells[0], dataclasses.replace(
            wanted.cells[1], memory_kib=256 * MIB))
        exc = self.assertRaises(
            errors.InvalidSpec, self.boot,
            dataclasses.replace(wanted, cells=cells, first_mb=0))
        self.assertIn('boot_memory_mb', str(exc))


SPEC = dataclasses.replace(test_planner.SPEC, model='virtio-mem')
#: A running one, as libvirt 11.3 shows it.
SHOWN = """\
<memory model="virtio-mem" access="shared">
  <source><nodemask>%(host)s</nodemask></source>
  <target>
    <size unit="KiB">%(size)d</size><node>%(node)d</node>
    <block unit="KiB">2048</block><requested unit="KiB">%(asked)d</requested>
    <current unit="KiB">%(current)d</current><address base="0x100000000"/>
  </target>
  <alias name="ua-memhotplug-vmem-%(place)d"/>
  <address type="pci" domain="0x0000" bus="0x01" slot="0x00" function="0x0"/>
</memory>"""
BY_HAND = device.MemoryDevice('dimm', 256, 1, 0, 'dimm0', 5 << 30)


def held(asked_mb, current_mb, place=0, size_mb=3584, node=1, host=7):
    return MODEL.read(etree.fromstring(SHOWN % {
        'asked': asked_mb * 1024, 'current': current_mb * 1024,
        'place': place, 'size': size_mb * 1024, 'node': node,
        'host': host}))


def guest(*devices, cells=test_planner.GUEST.cells, **more):
    return dataclasses.replace(
        test_planner.GUEST, devices=devices, cells=cells, **more)


def pair(*amounts):
    """A guest of two NUMA nodes, with what each device has."""
    return guest(*(
        held(*both, place=place, size_mb=1792, node=2, host=7 - place)
        for place, both in enumerate(amounts)),
        cells=test_planner.NUMA.cells)


def plan(guest, wanted_mb):
    return planner.plan(guest, SPEC, wanted_mb, 128, MODEL)


@ddt.ddt
class RunningTest(testtools.TestCase):

    @ddt.data(
        # guest, what the books count, asked, taken, ceiling
        (guest(held(0, 0)), 512, 512, 512, 4096),
        (guest(held(1024, 0)), 1536, 1536, 512, 4096),
        (guest(held(0, 66)), 578, 512, 578, 4096),
        (guest(held(512, 1024), BY_HAND), 1792, 1280, 1792, 4096))
    @ddt.unpack
    def test_sizes(self, guest, present_mb, asked_mb, taken_mb, max_mb):
        self.assertEqual(
            (present_mb, asked_mb, taken_mb, max_mb, 512),
            (guest.present_mb, guest.asked_mb, guest.taken_mb, guest.max_mb,
             guest.kept_boot_mb))

    @ddt.data(
        # guest, wanted total; what is asked for, and by how much that differs
        (guest(held(0, 0)), 3072, [(2560, 2560)]),
        (guest(held(2560, 2560)), 1024, [(512, -2048)]),
        (guest(held(512, 512)), 512, [(0, -512)]),
        # It has kept some, or is still giving back.
        (guest(held(66, 66)), 640, [(128, 62)]),
        (guest(held(512, 2560)), 3072, [(2560, 2048)]),
        (guest(held(512, 2560)), 2048, [(1536, 1024)]),
        (guest(held(512, 2560)), 640, [(128, -384)]),
        (guest(held(512, 2560)), 1024, []),
        (guest(held(256, 256), BY_HAND), 1024, []),
        (guest(held(256, 256), BY_HAND), 896, [(128, -128)]),
        (pair((0, 0), (0, 0)), 1024, [(256, 256), (256, 256)]),
        (pair((128, 128), (256, 130)), 768, [(128, -128)]))
    @ddt.unpack
    def test_plan(self, guest, wanted_mb, expected):
        found = plan(guest, wanted_mb)
        self.assertEqual(expected, [
            (change.device.asked_mb, change.delta_mb)
            for change in found.changes])
        for change in found.changes:
            self.assertEqual(planner.UPDATE, change.action)
        if expected:
            self.assertEqual(wanted_mb, sum(found.own_cells_mb))

    def test_only_the_request_differs(self):
        (change,) = plan(guest(held(512, 480)), 768).changes
        before = SHOWN % {
            'asked': 524288, 'current': 491520, 'place': 0,
            'size': 3670016, 'node': 1, 'host': 7}
        for xml, asked in ((change.xml, 262144), (change.undo.xml, 524288)):
            self.assertEqual(
                etree.tostring(etree.fromstring(before.replace(
                    '>524288</requested>', '>%d</requested>' % asked))),
                etree.tostring(etree.fromstring(xml)))
        self.assertEqual((512, 256), (
            change.undo.device.asked_mb, change.undo.delta_mb))

    @ddt.data(
        (guest(), 1024, errors.NoMemoryDevice, 'Hard reboot'),
        (guest(BY_HAND), 512, errors.NoMemoryDevice, 'device'),
        (guest(held(512, 512)), 384, errors.BelowBootMemory, '512 MiB that'),
        (guest(held(512, 512), BY_HAND), 640, errors.BelowBootMemory,
         '768 MiB that'),
        (guest(held(66, 66)), 600, errors.UnalignedRequest,
         'keeps 512 MiB while it runs, and has more in steps of 128 MiB. '
         'The nearest sizes are 512 and 640 MiB.'),
        (guest(held(0, 0)), 4224, errors.AboveCeiling, '4096 MiB'),
        (guest(held(0, 0, size_mb=3500)), 4096, errors.AboveCeiling,
         '4012 MiB'),
        (pair((0, 0), (0, 0)), 640, errors.UnalignedRequest,
         'steps of 256 MiB'))
    @ddt.unpack
    def test_refused(self, guest, wanted_mb, error, words):
        refusal = self.assertRaises(error, plan, guest, wanted_mb)
        self.assertIn(words, str(refusal))

    @ddt.data(
        (guest(held(0, 0)), 640), (guest(held(66, 66)), 640),
        (guest(held(0, 66)), 640), (guest(held(128, 128)), 768),
        (guest(held(64, 64), BY_HAND), 896))
    @ddt.unpack
    def test_next_step(self, guest, wanted_mb):
        outlook = planner.next_step(
            observations.Observation(guest, 128, 'shim'), SPEC, MODEL)
        self.assertEqual((wanted_mb, ()), (
            outlook.wanted_mb, outlook.against))

    def test_floor(self):
        self.assertEqual(768, MODEL.floor_mb(guest(held(512, 66), BY_HAND)))

    @ddt.data(
        # arch, what is known of the kernel's block, huge page; step
        ('x86_64', base.Blocks(1024, heard_mb=2048), 0, 128),
        ('x86_64', base.Blocks(1024, named_mb=512), 2048, 512),
        ('x86_64', base.Blocks(1024), 1048576, 1024),
        ('aarch64', base.Blocks(1024), 0, 512),
        ('aarch64', base.Blocks(128), 0, 128),
        ('aarch64', base.Blocks(1024, heard_mb=128), 0, 128),
        ('aarch64', base.Blocks(128, heard_mb=512), 0, 512),
        ('aarch64', base.Blocks(128, named_mb=512, heard_mb=128), 0, 512),
        ('s390x', base.Blocks(128), 0, 0))
    @ddt.unpack
    def test_step(self, arch, blocks, page_kib, expected):
        self.assertEqual(expected, MODEL.step_mb(
            guest(arch=arch, page_kib=page_kib), blocks))

    @ddt.data(
        # asked, then: what the guest has; how far it is
        (512, 2560, 512, base.Progress('pending', 0)),
        (512, 2560, 1536, base.Progress('pending', 1024)),
        (512, 2560, 2560, base.Progress('done', 2048)),
        (2560, 512, 2560, base.Progress('pending', 0)),
        (2560, 512, 578, base.Progress('pending', 1982)),
        (2560, 512, 512, base.Progress('done', 2048)),
        # A reset takes all of it away, for a while.
        (512, 2560, 0, base.Progress('pending', 0)),
        (2560, 512, 0, base.Progress('done', 2048)))
    @ddt.unpack
    def test_progress(self, before_mb, asked_mb, current_mb, expected):
        (change,) = plan(
            guest(held(before_mb, before_mb)), 512 + asked_mb).changes
        self.assertEqual(expected, MODEL.progress(
            guest(held(asked_mb, current_mb)), change))

    def test_progress_after_another_request(self):
        (change,) = plan(guest(held(0, 0)), 1024).changes
        for after in (guest(held(128, 128)), guest()):
            self.assertEqual(
                base.Progress('refused', 0), MODEL.progress(after, change))

    def test_settle(self):
        """What it has kept is asked for; what it has taken is left alone."""
        ((change,),) = MODEL.settle(pair((128, 194), (128, 128)))
        self.assertEqual((194, 'ua-memhotplug-vmem-0'), (
            change.device.asked_mb, change.device.alias))
        self.assertEqual((), MODEL.settle(guest(held(512, 66))))

    @ddt.data(
        guest(held(0, 0)), guest(held(512, 2560)), guest(held(2560, 66)),
        guest(held(256, 256), BY_HAND), pair((128, 128), (256, 130)))
    def test_same_plans_from_a_note(self, guest):
        noted = notes.read(notes.write(
            observations.Observation(guest, 128, 'shim')))
        for wanted_mb in (384, 512, 640, 1024, 1280, 4096, 4224):
            found, expected = (
                planner.outlook(seen, SPEC, wanted_mb, MODEL) for seen in (
                    noted, observations.Observation(guest, 128, 'shim')))
            self.assertEqual(
                [str(one) for one in expected.against],
                [str(one) for one in found.against])
            self.assertEqual(
                [one.delta_mb for one in expected.changes],
                [one.delta_mb for one in found.changes])

    def test_cells_of_a_domain(self):
        """What each node was asked for counts for the node."""
        self.assertEqual((384, 512), pair((128, 64), (64, 256)).own_cells_mb)
