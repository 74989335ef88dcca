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

from nova_memhotplug.core import blocklist
from nova_memhotplug.core import device

MIB = 1024 * 1024
DIMM = device.MemoryDevice('dimm', 256, 1, 0, 'dimm0', 4096 * MIB)


def block(number, online=True):
    return {'phys-index': number, 'online': online, 'can-offline': True}


@ddt.ddt
class BlockListTest(testtools.TestCase):

    def test_parse(self):
        blocks = blocklist.parse(128, [block(0), block(32, False)])
        self.assertEqual(128, blocks.block_mb)
        self.assertEqual({0: True, 32: False}, blocks.online)
        self.assertEqual(128, blocks.online_mb)

    @ddt.data(
        ([32, 33], [], [], []),
        ([32], [33], [], [33]),
        ([], [32, 33], [], [32, 33]),
        ([32], [], [33], []),
        ([], [], [32, 33], []))
    @ddt.unpack
    def test_device(self, online, offline, missing, not_online):
        blocks = blocklist.parse(
            128, [block(number) for number in [0, 1] + online] +
            [block(number, False) for number in offline])
        self.assertEqual(missing, blocks.missing([DIMM]))
        self.assertEqual(not_online, blocks.offline([DIMM]))
        self.assertIs(not missing and not not_online,
                      blocks.has_online([DIMM]))

    def test_blocks_larger_than_the_device_say_nothing(self):
        blocks = blocklist.parse(1024, [block(4)])
        self.assertFalse(blocks.has_online([DIMM]))
        self.assertFalse(blocks.divides(DIMM))

    @ddt.data((128, 256, 4096, True), (256, 128, 4096, False),
              (256, 256, 4224, False), (128, 128, 4224, True))
    @ddt.unpack
    def test_whole_blocks(self, block_mb, size_mb, base_mb, expected):
        dev = device.MemoryDevice(
            'dimm', size_mb, 1, 0, 'dimm0', base_mb * MIB)
        self.assertIs(
            expected, blocklist.BlockList(block_mb, {}).divides(dev))

    def test_device_without_address(self):
        blocks = blocklist.parse(128, [])
        self.assertEqual(
            (), blocks.of(device.MemoryDevice('dimm', 128, 1)))
        self.assertFalse(
            blocks.has_online([device.MemoryDevice('dimm', 128, 1)]))

    @ddt.data(
        None, 7, [], {}, {'size': None}, {'size': '134217728'},
        {'size': True}, {'size': 0}, {'size': -128 * MIB},
        {'size': 128 * MIB + 1}, {'size': 8 * MIB}, {'size': 384 * MIB},
        {'size': 1 << 60})
    def test_nonsense_size(self, info):
        self.assertIsNone(blocklist.block_size_mb(info))

    @ddt.data(
        None, {}, 'blocks', [None], [{}], [{'phys-index': 1}],
        [{'phys-index': '1', 'online': True}],
        [{'phys-index': True, 'online': True}],
        [{'phys-index': 1, 'online': 1}])
    def test_nonsense_blocks(self, blocks):
        self.assertIsNone(blocklist.parse(128, blocks))

    @ddt.data((128, 128), (512, 512), (2048, 2048), (16, 16))
    @ddt.unpack
    def test_size(self, mb, expected):
        self.assertEqual(
            expected, blocklist.block_size_mb({'size': mb * MIB}))

    def test_refused(self):
        """An error of one block does not concern the others."""
        self.assertEqual({3: 16, 4: None, 5: None}, blocklist.refused([
            {'phys-index': 2, 'response': 'success'},
            {'phys-index': 3, 'response': 'operation-failed',
             'error-code': 16},
            {'phys-index': 4, 'response': 'not-found'},
            {'phys-index': 5, 'error-code': 'x'},
            {'phys-index': True}, 'nonsense']))
        self.assertEqual({}, blocklist.refused(None))
        self.assertEqual({}, blocklist.refused({'phys-index': 2}))

    @ddt.data(
        # What it is asked for, has, and what of its blocks the guest uses.
        (1024, 0, {}, 0), (1024, 256, {32: True, 33: True}, 256),
        (1024, 256, {32: True, 33: False}, 128),
        # A part of the last block (facts-guests.md, section 3).
        (1024, 130, {32: True, 33: True}, 130),
        # More than it was asked for, and the blocks of others.
        (128, 256, {32: True, 33: True, 31: True, 64: True}, 256))
    @ddt.unpack
    def test_device_that_gives_a_part(self, asked, has, online, used):
        blocks = blocklist.BlockList(128, online)
        dev = device.MemoryDevice(
            'virtio-mem', max(asked, has), 1, base=32 * 128 * MIB,
            capacity_mb=4096, requested_mb=asked, current_mb=has)
        self.assertEqual(used, blocks.used_mb(dev))
        self.assertEqual([], blocks.missing([dev]))
        self.assertEqual([number for number in online if not online[number]],
                         blocks.offline([dev]))
        self.assertEqual(used == asked, blocks.has_online([dev]))
        self.assertTrue(blocks.divides(dev))
