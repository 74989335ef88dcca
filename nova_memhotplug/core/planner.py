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

"""From what a guest has and a wanted total to the devices to add."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import itertools

from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import limits
from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import observations
from nova_memhotplug.core import page_map
from nova_memhotplug.core import shrinking
from nova_memhotplug.core import units


@dataclasses.dataclass(frozen=True)
class Change:
    """One call to libvirt that gives a guest more memory.

    :param device: what the guest gets
    :param xml: the device for libvirt
    :param update: whether ``xml`` updates a device that the guest has
        (virtio-mem) instead of attaching a new one
    """

    device: device.MemoryDevice
    xml: str
    update: bool = False


@dataclasses.dataclass(frozen=True)
class Share:
    """What of an amount goes to one NUMA node of the flavor.

    :param size_mb: the amount, in MiB
    :param node: the guest NUMA node that is to have it
    :param backing: where on the host it is to be; None where the host is
        free to choose
    :param base: the guest physical address for it, in bytes; None where that
        is left to QEMU
    """

    size_mb: int
    node: int
    backing: device.Backing | None = None
    base: int | None = None


#: How a memory model adds shares to a guest.
Grow = Callable[
    [domain.GuestMemory, Sequence[Share]], tuple[Change, ...]]


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to bring a guest to a wanted total.

    :param present_mb: RAM the guest has, in MiB
    :param wanted_mb: RAM it is to have, in MiB
    :param rounds: what to do, in order: each round when the guest uses what
        the one before has added; empty where it has that much
    :param own_cells_mb: RAM that each own cell of the guest is to have, in
        MiB
    :param removed: devices to take away, in order
    """

    present_mb: int
    wanted_mb: int
    rounds: tuple[tuple[Change, ...], ...]
    own_cells_mb: tuple[int, ...]
    removed: shrinking.Devices = ()

    @property
    def changes(self) -> tuple[Change, ...]:
        """All that there is to do."""
        return tuple(itertools.chain.from_iterable(self.rounds))


@dataclasses.dataclass(frozen=True)
class Outlook:
    """The way to a wanted total, or every reason against it.

    :param wanted_mb: RAM the server is to have, in MiB
    :param changes: what would be added; empty where something is against it
    :param removed: what would be taken away
    :param against: every reason against it, the most basic one first
    """

    wanted_mb: int
    changes: tuple[Change, ...] = ()
    against: tuple[errors.MemoryHotplugError, ...] = ()
    removed: shrinking.Devices = ()


def outlook(
    seen: observations.Observation,
    spec: memory_spec.MemorySpec | None,
    wanted_mb: int,
    grow: Grow,
) -> Outlook:
    """Look for the way to a wanted total.

    :param seen: what is known of the server
    :param spec: what its flavor says; None without a ceiling
    :param wanted_mb: RAM it is to have, in MiB
    :param grow: the memory model's way of adding memory
    :returns: the way, or every reason against it
    """
    against: list[errors.MemoryHotplugError] = list(refusals(
        seen.guest, spec, wanted_mb, seen.step_mb))
    if seen.excluded and wanted_mb != seen.guest.present_mb:
        against.insert(0, seen.excluded)
    if against:
        return Outlook(wanted_mb, against=tuple(against))
    try:
        found = plan(seen.guest, spec, wanted_mb, seen.step_mb, grow,
                     seen.used_mb)
        return Outlook(
            wanted_mb, changes=found.changes, removed=found.removed)
    except errors.Refused as refusal:
        return Outlook(wanted_mb, against=(refusal,))


def next_step(
    seen: observations.Observation,
    spec: memory_spec.MemorySpec | None,
    grow: Grow,
) -> Outlook:
    """Look for the way to the next larger total.

    :param seen: what is known of the server
    :param spec: what its flavor says; None without a ceiling
    :param grow: the memory model's way of adding memory
    :returns: the way, or every reason against it; none of them names a total
        that nobody has asked for
    """
    present_mb = seen.guest.present_mb
    step_mb = total_step_mb(seen.guest, seen.step_mb)
    found = outlook(seen, spec, present_mb + (step_mb or 1), grow)
    return dataclasses.replace(found, against=tuple(
        errors.NoStepLeft(present_mb=present_mb, step_mb=step_mb,
                          max_mb=refusal.max_mb)
        if isinstance(refusal, errors.AboveCeiling) else refusal
        for refusal in found.against))


def plan(
    guest: domain.GuestMemory,
    spec: memory_spec.MemorySpec | None,
    wanted_mb: int,
    step_mb: int,
    grow: Grow,
    used_mb: int | None = None,
) -> Plan:
    """Plan the way to a wanted total.

    :param guest: what the guest has
    :param spec: what its flavor says; None without a ceiling
    :param wanted_mb: RAM it is to have, in MiB; a total, not an increment
    :param step_mb: in what steps a node can take memory, in MiB
    :param grow: the memory model's way of adding memory
    :param used_mb: RAM that the guest uses, in MiB; None if nobody can tell
    :returns: the plan; without changes if the guest has what is wanted
    :raises Refused: the first reason why it cannot be
    """
    for refusal in refusals(guest, spec, wanted_mb, step_mb):
        raise refusal
    delta_mb = wanted_mb - guest.present_mb
    if delta_mb < 0:
        each_mb = delta_mb // max(1, len(guest.own_cells))
        return Plan(
            present_mb=guest.present_mb, wanted_mb=wanted_mb, rounds=(),
            own_cells_mb=tuple(
                cell_mb + each_mb for cell_mb in guest.own_cells_mb),
            removed=shrinking.reachable(guest)[wanted_mb])
    pieces_mb = _pieces_mb(guest, delta_mb, step_mb, used_mb)
    rounds = tuple(_rounds(guest, pieces_mb, step_mb, grow))
    limits.check_devices(guest.most_devices, len(guest.devices), (
        not change.update for change in itertools.chain(*rounds)))
    return Plan(
        present_mb=guest.present_mb, wanted_mb=wanted_mb, rounds=rounds,
        own_cells_mb=tuple(
            cell_mb + part.size_mb for cell_mb, part in zip(
                guest.own_cells_mb, shares(guest, delta_mb), strict=True)))


def _pieces_mb(
    guest: domain.GuestMemory, delta_mb: int, step_mb: int,
    used_mb: int | None,
) -> list[int]:
    """Divide an amount into what the guest can take at once.

    Whether it uses a piece has to be seen before the next one is added, and
    each takes a slot for each NUMA node of the flavor.

    :raises PageMapTooLarge: if it cannot take all of it
    """
    most = guest.free_slots // max(1, len(guest.own_cells))
    if not (delta_mb and most):
        # Without a slot the memory model decides.
        return [delta_mb] if delta_mb else []
    known_mb = guest.boot_mb if used_mb is None else used_mb
    pieces_mb = page_map.pieces_mb(
        guest.boot_mb, known_mb, guest.plugged_mb, delta_mb,
        total_step_mb(guest, step_mb), 1 if used_mb is None else most)
    if sum(pieces_mb) < delta_mb:
        raise errors.PageMapTooLarge(
            boot_mb=guest.boot_mb, used_mb=known_mb,
            max_mb=guest.present_mb + sum(pieces_mb))
    return pieces_mb


def _rounds(
    guest: domain.GuestMemory, pieces_mb: Iterable[int], step_mb: int,
    grow: Grow,
) -> Iterator[tuple[Change, ...]]:
    changes: tuple[Change, ...] = ()
    for piece_mb in pieces_mb:
        guest = dataclasses.replace(guest, devices=(
            *guest.devices, *(change.device for change in changes)))
        changes = grow(guest, tuple(
            _placed(guest, shares(guest, piece_mb), step_mb)))
        yield changes


def shares(guest: domain.GuestMemory, delta_mb: int) -> tuple[Share, ...]:
    """Divide an amount evenly among the NUMA nodes of the flavor.

    So does Nova when the server moves (nova/virt/hardware.py,
    _get_numa_topology_auto). A guest with a reserved cell gets all of it
    there, each share from the node of the host that its own cell is on.

    :param guest: what the guest has
    :param delta_mb: RAM to add, in MiB, a multiple of ``total_step_mb``
    :returns: a share for each own cell, in their order
    """
    cells = guest.own_cells
    reserved = guest.reserved_cell
    return tuple(
        Share(size_mb=delta_mb // len(cells),
              node=reserved.id if reserved else cell.id,
              backing=cell.backing)
        for cell in cells)


def _placed(
    guest: domain.GuestMemory, parts: Iterable[Share], step_mb: int,
) -> Iterator[Share]:
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


def total_step_mb(guest: domain.GuestMemory, step_mb: int) -> int:
    """Say in what steps a guest can take memory.

    :param guest: what the guest has
    :param step_mb: in what steps a node can take memory, in MiB
    :returns: the step, in MiB
    """
    return step_mb * max(1, len(guest.own_cells))


def refusals(
    guest: domain.GuestMemory,
    spec: memory_spec.MemorySpec | None,
    wanted_mb: int,
    step_mb: int,
) -> Iterator[errors.Refused]:
    """Say every reason against a wanted total that holds for any model.

    :param guest: what the guest has
    :param spec: what its flavor says; None without a ceiling
    :param wanted_mb: RAM it is to have, in MiB
    :param step_mb: in what steps a node can take memory, in MiB; 0 if it
        cannot
    :returns: the reasons, the most basic one first
    """
    if spec is None:
        yield errors.NotElastic()
        return
    if wanted_mb == guest.present_mb:
        return
    if wanted_mb < guest.present_mb:
        yield from shrinking.refusals(guest, wanted_mb)
        return
    if not step_mb:
        yield errors.NoHotplug(arch=guest.arch)
        return
    yield from _room(guest, spec, wanted_mb, step_mb)
    yield from _alignment(
        guest, wanted_mb, step_mb, ceiling_mb(guest, spec))


def ceiling_mb(
    guest: domain.GuestMemory, spec: memory_spec.MemorySpec | None,
) -> int:
    """Say what a guest may have at the most.

    Its own ceiling is that of the flavor that it was started with. That of
    the flavor which it has now counts beside it: a server above that could
    have no room for growth at its next start.

    :param guest: what the guest has
    :param spec: what its flavor says; None without a ceiling
    :returns: the lower ceiling, in MiB, or what it has if that is more
    """
    allowed_mb = guest.max_mb or guest.present_mb
    if spec is not None:
        allowed_mb = min(allowed_mb, spec.max_memory_mb)
    return max(allowed_mb, guest.present_mb)


def _room(
    guest: domain.GuestMemory, spec: memory_spec.MemorySpec, wanted_mb: int,
    step_mb: int,
) -> Iterator[errors.Refused]:
    if guest.max_mb is None:
        if guest.present_mb >= spec.max_memory_mb:
            yield errors.AtCeiling(
                present_mb=guest.present_mb, max_mb=spec.max_memory_mb)
        else:
            yield errors.BootedInelastic()
    elif wanted_mb > ceiling_mb(guest, spec):
        lower = (errors.AboveFlavorCeiling
                 if spec.max_memory_mb < guest.max_mb else errors.AboveCeiling)
        max_mb = min(spec.max_memory_mb, guest.max_mb)
        yield lower(wanted_mb=wanted_mb, max_mb=max_mb,
                    reach=_reach(guest, max_mb, step_mb))
    if guest.target_node is None:
        yield errors.NoTargetCell()
    if guest.misplaced_node is not None:
        yield errors.EmptyNode(node=guest.misplaced_node)


def _reach(guest: domain.GuestMemory, max_mb: int, step_mb: int) -> str:
    """Name the largest total below a ceiling that is no whole step."""
    total_mb = total_step_mb(guest, step_mb)
    rest_mb = (max_mb - guest.present_mb) % total_mb
    if not rest_mb or max_mb < guest.present_mb:
        return ''
    return ' In steps of %d MiB it can have %d MiB.' % (
        total_mb, max_mb - rest_mb)


def _alignment(
    guest: domain.GuestMemory, wanted_mb: int, step_mb: int, max_mb: int,
) -> Iterator[errors.Refused]:
    yield from misaligned_devices(guest)
    total_mb = total_step_mb(guest, step_mb)
    delta_mb = wanted_mb - guest.present_mb
    if units.is_multiple(delta_mb, total_mb):
        return
    yield errors.Unaligned(
        wanted_mb=wanted_mb, step_mb=total_mb, present_mb=guest.present_mb,
        nearest=_nearest(guest, wanted_mb, total_mb, max_mb))


def _nearest(
    guest: domain.GuestMemory, wanted_mb: int, total_mb: int, max_mb: int,
) -> str:
    """Name the sizes nearest to an unaligned one, none above the ceiling."""
    below_mb = guest.present_mb + units.round_down(
        min(wanted_mb, max_mb) - guest.present_mb, total_mb)
    above_mb = below_mb + total_mb
    if above_mb > max_mb:
        return 'The nearest size is %d MiB.' % below_mb
    return 'The nearest sizes are %d and %d MiB.' % (below_mb, above_mb)


def misaligned_devices(
    guest: domain.GuestMemory,
) -> Iterator[errors.Refused]:
    """Find memory that was attached by hand without regard to blocks.

    The guest does not use it, though it is in the books
    (facts-qemu-libvirt.md, section 3).

    :param guest: what the guest has
    :returns: a reason for each such device
    """
    block_mb = guest.block_mb
    for dev in guest.devices:
        if dev.model != device.DIMM:
            continue
        base_mb, rest = divmod(dev.base or 0, units.BYTES_PER_MIB)
        if rest or base_mb % block_mb or dev.size_mb % block_mb:
            yield errors.Misaligned(
                size_mb=dev.size_mb, address=hex(dev.base or 0),
                block_mb=block_mb)
