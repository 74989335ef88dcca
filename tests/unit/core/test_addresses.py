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

"""Where guests have their memory, as tables.

Expected values are measured (facts-guests.md, rows C23 and D28;
facts-qemu-libvirt.md, section 3), or come from QEMU's and Linux' sources as
``core.addresses`` names them.
"""

import ddt
import hypothesis
from hypothesis import strategies as st
import testtools

from nova_memhotplug.core import addresses
from nova_memhotplug.core import errors

GIB = 1024
MIB = 1 << 20
Q35, PC, VIRT = 'pc-q35-10.0', 'pc-i440fx-10.0', 'virt-10.0'


def map_of(machine, boot_mb, max_mb=None, slots=8, is_amd=False):
    arch = 'aarch64' if machine.startswith('virt') else 'x86_64'
    return addresses.map_of(
        arch, machine, is_amd, int(boot_mb), max_mb and int(max_mb), slots)


@ddt.ddt
class BoardTest(testtools.TestCase):

    @ddt.data(
        ('x86_64', 'pc', addresses.PC),
        ('x86_64', 'pc-i440fx-6.2', addresses.PC),
        ('x86_64', 'pc-i440fx-rhel7.6.0', addresses.PC),
        ('x86_64', 'pc-i440fx-jammy', addresses.PC),
        ('x86_64', 'q35', addresses.Q35),
        ('x86_64', 'pc-q35-10.0', addresses.Q35),
        ('x86_64', 'pc-q35-rhel9.4.0', addresses.Q35),
        ('aarch64', 'virt', addresses.VIRT),
        ('aarch64', 'virt-7.2', addresses.VIRT),
        ('aarch64', 'virt-rhel9.4.0', addresses.VIRT),
        ('aarch64', 'sbsa-ref', None), ('aarch64', 'pc', None),
        ('x86_64', 'microvm', None), ('x86_64', 'isapc', None),
        ('x86_64', 'virt', None), ('x86_64', '', None),
        ('x86_64', None, None), ('ppc64le', 'pseries', None))
    @ddt.unpack
    def test_board(self, arch, machine, expected):
        self.assertEqual(expected, addresses.board_of(arch, machine))

    @ddt.data(
        ('pc-q35-7.0', True, False), ('pc-q35-7.1', True, True),
        ('pc-i440fx-10.0', True, True), ('pc-q35-10.0', None, None),
        ('pc-q35-6.2', None, False), ('pc-q35-10.0', False, False),
        ('pc', True, True), ('q35', None, None), ('q35', False, False),
        ('pc-q35-rhel9.4.0', True, None), ('pc-q35-rhel9.4.0', False, False),
        ('pc-i440fx-jammy', None, None))
    @ddt.unpack
    def test_avoids_hole(self, machine, is_amd, expected):
        self.assertIs(expected, addresses.avoids_hole(machine, is_amd))

    @ddt.data(
        # Measured with 512 MiB on q35 (live test_bounce_buffer).
        ('pc-q35-10.0', 512, 64), ('q35', 2815, 64), ('q35', 2816, 0),
        ('pc', 2816, 64), ('pc-i440fx-10.0', 3583, 64),
        ('pc-i440fx-10.0', 3584, 0), ('q35', 64 * GIB, 0),
        # A note does not name the machine type.
        ('', 2815, 64), ('', 2816, None), ('', 3583, None), ('', 3584, 0),
        # What it does with addresses is not known.
        ('microvm', 512, None))
    @ddt.unpack
    def test_bounce_buffer(self, machine, boot_mb, expected):
        self.assertEqual(
            expected, addresses.bounce_buffer_mb(machine, boot_mb))


@ddt.ddt
class MapTest(testtools.TestCase):

    @ddt.data(
        # machine, boot MiB, end of RAM and begin of the region in GiB
        (Q35, 512, 0.5, 4), (Q35, 2815, 2815 / GIB, 4),
        (Q35, 2816, 4.75, 5), (Q35, 4 * GIB, 6, 6), (Q35, 62 * GIB, 64, 64),
        (Q35, 63 * GIB, 65, 65),
        (PC, 512, 0.5, 4), (PC, 3583, 3583 / GIB, 4), (PC, 3584, 4.5, 5),
        (PC, 4 * GIB, 5, 5), (PC, 62 * GIB, 63, 63), (PC, 64 * GIB, 65, 65),
        # facts-qemu-libvirt.md, section 3: base of the first device of a
        # guest of 1 GiB.
        (VIRT, GIB, 2, 2), (VIRT, 512, 1.5, 2), (VIRT, 5.5 * GIB, 6.5, 7))
    @ddt.unpack
    def test_region(self, machine, boot_mb, ram_end, region):
        known = map_of(machine, boot_mb, boot_mb + 8 * GIB, 2)
        self.assertEqual((ram_end * GIB, region * GIB, (region + 10) * GIB), (
            known.ram_end_mb, known.region_mb, known.region_end_mb))

    @ddt.data(
        # machine, boot GiB, block of its kernel, block that none refuses.
        # Measured on q35 (C23); 80 and 65: section 3.
        (Q35, 0.5, 128, 128), (Q35, 61, 128, 128), (Q35, 62, 2048, 2048),
        (Q35, 62.25, 256, 2048), (Q35, 63, 1024, 2048),
        (Q35, 63.5, 512, 2048), (Q35, 64, 2048, 2048),
        (Q35, 65, 1024, 2048), (Q35, 80, 2048, 2048), (Q35, 96, 2048, 2048),
        (Q35, 97, 1024, 2048), (Q35, 128, 2048, 2048),
        # Ends 1 GiB earlier.
        (PC, 61.9, 128, 128), (PC, 62, 128, 128), (PC, 63, 2048, 2048),
        (PC, 64, 1024, 2048), (PC, 96, 1024, 2048), (PC, 128, 1024, 2048),
        (PC, 256, 1024, 2048),
        # No multiple of the smallest block.
        (PC, 64 + 1 / GIB, 128, 2048),
        # What pages it has is not seen from outside.
        (VIRT, 128, 128, 128))
    @ddt.unpack
    def test_block(self, machine, boot_gib, block_mb, safe_mb):
        known = map_of(machine, boot_gib * GIB, boot_gib * GIB + 64 * GIB)
        self.assertEqual((block_mb, safe_mb), (
            known.block_mb, known.safe_block_mb))

    @ddt.data(
        # Row D28: all boot with 512 MiB. machine, is AMD, slots, bits,
        # largest ceiling in GiB.
        (Q35, True, 8, 40, 968.5), (PC, True, 8, 40, 998.5),
        (Q35, True, 1, 40, 975.5), (Q35, True, 255, 40, 721.5),
        (Q35, False, 8, 40, 980.5), (Q35, True, 8, 46, 64472.5),
        (VIRT, False, 8, 44, 16374.5), (VIRT, False, 8, 48, 262134.5),
        (VIRT, False, 255, 44, 16127.5))
    @ddt.unpack
    def test_largest_ceiling(self, machine, is_amd, slots, bits, gib):
        self.assert_largest(machine, 512, slots, is_amd, bits, gib * GIB)

    def assert_largest(self, machine, boot_mb, slots, is_amd, bits, max_mb):
        def at(ceiling_mb):
            return map_of(machine, boot_mb, ceiling_mb, slots, is_amd)

        self.assertEqual(max_mb, at(GIB).largest_ceiling_mb(bits))
        self.assertEqual(0, at(max_mb).excess_mb(bits))
        self.assertNotEqual(0, at(max_mb + 1).excess_mb(bits))

    @ddt.data(
        # An older machine type leaves RAM of AMD's where it is.
        ('pc-q35-7.0', 512, True, 980.5 * GIB),
        ('pc-q35-7.1', 512, True, 968.5 * GIB),
        # A guest without RAM above 4 GiB moves all the same.
        (Q35, 64 * GIB, True, 970 * GIB), (PC, 64 * GIB, True, 1001 * GIB))
    @ddt.unpack
    def test_largest_by_version_and_size(
            self, machine, boot_mb, is_amd, max_mb):
        self.assert_largest(machine, boot_mb, 8, is_amd, 40, max_mb)

    def test_excess(self):
        """A ceiling of 1 TiB with eight slots on 40 bits (P3)."""
        self.assertEqual(
            (1024 + 3.5 + 8 + 32 + .5 - 1024) * GIB,
            map_of(Q35, 512, 1024 * GIB).excess_mb(40))
        self.assertEqual(0, map_of(Q35, 512, 1024 * GIB).excess_mb(41))

    @ddt.data(
        (1024 * GIB, 8, 'A ceiling of 1048576 MiB with 8 slots needs 1093632 '
         'MiB of addresses, 45056 MiB more than 40 bits are: at most 1004032 '
         'MiB fit.'),
        (GIB, 255, None), (2 ** 31 - 1, 255, None))
    @ddt.unpack
    def test_check(self, max_mb, slots, expected):
        known = map_of(Q35, 512, max_mb, slots)
        if not known.excess_mb(40):
            return known.check_fits(40)
        exc = self.assertRaises(errors.CeilingTooHigh, known.check_fits, 40)
        # What Nova keeps of the fault of a build (errors.py).
        self.assertLessEqual(len(str(exc)), 255 - 88)
        if expected:
            self.assertEqual(expected, str(exc))

    def test_none_fits(self):
        exc = self.assertRaises(
            errors.CeilingTooHigh, map_of(Q35, 512, GIB, 8).check_fits, 32)
        self.assertIn('none fits, with so many slots', str(exc))

    def test_moved(self):
        """16 GiB with a ceiling of 1 TiB on an AMD vCPU (V3)."""
        known = map_of(Q35, 16 * GIB, 1024 * GIB, is_amd=True)
        self.assertTrue(known.is_moved)
        self.assertEqual((1038 * GIB, 1038 * GIB, 2048, 2048), (
            known.ram_end_mb, known.region_mb, known.block_mb,
            known.safe_block_mb))
        # All of its RAM is below 4 GiB, and stays there.
        small = map_of(Q35, 512, 1024 * GIB, is_amd=True)
        self.assertEqual((512, 1024 * GIB, 128), (
            small.ram_end_mb, small.region_mb, small.safe_block_mb))

    @ddt.data(('pc-q35-10.0', None), ('pc-q35-rhel9.4.0', True))
    @ddt.unpack
    def test_not_known_whether_moved(self, machine, is_amd):
        known = map_of(machine, 16 * GIB, 1024 * GIB, is_amd=is_amd)
        self.assertIsNone(known.is_moved)
        self.assertFalse(known.can_place)
        # Nothing is refused for a guess, and what is added suits both.
        self.assertEqual((128, 2048), (known.block_mb, known.safe_block_mb))
        self.assertTrue(map_of(
            machine, 16 * GIB, 512 * GIB, is_amd=is_amd).can_place)


@ddt.ddt
class PlaceTest(testtools.TestCase):

    @ddt.data(
        # machine, boot GiB, ends of what is there in GiB, size, step, base
        (Q35, 0.5, [], 512, 128, 4), (VIRT, 0.5, [], 1024, 1024, 2),
        (PC, 64, [], 2048, 2048, 66), (PC, 64, [(66, 68)], 2048, 2048, 68),
        (Q35, 63, [], 2048, 2048, 66),
        # QEMU has put the first at an odd GiB (V1).
        (PC, 64, [(65, 67)], 2048, 2048, 68),
        # Somebody has attached 64 MiB by hand.
        (Q35, 0.5, [(4, 4.0625)], 128, 128, 4.125),
        # A gap is left alone while there is room behind.
        (Q35, 0.5, [(5, 6)], 1024, 128, 6),
        (Q35, 0.5, [(5, 11)], 1024, 128, 4))
    @ddt.unpack
    def test_place(self, machine, boot_gib, taken, size_mb, step_mb, base):
        known = map_of(machine, boot_gib * GIB, boot_gib * GIB + 6 * GIB, 1)
        self.assertEqual(int(base * 1024 * MIB), known.place(
            [(int(first * 1024 * MIB), int(last * 1024 * MIB))
             for first, last in taken], size_mb, step_mb))

    def test_no_room(self):
        known = map_of(Q35, 512, 4 * GIB, 1)
        self.assertIsNone(known.place([(5 << 30, 8 << 30)], 2048, 128))
        self.assertIsNone(known.place([], 8 * GIB, 128))

    @hypothesis.given(
        st.sampled_from((Q35, PC, VIRT)), st.integers(1, 300 * GIB),
        st.booleans(), st.lists(st.integers(1, 8), min_size=1, max_size=16),
        st.sampled_from((128, 512, 1024, 2048)))
    @hypothesis.settings(
        max_examples=300, deadline=None, derandomize=True, database=None)
    def test_all_slots_can_be_used(
            self, machine, boot_mb, is_amd, sizes, step_mb):
        """Whole steps up to the ceiling always find an address."""
        known = map_of(
            machine, boot_mb, boot_mb + sum(sizes) * step_mb, len(sizes),
            is_amd)
        step_mb = max(step_mb, known.block_mb)
        known = map_of(
            machine, boot_mb, boot_mb + sum(sizes) * step_mb, len(sizes),
            is_amd)
        taken = []
        for size in sizes:
            base = known.place(taken, size * step_mb, step_mb)
            self.assertEqual(0, base % (known.block_mb * MIB))
            taken.append((base, base + size * step_mb * MIB))
        self.assertGreaterEqual(taken[0][0], known.ram_end_mb * MIB)
        self.assertLessEqual(taken[-1][1], known.region_end_mb * MIB)


@ddt.ddt
class StepTest(testtools.TestCase):

    @ddt.data(
        # default, named, heard, page KiB, step MiB
        (1024, 0, 0, 0, 1024), (128, 0, 0, 0, 128), (512, 0, 0, 0, 512),
        # What flavor or image say counts more than the host's default, and
        # the agent's word most, but not less than they say.
        (1024, 128, 0, 0, 128), (128, 512, 0, 0, 512),
        (1024, 0, 128, 0, 128), (128, 0, 512, 0, 512),
        (1024, 512, 128, 0, 512), (1024, 128, 512, 0, 512),
        # Nobody has smaller blocks.
        (1024, 0, 16, 0, 128),
        (128, 0, 0, 64, 128), (128, 0, 0, 2048, 128),
        (128, 0, 0, 512 * 1024, 512), (128, 0, 0, 16 << 20, 16 * GIB))
    @ddt.unpack
    def test_aarch64(self, default_mb, named_mb, heard_mb, page_kib, step):
        self.assertEqual(step, addresses.step_mb(
            'aarch64', map_of(VIRT, 512, GIB), default_mb, named_mb,
            heard_mb, page_kib))

    @ddt.data(
        # boot GiB on i440fx, named, heard, step MiB
        (0.5, 0, 0, 128), (0.5, 1024, 0, 1024), (0.5, 0, 256, 256),
        # RAM ends at 65 GiB: Linux has blocks of 1 GiB, old ones of 2.
        (64, 0, 0, 2048), (64, 1024, 0, 1024), (64, 0, 1024, 1024),
        (64, 0, 2048, 2048), (64, 1024, 2048, 2048),
        # No word makes blocks smaller than the kernel has them.
        (64, 128, 0, 1024), (64, 0, 128, 1024))
    @ddt.unpack
    def test_x86(self, boot_gib, named_mb, heard_mb, step):
        self.assertEqual(step, addresses.step_mb(
            'x86_64', map_of(PC, boot_gib * GIB, 128 * GIB), 512, named_mb,
            heard_mb))

    def test_unknown_machine_type(self):
        self.assertEqual(2048, addresses.step_mb('x86_64', None, 128))
        self.assertEqual(1024, addresses.step_mb('aarch64', None, 1024))

    @ddt.data('i686', 'armv7l', 's390x', 'riscv64', 'ppc64le', '')
    def test_no_hotplug(self, arch):
        self.assertEqual(0, addresses.step_mb(arch, None, 128, 512))
