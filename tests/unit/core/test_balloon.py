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

from nova_memhotplug.core import balloon

#: What a guest of 512 MiB told before it was given anything.
BOOTED = balloon.Figures(470000, 1000)
RESERVE_KIB = 512 * 1024 - 470000


def told(gained_kib):
    """What it tells when so much has come online."""
    return balloon.Figures(470000 + gained_kib, 2000)


@ddt.ddt
class FiguresTest(testtools.TestCase):

    def test_read(self):
        self.assertEqual(BOOTED, balloon.figures(
            {'actual': 524288, 'available': 470000, 'last_update': 1000}))

    @ddt.data({}, {'actual': 1048576, 'rss': 9}, {'available': 470000},
              # After a reset of the guest (facts-events.md, section 1).
              {'actual': 1048576, 'last_update': 0})
    def test_nothing_told(self, stats):
        self.assertIsNone(balloon.figures(stats))

    @ddt.data((1060, 10, False), (1061, 10, True), (1001, 0, True))
    @ddt.unpack
    def test_late(self, now, period, is_late):
        self.assertEqual(is_late, BOOTED.is_late(now, period))


@ddt.ddt
class OfflineTest(testtools.TestCase):

    @ddt.data(
        (512, 524288, 0), (512, 0, 512), (512, 262144, 256),
        (512, 524288 - 131072, 128),
        # The page map of a DIMM of one block (facts-guests.md, C19), of
        # several, and of 1 GiB on aarch64 (C24).
        (128, 129024, 0), (256, 258048, 0), (1024, 1032192, 0),
        # A map of whole blocks looks as if those were offline.
        (8192, 8192 * 1024 - 131072, 128),
        # It has more than before for another reason.
        (512, 600000, 0),
        # As if it had lost boot memory, too.
        (128, -300000, 128))
    @ddt.unpack
    def test_offline(self, plugged_mb, gained_kib, offline_mb):
        self.assertEqual(offline_mb, balloon.offline_mb(
            told(gained_kib), 512, plugged_mb, RESERVE_KIB))

    def test_unknown(self):
        self.assertIsNone(balloon.offline_mb(None, 512, 512, RESERVE_KIB))
        # What it has set aside was never seen. It is not more than that.
        self.assertIsNone(balloon.offline_mb(told(0), 512, 512, None))
        self.assertEqual(0, balloon.offline_mb(told(524288), 512, 512, None))


@ddt.ddt
class ReserveTest(testtools.TestCase):

    def seen(self, figures=BOOTED, before=None):
        return balloon.Reserve.seen(figures, 512, 'image', before)

    def test_there_and_back(self):
        found = self.seen()
        self.assertEqual(RESERVE_KIB, found.kib)
        self.assertEqual(found, balloon.Reserve.parse(str(found)))
        self.assertTrue(found.fits(512, 'image'))
        self.assertFalse(found.fits(1024, 'image'))
        self.assertFalse(found.fits(512, 'another'))

    @ddt.data(None, '', '{}', '[1, 2]', '[1, 2, "x"]', 'x', '[' * 255)
    def test_something_else(self, text):
        self.assertIsNone(balloon.Reserve.parse(text))

    def test_guest_that_gave_memory_back_just_now(self):
        found = self.seen()
        self.assertEqual(found, self.seen(told(30000), before=found))
        # More than it booted with.
        self.assertIsNone(self.seen(told(131072)))
        self.assertEqual(found, self.seen(None, before=found))

    def test_another_image(self):
        """What was seen of its guest does not count any more."""
        before = balloon.Reserve(512, 'another', 1 << 20)
        self.assertEqual(RESERVE_KIB, self.seen(before=before).kib)
