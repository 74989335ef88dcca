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
import testtools

from nova_memhotplug.compute import follow
from nova_memhotplug.core import balloon
from nova_memhotplug.core import device
from nova_memhotplug.core import outcome
from tests.unit.core import test_planner

#: What the guest sets aside.
RESERVE_KIB = 50000


def guest(asked_mb, taken_mb):
    """A guest of 512 MiB that takes memory bit by bit."""
    dev = device.MemoryDevice(
        'virtio-mem', max(asked_mb, taken_mb), 1, alias='ua-memhotplug-vmem-0',
        capacity_mb=4096, requested_mb=asked_mb, current_mb=taken_mb)
    return dataclasses.replace(
        test_planner.GROWN, boot_kib=512 * 1024, devices=(dev,))


def told(mb, at=1001):
    """What it tells when so much of its memory is in use."""
    return balloon.Figures(mb * 1024 - RESERVE_KIB, at)


@ddt.ddt
class RequestTest(testtools.TestCase):

    def judge(self, found, seen, figures=None):
        ended = follow.Request(
            'req-1', found, 1024, 0, RESERVE_KIB, 1000).judge(seen, figures)
        return ended.verdict, ended.mb, ended.evidence

    @ddt.data(
        (guest(512, 128), None, ('pending', 128, 'device')),
        (guest(512, 512), None, ('unconfirmed', 0, 'none')),
        (guest(512, 512), told(1024), ('confirmed', 512, 'balloon')),
        (guest(512, 512), told(768), ('offline', 256, 'balloon')),
        # From before it was asked.
        (guest(512, 512), told(1024, 1000), ('unconfirmed', 0, 'none')),
        # It has been asked for still more.
        (guest(1024, 768), told(1280), ('confirmed', 512, 'balloon')))
    @ddt.unpack
    def test_more(self, seen, figures, expected):
        self.assertEqual(expected, self.judge(
            outcome.unknown(512, True), seen, figures))

    @ddt.data(
        (guest(512, 1024), ('pending', 0, 'device')),
        (guest(512, 640), ('pending', 384, 'device')),
        (guest(512, 512), ('confirmed', 512, 'device')),
        # It may keep what it has not let go of in time.
        (guest(640, 640), ('partial', 384, 'device')))
    @ddt.unpack
    def test_less(self, seen, expected):
        self.assertEqual(expected, self.judge(
            outcome.given_back(512, 512), seen))
