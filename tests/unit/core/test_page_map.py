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

"""How much memory a guest can take at once: arithmetic, never tried."""

import ddt
import hypothesis
from hypothesis import strategies as st
import testtools

from nova_memhotplug.core import page_map

GIB = 1024


@ddt.ddt
class PageMapTest(testtools.TestCase):

    @ddt.data(
        # boot, used, plugged, most
        # Measured: a guest of 512 MiB takes 8 GiB (facts-guests.md, 0.3).
        (512, 512, 0, 8 * GIB), (512, 512, 512, 7.5 * GIB),
        (512, 512, 8 * GIB, 0),
        # And boots with 16 GiB.
        (512, 8.5 * GIB, 8 * GIB, 8 * GIB), (512, 16.5 * GIB, 16 * GIB, 0),
        (512, 1024, 512, 15.5 * GIB), (512, 768, 256, 11.75 * GIB),
        # What was plugged by hand may be more.
        (512, 512, 9 * GIB, 0), (512, 64 * GIB, 64 * GIB, 0),
        (64 * GIB, 64 * GIB, 0, GIB * GIB))
    @ddt.unpack
    def test_most(self, boot_mb, used_mb, plugged_mb, expected_mb):
        self.assertEqual(expected_mb, page_map.most_mb(
            boot_mb, int(used_mb), int(plugged_mb)))

    @ddt.data(
        (512, 512, False), (512, 8.5 * GIB, False),
        (512, 8.5 * GIB + 128, True))
    @ddt.unpack
    def test_depends_on_use(self, boot_mb, total_mb, expected):
        self.assertIs(
            expected, page_map.depends_on_use(boot_mb, int(total_mb)))

    @ddt.data(
        # boot, used, plugged, wanted, step, most; pieces in GiB
        (512, 512, 0, 0, 128, 8, []),
        (512, 512, 0, 8 * GIB, 128, 8, [8]),
        (512, 512, 0, 8 * GIB + 128, 128, 8, [8, .125]),
        (512, 512, 0, 16 * GIB, 128, 8, [8, 8]),
        (512, 512, 0, 20 * GIB, 128, 8, [8, 8]),
        # No more pieces than there are slots for.
        (512, 512, 0, 16 * GIB, 128, 2, [8, 8]),
        (512, 512, 0, 16 * GIB, 128, 1, [8]),
        # Whole steps.
        (640, 640, 0, 20 * GIB, 4 * GIB, 8, [8, 12]),
        (192, 192, 0, 8 * GIB, 2 * GIB, 8, [2, 4]),
        # What is plugged takes its part, used or not.
        (512, 512, 8 * GIB, 128, 128, 8, []),
        (512, 512, 7 * GIB, 2 * GIB, 128, 8, [1, 1]),
        (512, 8.5 * GIB, 8 * GIB, 2 * GIB, 128, 8, [2]),
        # Not one step fits.
        (64, 64, 0, 2 * GIB, 2 * GIB, 8, []))
    @ddt.unpack
    def test_pieces(self, boot, used, plugged, wanted, step, most, expected):
        self.assertEqual(
            [int(piece * GIB) for piece in expected],
            page_map.pieces_mb(boot, int(used), plugged, wanted, step, most))

    @hypothesis.given(
        st.integers(1, 1 << 20), st.integers(0, 1 << 20),
        st.integers(0, 1 << 20), st.integers(0, 1 << 14),
        st.sampled_from([128, 256, 1024, 2048]), st.integers(1, 255))
    def test_each_fits(
        self, boot_mb, in_use_mb, plugged_mb, steps, step_mb, most,
    ):
        used_mb = boot_mb + min(in_use_mb, plugged_mb)
        wanted_mb = steps * step_mb
        pieces = page_map.pieces_mb(
            boot_mb, used_mb, plugged_mb, wanted_mb, step_mb, most)
        self.assertLessEqual(len(pieces), most)
        self.assertLessEqual(sum(pieces), wanted_mb)
        for piece_mb in pieces:
            self.assertEqual(0, piece_mb % step_mb)
            plugged_mb += piece_mb
            # The maps of all that is plugged.
            self.assertLessEqual(plugged_mb / 64, used_mb / 4)
            self.assertLessEqual(plugged_mb / 64, boot_mb / 2)
            used_mb += piece_mb
