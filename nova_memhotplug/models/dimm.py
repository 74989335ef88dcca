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

"""The model ``dimm``: one ACPI memory device per growth."""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses

from nova_memhotplug.core import addresses
from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import layouts
from nova_memhotplug.core import page_map
from nova_memhotplug.core import planner
from nova_memhotplug.core import shrinking
from nova_memhotplug.core import units
from nova_memhotplug.models import base


class DimmModel(base.MemoryModel):
    """Plug one DIMM for all that a NUMA node of the flavor gets.

    Few large DIMMs beat many small ones: slots are few, and each costs the
    host a memory region (peers.md, section D1).
    """

    element = device.DIMM

    def boot(self, request: layouts.BootRequest) -> layouts.BootMemory:
        """Boot with all memory; ceiling and slots are all that DIMMs need."""
        return layouts.BootMemory(
            cells_kib=tuple(cell.memory_kib for cell in request.cells),
            slots=request.slots)

    def step_mb(self, guest: domain.GuestMemory, blocks: base.Blocks) -> int:
        """Add whole blocks of the guest's kernel: it refuses parts of one."""
        return addresses.step_mb(
            guest.arch, guest.address_map, blocks.default_mb,
            blocks.named_mb, blocks.heard_mb, guest.page_kib)

    def floor_mb(self, guest: domain.GuestMemory) -> int:
        """Keep what was not attached by this package."""
        return min(shrinking.reachable(guest))

    def depends_on_use(
        self, guest: domain.GuestMemory, total_mb: int,
    ) -> bool:
        """Ask what is used where the page map needs more than boot memory."""
        return (total_mb > guest.present_mb and
                page_map.depends_on_use(guest.boot_mb, total_mb))

    def refusals(
        self, guest: domain.GuestMemory, target: planner.Target,
    ) -> Iterator[errors.Refused]:
        """Refuse parts of a block, or of a DIMM."""
        if target.total_mb < guest.present_mb:
            yield from shrinking.refusals(guest, target.total_mb)
            return
        yield from planner.misaligned_devices(guest)
        yield from planner.unaligned(guest, target, self.base_mb(guest))

    def plan(
        self, guest: domain.GuestMemory, target: planner.Target,
    ) -> planner.Rounds:
        """Plan one DIMM for each node, in as few rounds as possible; or take
        the last ones away, one after the other.
        """
        if target.total_mb < guest.present_mb:
            return tuple((_unplug(dev),) for dev in shrinking.reachable(
                guest)[target.total_mb])
        return tuple(_rounds(
            guest, _pieces_mb(guest, target), target.step_mb))

    def progress(
        self, guest: domain.GuestMemory, change: planner.Change,
    ) -> base.Progress:
        """A DIMM comes or goes whole."""
        return base.progress_of_whole(guest, change)


def _pieces_mb(
    guest: domain.GuestMemory, target: planner.Target,
) -> list[int]:
    """Divide an amount into what the guest can take at once.

    Whether it uses a piece has to be seen before the next one is added, and
    each takes a slot for each NUMA node of the flavor.

    :raises PageMapTooLarge: if it cannot take all of it
    """
    delta_mb, used_mb = target.total_mb - guest.present_mb, target.used_mb
    most = guest.free_slots // max(1, len(guest.own_cells))
    if not most:
        # There it is refused for want of a slot.
        return [delta_mb]
    known_mb = guest.boot_mb if used_mb is None else used_mb
    pieces_mb = page_map.pieces_mb(
        guest.boot_mb, known_mb, guest.plugged_mb, delta_mb,
        planner.total_step_mb(guest, target.step_mb),
        1 if used_mb is None else most)
    if sum(pieces_mb) < delta_mb:
        raise errors.PageMapTooLarge(
            boot_mb=guest.boot_mb, used_mb=known_mb,
            max_mb=guest.present_mb + sum(pieces_mb))
    return pieces_mb


def _rounds(
    guest: domain.GuestMemory, pieces_mb: Iterable[int], step_mb: int,
) -> Iterator[tuple[planner.Change, ...]]:
    changes: tuple[planner.Change, ...] = ()
    for piece_mb in pieces_mb:
        guest = dataclasses.replace(guest, devices=(
            *guest.devices, *(change.device for change in changes)))
        changes = _plug(guest, tuple(_placed(
            guest, planner.shares(guest, piece_mb), step_mb)))
        yield changes


def _placed(
    guest: domain.GuestMemory, parts: Iterable[planner.Share], step_mb: int,
) -> Iterator[planner.Share]:
    """Give each share an address that the guest's kernel accepts.

    QEMU puts a device right behind the last one, or where the range begins,
    which is a multiple of 1 GiB alone (``core.addresses``).

    :raises NoAddress: if there is no room for one
    """
    known = guest.address_map
    taken = [(dev.base, dev.base + dev.extent_mb * units.BYTES_PER_MIB)
             for dev in guest.devices if dev.base is not None]
    if not known or not known.can_place or len(taken) < len(guest.devices):
        yield from parts
        return
    for part in parts:
        base = known.place(taken, part.size_mb, step_mb)
        if base is None:
            raise errors.NoAddress(size_mb=part.size_mb, step_mb=step_mb)
        taken.append((base, base + part.size_mb * units.BYTES_PER_MIB))
        yield dataclasses.replace(part, base=base)


def _plug(
    guest: domain.GuestMemory, shares: Sequence[planner.Share],
) -> tuple[planner.Change, ...]:
    """Plan one DIMM for each share.

    :raises NoFreeSlot: if there are not enough slots
    """
    if guest.free_slots < len(shares):
        raise errors.NoFreeSlot(
            needed=len(shares), used=guest.used_slots, total=guest.slots)
    dimms = [device.MemoryDevice(
        model=device.DIMM, size_mb=share.size_mb, node=share.node, slot=slot,
        alias=device.new_alias(), base=share.base, backing=share.backing)
        for share, slot in zip(shares, guest.next_slots)]
    return tuple(planner.attach(dimm) for dimm in dimms)


def _unplug(dimm: device.MemoryDevice) -> planner.Change:
    return planner.Change(dimm, -dimm.size_mb, planner.DETACH)
