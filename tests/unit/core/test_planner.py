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
from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import observations
from nova_memhotplug.core import planner
from nova_memhotplug.models import dimm

MIB = 1024
GIB = 1024
MODEL = dimm.DimmModel()
SPEC = memory_spec.MemorySpec(4096, 8, True, 'dimm')
LOW_SPEC = dataclasses.replace(SPEC, max_memory_mb=1536)
HIGH_SPEC = dataclasses.replace(SPEC, max_memory_mb=8192)
GUEST = domain.GuestMemory(
    arch='x86_64', emulator='/usr/bin/qemu', boot_kib=512 * MIB,
    max_kib=4096 * MIB, slots=8, page_kib=0, has_agent=True, devices=(),
    cells=(domain.Cell(0, 512 * MIB, True), domain.Cell(1, 0, False)))
GROWN = dataclasses.replace(GUEST, devices=(
    device.MemoryDevice('dimm', 512, 1, 0, 'dimm0', 4 << 30),))
FOLDED = dataclasses.replace(
    GUEST, boot_kib=4096 * MIB, max_kib=None, slots=0)
INELASTIC = dataclasses.replace(GUEST, max_kib=None, slots=0)
CELLLESS = dataclasses.replace(GUEST, cells=())
LARGE = dataclasses.replace(
    GUEST, boot_kib=64 * GIB * MIB, max_kib=128 * GIB * MIB,
    cells=(domain.Cell(0, 64 * GIB * MIB, True), domain.Cell(1, 0, False)))
#: Two NUMA nodes of the flavor, each on a node of the host.
NODES = tuple(
    domain.Cell(number, 256 * MIB, True,
                device.Backing(str(7 - number), 2048))
    for number in range(2))
#: With and without a reserved cell.
NUMA = dataclasses.replace(GUEST, cells=(*NODES, domain.Cell(2, 0, False)))
NUMA_EXISTING = dataclasses.replace(GUEST, cells=NODES)
TWO_EMPTY = dataclasses.replace(GUEST, cells=(
    domain.Cell(0, 512 * MIB, True), domain.Cell(1, 0, True),
    domain.Cell(2, 0, False)))


#: A ceiling of 256 GiB, on two machine types.
HUGE_SPEC = dataclasses.replace(SPEC, max_memory_mb=256 * GIB)
HUGE = dataclasses.replace(
    GUEST, max_kib=256 * GIB * MIB, machine='pc-q35-10.0')
HUGE_NUMA = dataclasses.replace(
    NUMA, max_kib=256 * GIB * MIB, machine='pc-q35-10.0')


def with_dimm(size_mb, base):
    return dataclasses.replace(GUEST, devices=(
        device.MemoryDevice('dimm', size_mb, 1, 0, 'dimm0', base),))


def placed(plan):
    return [(change.device.size_mb, change.device.node, change.device.backing)
            for change in plan.changes]


@ddt.ddt
class PlannerTest(testtools.TestCase):

    @ddt.data(
        (GUEST, 640, 128), (GUEST, 1024, 512), (GUEST, 4096, 3584),
        (GROWN, 1536, 512))
    @ddt.unpack
    def test_grow(self, guest, wanted_mb, expected):
        plan = planner.plan(guest, SPEC, wanted_mb, 128, MODEL)
        self.assertEqual([(expected, 1, None)], placed(plan))
        self.assertEqual(guest.present_mb, plan.present_mb)

    @ddt.data((NUMA, (2, 2)), (NUMA_EXISTING, (0, 1)))
    @ddt.unpack
    def test_each_node_gets_its_share(self, guest, nodes):
        plan = planner.plan(guest, SPEC, 1024, 128, MODEL)
        self.assertEqual([
            (256, node, cell.backing)
            for node, cell in zip(nodes, NODES, strict=True)], placed(plan))
        self.assertEqual((512, 512), plan.own_cells_mb)

    @ddt.data(
        # guest, machine type, wanted total, step, bases in GiB
        (GUEST, 'pc-q35-10.0', 1024, 128, [4]),
        (GROWN, 'pc-q35-10.0', 2048, 128, [4.5]),
        (NUMA, 'pc-q35-10.0', 1024, 128, [4, 4.25]),
        # Its RAM ends at 65 GiB, where QEMU itself begins (V1).
        (LARGE, 'pc-i440fx-10.0', 68 * GIB, 2048, [66]),
        (dataclasses.replace(GUEST, arch='aarch64'), 'virt-10.0', 1536, 1024,
         [2]),
        # Nothing is known of it, or not whether its RAM was moved.
        (GUEST, 'microvm', 1024, 128, [None]),
        (dataclasses.replace(LARGE, max_kib=1024 * GIB * MIB),
         'pc-i440fx-10.0', 68 * GIB, 2048, [None]),
        # Somebody else's device has no address of this kind.
        (dataclasses.replace(GUEST, devices=(
            device.MemoryDevice('virtio-mem', 512, 1),)),
         'pc-q35-10.0', 2048, 128, [None]))
    @ddt.unpack
    def test_addresses(self, guest, machine, wanted_mb, step_mb, bases):
        plan = planner.plan(
            dataclasses.replace(guest, machine=machine),
            memory_spec.MemorySpec(2 ** 20, 8, True, 'dimm'), wanted_mb,
            step_mb, MODEL)
        self.assertEqual(
            [base and int(base * GIB ** 3) for base in bases],
            [change.device.base for change in plan.changes])

    def test_no_address_is_left(self):
        """Devices by hand leave gaps that are too small."""
        guest = dataclasses.replace(
            GUEST, machine='pc-q35-10.0', slots=2, max_kib=4096 * MIB,
            devices=(device.MemoryDevice('dimm', 128, 1, 0, 'a', 7 << 30),))
        outlook = planner.outlook(
            observations.Observation(guest, 128, 'shim'), SPEC, 4096, MODEL)
        self.assertEqual(
            ['no_address'], [one.code for one in outlook.against])
        self.assertIn('3456 MiB', str(outlook.against[0]))

    def test_judged_by_the_kernels_own_block(self):
        """A device at an odd GiB is what such a kernel wants (V1)."""
        guest = dataclasses.replace(
            LARGE, machine='pc-i440fx-10.0', devices=(
                device.MemoryDevice('dimm', 2048, 1, 0, 'a', 65 << 30),))
        self.assertEqual([], list(planner.misaligned_devices(guest)))
        # q35: the same guest ends at 66 GiB, and its kernel has 2 GiB.
        self.assertEqual(['misaligned'], [
            one.code for one in planner.misaligned_devices(
                dataclasses.replace(guest, machine='pc-q35-10.0'))])

    @ddt.data(
        # guest, total GiB; of each round: size and base of each DIMM in GiB
        (HUGE, 8.5, [[(8, 4)]]),
        (HUGE, 12, [[(8, 4)], [(3.5, 12)]]),
        (HUGE, 16.5, [[(8, 4)], [(8, 12)]]),
        (HUGE_NUMA, 12, [[(4, 4), (4, 8)], [(1.75, 12), (1.75, 13.75)]]))
    @ddt.unpack
    def test_rounds(self, guest, total_gib, expected):
        """Each has its page map in what the guest uses by then."""
        plan = planner.plan(
            guest, HUGE_SPEC, int(total_gib * GIB), 128,
            MODEL, 512)
        self.assertEqual(expected, [
            [(change.device.size_mb / GIB, change.device.base / GIB ** 3)
             for change in changes] for changes in plan.rounds])
        slots = [change.device.slot for change in plan.changes]
        self.assertEqual(list(range(len(slots))), slots)
        self.assertEqual(total_gib * GIB, sum(plan.own_cells_mb))

    @ddt.data(
        # guest, what it is known to use, total GiB, largest total GiB
        (HUGE, None, 8.625, 8.5), (HUGE, 512, 16.625, 16.5),
        (dataclasses.replace(HUGE, slots=1), 512, 16, 8.5),
        (dataclasses.replace(HUGE_NUMA, slots=3), 512, 16, 8.5),
        (dataclasses.replace(HUGE, devices=(
            device.MemoryDevice('dimm', 8 * GIB, 1, 0, 'a', 4 << 30),)),
         512, 16, 8.5))
    @ddt.unpack
    def test_page_map_too_large(self, guest, used_mb, total_gib, max_gib):
        refusal = self.assertRaises(
            errors.PageMapTooLarge, planner.plan, guest, HUGE_SPEC,
            int(total_gib * GIB), 128, MODEL, used_mb)
        self.assertIn(
            'booted with 512 MiB and is known to use 512 MiB, so it can be '
            'brought to %d MiB' % (max_gib * GIB), str(refusal))
        planner.plan(guest, HUGE_SPEC, int(max_gib * GIB), 128,
                     MODEL, used_mb)

    def test_no_slot_is_left(self):
        """What helps is another thing then."""
        self.assertRaises(
            errors.NoFreeSlot, planner.plan,
            dataclasses.replace(HUGE, slots=0), HUGE_SPEC, 16 * GIB, 128,
            MODEL)

    @ddt.data((GUEST, 128), (CELLLESS, 128), (NUMA, 256),
              (NUMA_EXISTING, 256))
    @ddt.unpack
    def test_total_step(self, guest, expected):
        self.assertEqual(expected, planner.total_step_mb(guest, 128))

    @ddt.data(
        (GUEST, 512), (NUMA, 512), (CELLLESS, 512), (GROWN, 1024),
        (FOLDED, 4096), (INELASTIC, 512))
    @ddt.unpack
    def test_nothing_to_do(self, guest, wanted_mb):
        plan = planner.plan(guest, SPEC, wanted_mb, 128, MODEL)
        self.assertEqual((wanted_mb, ()), (plan.present_mb, plan.changes))

    @ddt.data(
        (GUEST, None, 1024, errors.NotElastic, ['memhotplug']),
        (GUEST, SPEC, 511, errors.Shrink, ['511', '512']),
        (GROWN, SPEC, 512, errors.Shrink, ['512', '1024']),
        (GUEST, SPEC, 1000, errors.Unaligned,
         ['1000', '128', '512', '896', '1024']),
        (GUEST, SPEC, 513, errors.Unaligned, ['513', '640']),
        (GUEST, SPEC, 4224, errors.AboveCeiling, ['4224', '4096']),
        (FOLDED, SPEC, 4224, errors.AtCeiling, ['4096']),
        (INELASTIC, SPEC, 1024, errors.BootedInelastic, ['Hard reboot']),
        (GUEST, LOW_SPEC, 2048, errors.AboveFlavorCeiling,
         ['2048', '1536', 'flavor']),
        (GUEST, LOW_SPEC, 5000, errors.AboveFlavorCeiling, ['1536']),
        (GUEST, HIGH_SPEC, 4224, errors.AboveCeiling, ['4096', 'booted']),
        (CELLLESS, SPEC, 1024, errors.NoTargetCell, ['NUMA cell']),
        (TWO_EMPTY, SPEC, 1024, errors.EmptyNode, ['node 1']),
        (NUMA, SPEC, 640, errors.Unaligned,
         ['640', 'steps of 256', '512', '768']),
        (with_dimm(64, 4 << 30), SPEC, 1024, errors.Misaligned,
         ['64 MiB', '0x100000000', '128 MiB']),
        (with_dimm(128, (4 << 30) + (64 << 20)), SPEC, 1024,
         errors.Misaligned, ['0x104000000']))
    @ddt.unpack
    def test_refused(self, guest, spec, wanted_mb, error, words):
        exc = self.assertRaises(
            error, planner.plan, guest, spec, wanted_mb, 128, MODEL)
        for word in words:
            self.assertIn(word, str(exc))

    @ddt.data(
        # ceiling, what can be reached
        (4096, ''), (4100, ' In steps of 128 MiB it can have 4096 MiB.'),
        (600, ' In steps of 128 MiB it can have 512 MiB.'))
    @ddt.unpack
    def test_ceiling_that_is_no_whole_step(self, max_mb, words):
        guest = dataclasses.replace(GUEST, max_kib=max_mb * MIB)
        spec = dataclasses.replace(SPEC, max_memory_mb=max_mb)
        refusal = next(planner.refusals(
            guest, spec, 5120, 128, MODEL))
        self.assertEqual(
            '5120 MiB is above the ceiling of %d MiB this server booted '
            'with.%s' % (max_mb, words), str(refusal))

    def test_no_hotplug(self):
        guest = dataclasses.replace(GUEST, arch='i686')
        exc = self.assertRaises(
            errors.NoHotplug, planner.plan, guest, SPEC, 1024, 0, MODEL)
        self.assertIn('i686', str(exc))

    def test_every_reason(self):
        reasons = planner.refusals(GUEST, SPEC, 5000, 128, MODEL)
        self.assertEqual(
            ['above_ceiling', 'unaligned'],
            [reason.code for reason in reasons])

    @ddt.data(
        (GUEST, 1000, 'sizes are 896 and 1024 MiB.'),
        (GUEST, 4095, 'sizes are 3968 and 4096 MiB.'),
        (GUEST, 99999, 'size is 4096 MiB.'),
        (dataclasses.replace(GUEST, max_kib=4100 * MIB), 99999,
         'size is 4096 MiB.'),
        (dataclasses.replace(GUEST, max_kib=513 * MIB), 513,
         'size is 512 MiB.'))
    @ddt.unpack
    def test_nearest_sizes_can_be_had(self, guest, wanted_mb, words):
        sentence = str(list(
            planner.refusals(guest, SPEC, wanted_mb, 128, MODEL))[-1])
        self.assertTrue(sentence.endswith('The nearest ' + words), sentence)

    @ddt.data(
        (GUEST, SPEC, 4096), (GUEST, LOW_SPEC, 1536),
        (GUEST, HIGH_SPEC, 4096), (GUEST, None, 4096),
        (INELASTIC, SPEC, 512), (FOLDED, LOW_SPEC, 4096),
        (dataclasses.replace(GUEST, devices=(device.MemoryDevice(
            'virtio-mem', 256, 1, capacity_mb=1024),)), SPEC, 3328))
    @ddt.unpack
    def test_ceiling(self, guest, spec, expected):
        self.assertEqual(expected, planner.ceiling_mb(guest, spec))


def seen(guest, **more):
    return observations.Observation(guest, 128, 'shim', **more)


EXCLUDED = errors.ExcludedComposition(what='x', why='y')


@ddt.ddt
class OutlookTest(testtools.TestCase):

    @ddt.data(
        (seen(GUEST), 1024, []),
        (seen(GUEST), 5000, ['above_ceiling', 'unaligned']),
        (seen(GUEST, excluded=EXCLUDED), 5000,
         ['excluded_composition', 'above_ceiling', 'unaligned']),
        (seen(GUEST, excluded=EXCLUDED), 512, []))
    @ddt.unpack
    def test_outlook(self, seen, wanted_mb, codes):
        outlook = planner.outlook(seen, SPEC, wanted_mb, MODEL)
        self.assertEqual(codes, [one.code for one in outlook.against])
        self.assertEqual(wanted_mb, outlook.wanted_mb)
        self.assertEqual(
            not codes and wanted_mb != 512, bool(outlook.changes))

    def test_the_model_refuses(self):
        outlook = planner.outlook(
            seen(dataclasses.replace(GUEST, slots=0)), SPEC, 1024, MODEL)
        self.assertEqual(
            ['no_free_slot'], [one.code for one in outlook.against])

    @ddt.data(
        # guest, devices it can have, refused
        (GUEST, 1, False), (GUEST, 0, True), (NUMA, 2, False),
        (NUMA, 1, True), (GROWN, 2, False), (GROWN, 1, True))
    @ddt.unpack
    def test_regions_of_the_host(self, guest, most, is_refused):
        guest = dataclasses.replace(guest, most_devices=most)
        outlook = planner.next_step(seen(guest), SPEC, MODEL)
        self.assertEqual(
            ['no_free_region'] * is_refused,
            [one.code for one in outlook.against])

    @ddt.data((GUEST, 640), (NUMA, 768))
    @ddt.unpack
    def test_next_step(self, guest, wanted_mb):
        outlook = planner.next_step(seen(guest), SPEC, MODEL)
        self.assertEqual((wanted_mb, ()), (
            outlook.wanted_mb, outlook.against))

    def test_no_step_is_left(self):
        """No size is named that nobody has asked for."""
        guest = dataclasses.replace(GUEST, max_kib=513 * MIB)
        (refusal,) = planner.next_step(seen(guest), SPEC, MODEL).against
        self.assertEqual('no_step_left', refusal.code)
        self.assertNotIn('640', str(refusal))
        for number in ('512', '128', '513'):
            self.assertIn(number, str(refusal))
