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

from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import shrinking
from nova_memhotplug.models import dimm as dimm_model

MIB = 1024
GUEST = domain.GuestMemory(
    arch='x86_64', emulator='/usr/bin/qemu', boot_kib=512 * MIB,
    max_kib=8192 * MIB, slots=8, page_kib=0, has_agent=True, devices=(),
    cells=(domain.Cell(0, 512 * MIB, True), domain.Cell(1, 0, False)))
CELLLESS = dataclasses.replace(GUEST, cells=())
#: Two NUMA nodes of the flavor, each on a node of the host.
NODES = tuple(domain.Cell(number, 256 * MIB, True,
                          device.Backing(str(number), None))
              for number in range(2))
NUMA = dataclasses.replace(GUEST, cells=(*NODES, domain.Cell(2, 0, False)))


def dimm(name, size_mb, base_mb, alias=device.ALIAS_PREFIX, model='dimm',
         place=None):
    """Make a device; the place is that of the own cell it was plugged for."""
    return device.MemoryDevice(
        model, size_mb, 2 if place is not None else 1, 0, alias + name,
        base_mb << 20,
        None if place is None else device.Backing(str(place), None))


def has(guest, *devices):
    return dataclasses.replace(guest, devices=devices)


FIRST, SECOND, THIRD = (
    dimm('a', 512, 4096), dimm('b', 128, 4608), dimm('c', 1024, 4736))
FOREIGN = dimm('x', 256, 8192, alias='dimm')
VIRTIO = dimm('v', 256, 8192, model='virtio-mem')
PAIRS = (dimm('a', 256, 4096, place=0), dimm('b', 256, 4352, place=1),
         dimm('c', 512, 4608, place=0), dimm('d', 512, 5120, place=1))


@ddt.ddt
class ReachableTest(testtools.TestCase):

    @ddt.data(
        # guest, names of what is taken away by total
        (GUEST, {512: ''}),
        (CELLLESS, {512: ''}),
        (has(GUEST, FIRST), {1024: '', 512: 'a'}),
        (has(GUEST, FIRST, SECOND, THIRD),
         {2176: '', 1152: 'c', 1024: 'cb', 512: 'cba'}),
        # They need not be listed in the order of their addresses.
        (has(GUEST, THIRD, FIRST, SECOND),
         {2176: '', 1152: 'c', 1024: 'cb', 512: 'cba'}),
        # What is not ours stays.
        (has(GUEST, FIRST, FOREIGN), {1280: '', 768: 'a'}),
        (has(GUEST, FIRST, VIRTIO), {1280: '', 768: 'a'}),
        # Each node gives the same.
        (has(NUMA, *PAIRS), {2048: '', 1024: 'dc', 512: 'dcba'}),
        (has(NUMA, *PAIRS[:3]), {1536: ''}),
        (has(NUMA, PAIRS[0]), {768: ''}))
    @ddt.unpack
    def test_reachable(self, guest, expected):
        found = shrinking.reachable(guest)
        self.assertEqual(expected, {
            total_mb: ''.join(dev.alias[-1] for dev in devices)
            for total_mb, devices in found.items()})
        self.assertEqual(sorted(found, reverse=True), list(found))
        self.assertEqual(
            min(expected), dimm_model.DimmModel().floor_mb(guest))

    @ddt.data(
        (GUEST, 511, 'to nothing less'),
        (has(GUEST, FIRST), 768, 'be brought to 512 MiB'),
        (has(GUEST, FIRST), 256, 'be brought to 512 MiB'),
        (has(GUEST, FIRST, SECOND), 600, 'be brought to 1024 or 512 MiB'),
        (has(GUEST, FOREIGN), 512, 'to nothing less'))
    @ddt.unpack
    def test_refused(self, guest, wanted_mb, words):
        (refusal,) = shrinking.refusals(guest, wanted_mb)
        self.assertIsInstance(refusal, errors.Shrink)
        for word in (words, str(wanted_mb), str(guest.present_mb)):
            self.assertIn(word, str(refusal))

    def test_accepted(self):
        self.assertEqual(
            [], list(shrinking.refusals(has(GUEST, FIRST), 512)))
