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

"""The model virtio-mem: what a guest boots with."""

import dataclasses

import ddt
from lxml import etree
import testtools

from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import layouts
from nova_memhotplug.models import virtio_mem

MIB = 1024
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
        return virtio_mem.VirtioMemModel().boot(wanted)

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
