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

import ddt
import testtools

from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import layouts
from nova_memhotplug.core import memory_spec

MIB = 1024
SPEC = memory_spec.MemorySpec(4096, 8, True, 'dimm')


def lay_out(cells, memory_kib, strategy, page_kib=0):
    """Lay a guest out that boots with all of its memory."""
    wanted = layouts.request(cells, memory_kib, SPEC, strategy)
    boot = layouts.BootMemory(
        tuple(one.memory_kib for one in wanted.cells), SPEC.slots)
    return layouts.lay_out(wanted, boot, strategy, page_kib)


def cell(number, mb, has_cpus=True):
    return domain.Cell(number, mb * MIB, has_cpus)


@ddt.ddt
class LayoutTest(testtools.TestCase):

    @ddt.data(
        # Nova's cells, strategy, page KiB, cells to boot with
        ([], 'native', 0, [cell(0, 512), cell(1, 0, False)]),
        ([], 'shim', 0, [cell(0, 512), cell(1, 0, False)]),
        ([], 'tiny', 0, [cell(0, 511), cell(1, 1, False)]),
        ([], 'tiny', 2048, [cell(0, 510), cell(1, 2, False)]),
        ([], 'existing', 0, [cell(0, 512)]),
        ([cell(0, 256), cell(1, 256)], 'shim', 0,
         [cell(0, 256), cell(1, 256), cell(2, 0, False)]),
        ([cell(0, 256), cell(1, 256)], 'tiny', 0,
         [cell(0, 255), cell(1, 256), cell(2, 1, False)]),
        ([cell(0, 256), cell(1, 256)], 'existing', 0,
         [cell(0, 256), cell(1, 256)]),
    )
    @ddt.unpack
    def test_cells(self, cells, strategy, page_kib, expected):
        made = lay_out(cells, 512 * MIB, strategy, page_kib)
        self.assertEqual(tuple(expected), made.cells)
        self.assertEqual(
            512 * MIB, sum(one.memory_kib for one in made.cells))
        self.assertEqual((4096 * MIB, 8), (made.max_kib, made.slots))

    @ddt.data(512 * MIB, MIB * MIB)
    def test_nothing_left_of_the_first_cell(self, page_kib):
        exc = self.assertRaises(
            errors.CellTooSmall, lay_out,
            [cell(0, 512), cell(1, 512)], MIB * MIB, 'tiny', page_kib)
        self.assertIn('%d KiB of NUMA node 0' % page_kib, str(exc))
        # It has to be possible with another strategy, so with another host.
        self.assertIsInstance(exc, errors.StrategyUnavailable)

    @ddt.data(
        ([cell(0, 0), cell(1, 512)], 'native', 0),
        ([cell(0, 0), cell(1, 512)], 'existing', 0),
        ([cell(0, 512), cell(1, 0)], 'native', 1),
        ([cell(0, 512), cell(1, 0)], 'shim', 1),
        ([cell(0, 512), cell(1, 0)], 'tiny', 1),
        ([cell(0, 512), cell(1, 0), cell(2, 512)], 'existing', 1))
    @ddt.unpack
    def test_one_empty_cell_and_the_last(self, cells, strategy, node):
        """Later releases of libvirt start every other layout, too."""
        exc = self.assertRaises(
            errors.EmptyNode, lay_out, cells, 512 * MIB, strategy)
        self.assertIn('NUMA node %d has' % node, str(exc))

    def test_last_cell_empty_with_cpus(self):
        """Memory for it is found in it (facts-native.md, section 3)."""
        cells = (cell(0, 512), cell(1, 0))
        self.assertEqual(cells, lay_out(cells, 512 * MIB, 'existing').cells)

    @ddt.data('shim', 'tiny', 'existing')
    def test_at_the_ceiling(self, strategy):
        made = lay_out([], 4096 * MIB, strategy)
        self.assertEqual((None, 0), (made.max_kib, made.slots))
        self.assertEqual(
            1 if strategy == 'existing' else 2, len(made.cells))

    def test_less_boot_memory_than_ram(self):
        """The cells have what the memory model leaves them."""
        cells = [cell(0, 2048), cell(1, 2048)]
        wanted = layouts.request(cells, 4096 * MIB, SPEC, 'shim')
        self.assertEqual((2, 2), wanted.nodes)
        self.assertEqual(4096 * MIB, wanted.total_kib)
        made = layouts.lay_out(wanted, layouts.BootMemory(
            (256 * MIB, 256 * MIB), slots=2), 'shim')
        self.assertEqual(
            (cell(0, 256), cell(1, 256), cell(2, 0, False)), made.cells)
        # The ceiling stays, though the server has all that it allows.
        self.assertEqual((4096 * MIB, 2), (made.max_kib, made.slots))
