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

from nova_memhotplug.core import outcome


@ddt.ddt
class OutcomeTest(testtools.TestCase):

    @ddt.data(*(
        outcome.Outcome(verdict, 128, 512, evidence, is_open, is_less)
        for verdict, evidence in zip(outcome.VERDICTS, outcome.EVIDENCE * 2)
        for is_open in (True, False) for is_less in (True, False)))
    def test_there_and_back(self, found):
        self.assertEqual(found, outcome.parse(str(found)))

    def test_sentence(self):
        self.assertEqual(
            '[unconfirmed] 0 of 512 MiB, evidence: none; it is looked at '
            'again', str(outcome.unknown(512, is_open=True)))

    @ddt.data(None, '', '[enchanted] 0 of 1 MiB, evidence: none',
              '[offline] 0 of 1 MiB, evidence: rumour', '[offline] 0 of 1 MiB',
              '[offline] %s of 1 MiB, evidence: none' % ('9' * 5000),
              '[offline] ٣ of ٣ MiB, evidence: none; and more')
    def test_something_else(self, text):
        self.assertIsNone(outcome.parse(text))

    @ddt.data((512, False, ('pending', 0)), (600, True, ('partial', 0)),
              (128, False, ('pending', 384)), (128, True, ('partial', 384)),
              (0, False, ('confirmed', 512)), (-64, True, ('confirmed', 512)))
    @ddt.unpack
    def test_given_back(self, left_mb, is_end, expected):
        found = outcome.given_back(512, left_mb, is_end)
        self.assertEqual(expected, (found.verdict, found.mb))
        self.assertEqual((True, expected[0] == 'pending', 'device'), (
            found.is_less, found.is_open, found.evidence))

    @ddt.data(
        # Nothing is offline, nobody tells, all of it is.
        (512, 0, 0, ('confirmed', 512, 'balloon')),
        (512, 512, 0, ('confirmed', 512, 'balloon')),
        (512, 0, None, ('unconfirmed', 0, 'none')),
        (512, 0, 512, ('offline', 0, 'balloon')),
        (512, 0, 128, ('offline', 384, 'balloon')),
        # It may be what was there before; not all of it, though.
        (512, 256, 256, ('unconfirmed', 0, 'none')),
        (512, 256, 384, ('offline', 128, 'balloon')),
        (512, 256, 768, ('offline', 0, 'balloon')))
    @ddt.unpack
    def test_by_balloon(self, added_mb, others_mb, offline_mb, expected):
        found = outcome.by_balloon(added_mb, others_mb, offline_mb)
        self.assertEqual(
            expected, (found.verdict, found.mb, found.evidence))
        self.assertEqual((added_mb, False, expected[0] == 'confirmed'), (
            found.of_mb, found.is_open, found.is_confirmed))
