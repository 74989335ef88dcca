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

"""Numbers made of samples."""

import ddt
import testtools

from tests.bench import stats


@ddt.ddt
class TestStats(testtools.TestCase):

    @ddt.data(
        ([7], (1, 7, 7)),
        ([3, 1, 2], (3, 2, 3)),
        (range(1, 21), (20, 10.5, 19)),
        (range(1, 101), (100, 50.5, 95)),
    )
    @ddt.unpack
    def test_summary(self, samples, expected):
        summary = stats.Summary.of(samples)
        self.assertEqual(
            expected, (summary.n, summary.median, summary.p95))

    def test_ratio(self):
        self.assertEqual(0.5, stats.ratio(1, 2))
        self.assertIsNone(stats.ratio(None, 2))
        self.assertIsNone(stats.ratio(1, None))
        self.assertIsNone(stats.ratio(1, 0))

    def test_median_of_nothing(self):
        self.assertIsNone(stats.median([]))
        self.assertEqual(2, stats.median(iter([1, 2, 3])))

    def test_drift(self):
        self.assertAlmostEqual(1.0, stats.drift(
            [(slot, 100) for slot in range(8)]))
        self.assertAlmostEqual(1.7, stats.drift(
            [(slot, 100 + 10 * slot) for slot in range(8)]))
        # One slow sample in the middle tilts nothing.
        self.assertAlmostEqual(1.0, stats.drift(
            [(0, 100), (1, 100), (2, 900), (3, 100), (4, 100)]))

    def test_drift_unknown(self):
        self.assertIsNone(stats.drift([]))
        self.assertIsNone(stats.drift([(1, 5), (1, 6)]))

    def test_by(self):
        self.assertEqual({'a': [1, 3], 'b': [2]}, stats.by(
            [('a', 1), ('b', 2), ('a', 3)]))

    @ddt.data(
        # Between two ticks inside.
        ([0, 10, 20, 90, 100, 110], 15, 105, 70),
        # A gap that began before the time, and one that ends behind it.
        ([0, 60, 70], 50, 65, 60),
        ([0, 10, 80], 5, 20, 70),
        # No tick inside.
        ([0, 100], 40, 50, 100),
        # It does not tick.
        ([], 0, 10, None),
        ([0, 5], 1, 10, None),
        ([5, 12], 1, 10, None),
    )
    @ddt.unpack
    def test_longest_gap(self, times, start, end, expected):
        self.assertEqual(expected, stats.longest_gap(times, start, end))
