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

from nova_memhotplug.core import errors
from nova_memhotplug.core import numa

#: 16 GiB, of which 4 are claimed and 2 are huge pages.
NODE = numa.HostNode(0, 16384, 4096, (
    numa.Pages(4, 14 << 20, 10 << 20), numa.Pages(2048, 2 << 20, 1 << 20)))
#: The same without word of pages.
PLAIN = numa.HostNode(0, 16384, 4096)


def claim(wanted_mb, present_mb=512, **more):
    return numa.Claim(0, present_mb, wanted_mb, **more)


@ddt.ddt
class RoomTest(testtools.TestCase):

    @ddt.data(
        # What a server asks for, on which node, at which ratio: how large it
        # may become.
        ({'page_kib': 2048}, NODE, 1.0, 512 + 1024),
        ({'page_kib': 2048}, NODE, 0.3, 512 + 819),
        ({'page_kib': 2048, 'is_pinned': True}, NODE, 0.3, 512 + 1024),
        ({'page_kib': 4}, NODE, 1.0, 512 + 10240),
        ({'is_pinned': True}, NODE, 1.5, 512 + 10240),
        ({'is_pinned': True}, PLAIN, 1.5, 512 + 12288),
        ({}, NODE, 1.5, 14336),
        ({}, PLAIN, 1.5, 16384),
        ({}, NODE, 1.0, 512 + 12288),
        ({}, PLAIN, 1.0, 512 + 12288))
    @ddt.unpack
    def test_largest(self, asked, node, ratio, largest_mb):
        numa.check_room([node], [claim(largest_mb, **asked)], ratio)
        exc = self.assertRaises(
            errors.HostNodeFull, numa.check_room, [node],
            [claim(largest_mb + 1, **asked)], ratio)
        self.assertEqual(
            (0, largest_mb - 512, largest_mb + 1 - 512),
            (exc.node, exc.free_mb, exc.asked_mb))

    def test_sentence(self):
        exc = self.assertRaises(
            errors.HostNodeFull, numa.check_room, [NODE],
            [claim(2048, page_kib=2048)], 1.0)
        self.assertEqual(
            'Memory of this server is bound to NUMA node 0 of its host, '
            'which has 1024 MiB in pages of 2048 KiB free; 1536 MiB more '
            'were asked for there.', str(exc))

    @ddt.data(512, 256)
    def test_no_more_than_it_has(self, wanted_mb):
        full = numa.HostNode(0, 1024, 4096)
        numa.check_room([full], [claim(wanted_mb)], 1.0)

    def test_every_node_counts(self):
        other = numa.HostNode(1, 1024, 1024)
        exc = self.assertRaises(
            errors.HostNodeFull, numa.check_room, [PLAIN, other],
            [claim(1024), numa.Claim(1, 512, 1024)], 1.0)
        self.assertEqual((1, 0, 512), (exc.node, exc.free_mb, exc.asked_mb))

    def test_node_that_is_gone(self):
        self.assertRaises(
            errors.HostNodeFull, numa.check_room, [], [claim(1024)], 1.0)

    def test_page_size_that_is_gone(self):
        exc = self.assertRaises(
            errors.HostNodeFull, numa.check_room, [NODE],
            [claim(1024, page_kib=1 << 20)], 1.0)
        self.assertEqual(0, exc.free_mb)


@ddt.ddt
class CellsTest(testtools.TestCase):

    @ddt.data(
        ((512,), 1024, (1024,)), ((256, 256), 1024, (512, 512)),
        ((256, 768), 2048, (768, 1280)), ((512, 512), 1024, (512, 512)))
    @ddt.unpack
    def test_grown(self, cells_mb, total_mb, expected):
        self.assertEqual(expected, numa.grown(cells_mb, total_mb))

    @ddt.data(
        ({}, ()), ({'hw:numa_mem.0': '512'}, (512,)),
        ({'hw:numa_mem.0': ' 256', 'hw:numa_mem.1': '768',
          'hw:numa_mem.3': '1'}, (256, 768)),
        ({'hw:numa_mem.0': 'much'}, ()), ({'hw:numa_mem.1': '1'}, ()))
    @ddt.unpack
    def test_explicit(self, extra_specs, expected):
        self.assertEqual(expected, numa.explicit_cells(extra_specs))

    def test_cells_of(self):
        explicit = {'hw:numa_mem.0': '256', 'hw:numa_mem.1': '768'}
        self.assertEqual((512, 512), numa.cells_of(2, 1024, {}))
        self.assertEqual((256, 768), numa.cells_of(2, 1024, explicit))
        # They are of another total, or of other cells.
        self.assertEqual((1024, 1024), numa.cells_of(2, 2048, explicit))
        self.assertEqual((1024,), numa.cells_of(1, 1024, explicit))

    def test_with_cells(self):
        explicit = {'hw:numa_mem.0': '256', 'hw:numa_mem.1': '768',
                    'hw:numa_nodes': '2'}
        self.assertEqual(
            {'hw:numa_mem.0': '512', 'hw:numa_mem.1': '1024',
             'hw:numa_nodes': '2'},
            numa.with_cells(explicit, (512, 1024)))
        self.assertEqual(
            {'hw:numa_nodes': '2'},
            numa.with_cells({'hw:numa_nodes': '2'}, (512, 1024)))
