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

"""Where a guest has its memory, and where it can get more.

QEMU keeps a range of guest physical addresses free for what is plugged: it
begins behind the RAM that the guest boots with, and ends where a further
range for PCI begins. All of that has to fit into the addresses that the
guest's processor knows. The guest's kernel manages memory in blocks; whatever
is not made of whole blocks, by address and by size, it does not use
(facts-qemu-libvirt.md, section 3).
"""

from collections.abc import Iterable
import dataclasses
import re

from nova_memhotplug.core import errors
from nova_memhotplug.core import units

AARCH64 = 'aarch64'
X86_64 = 'x86_64'

_GIB = units.MIB_PER_GIB
_TIB = 1024 * _GIB

#: Linux, arch/x86/include/asm/sparsemem.h and arch/arm64/include/asm/
#: sparsemem.h: SECTION_SIZE_BITS is 27. No guest has smaller blocks.
SMALLEST_BLOCK_MB = 128
#: Linux, arch/x86/mm/init_64.c: MAX_BLOCK_SIZE, and
#: MEM_SIZE_FOR_LARGE_BLOCK, the end of RAM from which on it is looked at.
LARGEST_BLOCK_MB = 2 * _GIB
_LARGE_MEMORY_MB = 64 * _GIB
#: Linux, include/linux/swiotlb.h: IO_TLB_DEFAULT_SIZE.
BOUNCE_BUFFER_MB = 64
#: What flavors and images may name. Kernels of aarch64 before 5.12 have
#: blocks of 1 GiB, later ones with pages of 64 KiB 512 MiB (arch/arm64/
#: include/asm/sparsemem.h).
BLOCKS_MB = (128, 256, 512, 1024, 2048)

#: QEMU, hw/i386/pc.c: AMD_HT_START and AMD_ABOVE_1TB_START.
_AMD_HOLE_MB = _TIB - 12 * _GIB
_AMD_MOVED_MB = _TIB
#: QEMU, hw/i386/pc_piix.c, pc_i440fx_7_0_machine_options(): older machine
#: types do not move RAM (enforce_amd_1tb_hole).
_AMD_SINCE = (7, 1)
_VERSION = re.compile(r'-(\d+)\.(\d+)\Z')


@dataclasses.dataclass(frozen=True)
class Board:
    """What a kind of machine type does with addresses.

    :param arch: the guest architecture
    :param whole_below_mb: RAM of less than this begins at ``base_mb`` and is
        in one piece, in MiB; None where it always is
    :param low_mb: what of larger RAM is below 4 GiB, in MiB
    :param base_mb: where RAM begins, in MiB
    :param pci_mb: the range for PCI behind all memory, in MiB
    """

    arch: str
    whole_below_mb: int | None
    low_mb: int = 0
    base_mb: int = 0
    pci_mb: int = 0


#: QEMU, hw/i386/pc_q35.c, pc_q35_init(): 2 GiB below 4 GiB from 2.75 GiB on;
#: hw/pci-host/q35.c, Q35_PCI_HOST_HOLE64_SIZE_DEFAULT.
Q35 = Board(X86_64, 2816, 2 * _GIB, pci_mb=32 * _GIB)
#: QEMU, hw/i386/pc_piix.c, pc_init1(): 3 GiB below 4 GiB from 3.5 GiB on;
#: hw/pci-host/i440fx.c, I440FX_PCI_HOST_HOLE64_SIZE_DEFAULT.
PC = Board(X86_64, 3584, 3 * _GIB, pci_mb=2 * _GIB)
#: QEMU, hw/arm/virt.c, virt_set_memmap(): RAM from 1 GiB on. The high range
#: for PCI is left out where it does not fit.
VIRT = Board(AARCH64, None, base_mb=_GIB)


def board_of(arch: str, machine: str | None) -> Board | None:
    """Find out what a machine type does with addresses.

    :param arch: guest architecture, as libvirt names it
    :param machine: machine type, with or without a version
    :returns: the board; None for one that is not known
    """
    machine = machine or ''
    if arch == AARCH64:
        return VIRT if machine.split('-')[0] == 'virt' else None
    if arch != X86_64:
        return None
    if 'q35' in machine.split('-'):
        return Q35
    return PC if machine == 'pc' or machine.startswith('pc-') else None


def bounce_buffer_mb(machine: str, boot_mb: int) -> int | None:
    """Say what Linux sets aside because memory may be added above 4 GiB.

    A kernel of x86_64 makes a bounce buffer as soon as there may be memory
    above 4 GiB (arch/x86/kernel/pci-dma.c, pci_swiotlb_detect()). The range
    for what is plugged is there, and counts (arch/x86/mm/srat.c,
    acpi_numa_memory_affinity_init()); so does RAM.

    :param machine: machine type of a guest of x86_64 with room for growth;
        empty if not known
    :param boot_mb: RAM that it boots with, in MiB
    :returns: the buffer, in MiB; 0 where the guest would have it without
        that room, too; None if that is not known
    """
    boards = [board_of(X86_64, machine)] if machine else [PC, Q35]
    found = {None if board is None else BOUNCE_BUFFER_MB if boot_mb < (
        board.whole_below_mb or 0) else 0 for board in boards}
    return found.pop() if len(found) == 1 else None


def avoids_hole(machine: str | None, is_amd: bool | None) -> bool | None:
    """Tell whether RAM moves above 1 TiB to avoid a hole of AMD's.

    :param machine: machine type, with or without a version
    :param is_amd: whether the vCPUs are AMD's; None if not known
    :returns: None if it is not known: distributions have machine types of
        their own
    """
    version = _VERSION.search(machine or '')
    if version:
        is_older = (int(version[1]), int(version[2])) < _AMD_SINCE
        return False if is_older else is_amd
    # An alias is the newest that there is.
    if machine in ('pc', 'q35') or is_amd is False:
        return is_amd
    return None


@dataclasses.dataclass(frozen=True)
class AddressMap:
    """Where a guest has its memory. All is in MiB.

    :param board: what its machine type does with addresses
    :param boot_mb: RAM it boots with
    :param max_mb: its ceiling; None without one
    :param slots: its memory slots
    :param avoids_hole: whether its RAM above 4 GiB moves above 1 TiB where
        memory would reach into a hole of AMD's; None where that is not known
    """

    board: Board
    boot_mb: int
    max_mb: int | None
    slots: int
    avoids_hole: bool | None = False

    @property
    def is_moved(self) -> bool | None:
        """Whether its RAM above 4 GiB was moved; None if not known.

        QEMU, hw/i386/pc.c, pc_memory_init().
        """
        if self._top_mb(4 * _GIB) <= _AMD_HOLE_MB:
            return False
        return self.avoids_hole

    @property
    def ram_end_mb(self) -> int:
        """Where the RAM that it boots with ends."""
        if self._high_mb:
            return self._high_start_mb + self._high_mb
        return self.board.base_mb + self.boot_mb

    @property
    def region_mb(self) -> int:
        """Where the range for what is plugged begins."""
        if self.board.whole_below_mb is None:
            return units.round_up(self.ram_end_mb, _GIB)
        return units.round_up(self._high_start_mb + self._high_mb, _GIB)

    @property
    def region_end_mb(self) -> int:
        """Where the range for what is plugged ends.

        QEMU reserves 1 GiB for each slot, to be able to align a device
        (hw/i386/pc.c, pc_get_device_memory_range(); hw/arm/virt.c,
        virt_set_memmap()).
        """
        return self.region_mb + self._region_size_mb

    @property
    def top_mb(self) -> int:
        """How much its processor has to be able to address."""
        return self._top_mb(self._high_start_mb)

    @property
    def block_mb(self) -> int:
        """The block of the guest's kernel, as far as addresses tell.

        A Linux guest of x86_64 whose RAM ends at 64 GiB or above uses the
        largest block up to 2 GiB that divides that end (arch/x86/mm/
        init_64.c, probe_memory_block_size()). Elsewhere this is the smallest
        that there is.
        """
        if not self._has_large_blocks or self.is_moved is None:
            return SMALLEST_BLOCK_MB
        return max(SMALLEST_BLOCK_MB, min(
            LARGEST_BLOCK_MB, self.ram_end_mb & -self.ram_end_mb))

    @property
    def safe_block_mb(self) -> int:
        """The smallest block that no kernel for x86_64 refuses.

        Kernels before 4.17 have blocks of 2 GiB, wherever large RAM ends.
        """
        return (LARGEST_BLOCK_MB if self._has_large_blocks
                else SMALLEST_BLOCK_MB)

    @property
    def can_place(self) -> bool:
        """Whether there is a range for what is plugged, and it is known."""
        return self.max_mb is not None and self.is_moved is not None

    def excess_mb(self, bits: int) -> int:
        """Say by how much it exceeds what a processor can address.

        :param bits: address bits of the processor
        :returns: the excess; 0 where it fits
        """
        return max(0, self.top_mb - (1 << bits) // units.BYTES_PER_MIB)

    def check_fits(self, bits: int, follows_host: bool = False) -> None:
        """Check that a processor can address all of it.

        :param bits: address bits of the processor
        :param follows_host: whether another host may give it others
        :raises CeilingTooHigh: if it cannot
        """
        if not self.excess_mb(bits):
            return
        largest_mb = self.largest_ceiling_mb(bits)
        kind = (errors.CeilingTooHighHere if follows_host
                else errors.CeilingTooHigh)
        raise kind(
            max_mb=self.max_mb or self.boot_mb, slots=self.slots, bits=bits,
            needed_mb=self.top_mb, excess_mb=self.excess_mb(bits),
            fits='at most %d MiB fit' % largest_mb
            if largest_mb > self.boot_mb else 'none fits, with so many slots')

    def largest_ceiling_mb(self, bits: int) -> int:
        """Say which ceiling such a guest could have.

        :param bits: address bits of the processor
        :returns: the largest ceiling that fits; not above ``boot_mb`` where
            none does
        """
        limit_mb = (1 << bits) // units.BYTES_PER_MIB
        if self.board.whole_below_mb is None or self.avoids_hole is False:
            return self._ceiling_below(limit_mb, 4 * _GIB)
        return max(
            self._ceiling_below(min(limit_mb, _AMD_HOLE_MB), 4 * _GIB),
            self._ceiling_below(limit_mb, _AMD_MOVED_MB))

    def place(
        self, taken: Iterable[tuple[int, int]], size_mb: int, step_mb: int,
    ) -> int | None:
        """Find the address of the next device.

        It goes behind all others. So it cannot be in the way of one without
        an address, which QEMU puts into the first gap, when libvirt starts
        the guest again. A gap is used where nothing else is left.

        :param taken: first address and the one after the last, in bytes, of
            each device that the guest has
        :param size_mb: size of the device
        :param step_mb: what its address is to be a multiple of
        :returns: the address, in bytes; None where there is no room
        """
        step, size = (one * units.BYTES_PER_MIB for one in (step_mb, size_mb))
        start, end = (one * units.BYTES_PER_MIB for one in (
            self.region_mb, self.region_end_mb))
        used = sorted(taken)
        gaps = zip(
            [start, *(last for _first, last in used)],
            [*(first for first, _last in used), end], strict=True)
        for first, last in reversed(list(gaps)):
            address = units.round_up(max(first, start), step)
            if address + size <= min(last, end):
                return address
        return None

    @property
    def _high_mb(self) -> int:
        """RAM above 4 GiB."""
        whole_mb = self.board.whole_below_mb
        if whole_mb is None or self.boot_mb < whole_mb:
            return 0
        return self.boot_mb - self.board.low_mb

    @property
    def _high_start_mb(self) -> int:
        return _AMD_MOVED_MB if self.is_moved else 4 * _GIB

    @property
    def _has_large_blocks(self) -> bool:
        """Whether RAM of x86_64 ends, or may end, at 64 GiB or above."""
        if self.board.arch != X86_64:
            return False
        return (self.ram_end_mb >= _LARGE_MEMORY_MB or
                self.is_moved is None and self._high_mb > 0)

    @property
    def _region_size_mb(self) -> int:
        if self.max_mb is None:
            return 0
        return self.max_mb - self.boot_mb + self.slots * _GIB

    def _top_mb(self, high_start_mb: int) -> int:
        """Add all up: RAM, what is plugged, PCI (hw/i386/pc.c,
        pc_max_used_gpa()).
        """
        start_mb = self._region_from(high_start_mb)
        return (units.round_up(start_mb + self._region_size_mb, _GIB) +
                self.board.pci_mb)

    def _region_from(self, high_start_mb: int) -> int:
        if self.board.whole_below_mb is None:
            return units.round_up(self.board.base_mb + self.boot_mb, _GIB)
        return units.round_up(high_start_mb + self._high_mb, _GIB)

    def _ceiling_below(self, limit_mb: int, high_start_mb: int) -> int:
        room_mb = units.round_down(limit_mb - self.board.pci_mb, _GIB)
        return (room_mb - self._region_from(high_start_mb) -
                self.slots * _GIB + self.boot_mb)


def map_of(
    arch: str, machine: str | None, is_amd: bool | None, boot_mb: int,
    max_mb: int | None, slots: int,
) -> AddressMap | None:
    """Draw the map of a guest.

    :param arch: guest architecture, as libvirt names it
    :param machine: machine type, with or without a version
    :param is_amd: whether the vCPUs are AMD's; None if not known
    :param boot_mb: RAM it boots with, in MiB
    :param max_mb: its ceiling, in MiB; None without one
    :param slots: its memory slots
    :returns: the map; None for a machine type that is not known
    """
    board = board_of(arch, machine)
    if board is None:
        return None
    return AddressMap(
        board, boot_mb, max_mb, slots,
        arch == X86_64 and avoids_hole(machine, is_amd))


def step_mb(
    arch: str, known: AddressMap | None, default_mb: int,
    named_mb: int = 0, heard_mb: int = 0, page_kib: int = 0,
) -> int:
    """Say in what steps memory can be added to a guest.

    Every number that takes part is a power of two, so the largest is a
    multiple of all of them.

    :param arch: guest architecture, as libvirt names it
    :param known: the guest's map; None for a machine type that is not known
    :param default_mb: block of aarch64 guests of which nothing is known, in
        MiB
    :param named_mb: block that flavor and image name, in MiB; 0 for none
    :param heard_mb: block that the guest itself has named, in MiB; 0 if it
        never did
    :param page_kib: huge page that backs the guest, in KiB; 0 for none
    :returns: the step, in MiB; 0 for an architecture without memory hot-plug
    """
    if arch == X86_64:
        default_mb = known.safe_block_mb if known else LARGEST_BLOCK_MB
    elif arch != AARCH64:
        return 0
    return max(
        heard_mb or named_mb or default_mb, named_mb,
        known.block_mb if known else SMALLEST_BLOCK_MB,
        units.kib_to_mb(page_kib))
