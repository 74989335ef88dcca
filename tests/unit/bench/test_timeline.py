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

"""Where the time of one growth goes."""

import testtools

from tests.bench import points
from tests.bench import timeline
from tests.bench import trace


def _span(name, start, end):
    return trace.Event(
        'nova-compute-lv1', 'span', name, 'req-1', start, end, '')


class TestCut(testtools.TestCase):

    def cut(self, *spans, sent=0, arrived=100, online=0, end=1000):
        phases = timeline.cut(sent, arrived, list(spans), online, end)
        self.assertEqual(end - sent, sum(phases.values()))
        self.assertEqual(set(points.PHASES), phases.keys())
        return {name: time for name, time in phases.items() if time}

    def test_all_phases(self):
        self.assertEqual(
            {'api': 100, 'look': 50, 'claim': 150, 'attach': 100,
             'guest': 200, 'commit': 300, 'end': 100},
            self.cut(_span('claim', 150, 290), _span('claim', 290, 300),
                     _span('attach', 310, 400), _span('guest', 400, 600),
                     _span('commit', 610, 900)))

    def test_order_does_not_matter(self):
        """They are written when they end, by several threads."""
        self.assertEqual(
            {'api': 100, 'look': 100, 'claim': 100, 'attach': 100,
             'end': 600},
            self.cut(_span('attach', 350, 400), _span('claim', 200, 300)))

    def test_span_within_another(self):
        self.assertEqual(
            {'api': 100, 'look': 100, 'claim': 100, 'commit': 300,
             'end': 400},
            self.cut(_span('commit', 200, 600), _span('claim', 210, 300)))

    def test_guest_is_last(self):
        """The books are right before the guest has the memory."""
        self.assertEqual(
            {'api': 100, 'look': 100, 'claim': 300, 'guest': 500},
            self.cut(_span('claim', 200, 500), online=1000))

    def test_nothing_to_do(self):
        self.assertEqual({'api': 100, 'end': 900}, self.cut())
