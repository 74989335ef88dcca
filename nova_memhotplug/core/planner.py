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

"""From what a guest has and a wanted total to what has to be done.

What holds for any memory model is here: ceiling, totals, steps. The rest are
the rules of the model (``nova_memhotplug.models``).
"""

from collections.abc import Iterator
import dataclasses
import itertools
import typing as ty

from lxml import etree

from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import limits
from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import observations
from nova_memhotplug.core import units

#: What is done with a memory device of a guest.
ATTACH, UPDATE, DETACH = 'attach', 'update', 'detach'


@dataclasses.dataclass(frozen=True)
class Change:
    """One thing to do with a memory device of a guest.

    :param device: the device, as it is to be; as it was if it is to go
    :param delta_mb: what the guest gets by it, in MiB; negative where it
        gives back
    :param action: ``ATTACH``, ``UPDATE`` or ``DETACH``
    :param xml: the device for libvirt; empty where its alias will do
    :param undo: what undoes it; None where only the guest could
    """

    device: device.MemoryDevice
    delta_mb: int
    action: str = ATTACH
    xml: str = ''
    undo: 'Change | None' = None


def attach(new: device.MemoryDevice) -> Change:
    """Plan to attach a device.

    :param new: the device, with an alias of its own
    """
    return Change(
        new, new.size_mb, ATTACH,
        etree.tostring(device.build(new), encoding='unicode'),
        undo=Change(new, -new.size_mb, DETACH))


#: What to do, in order: each round when the one before is done.
Rounds = tuple[tuple[Change, ...], ...]


@dataclasses.dataclass(frozen=True)
class Target:
    """What a guest is to be brought to.

    :param total_mb: RAM it is to have, in MiB
    :param step_mb: in what steps a node can take memory, in MiB; 0 if it
        cannot
    :param max_mb: what it may have at the most, in MiB
    :param used_mb: RAM that it is known to use, in MiB; None if nobody can
        tell
    """

    total_mb: int
    step_mb: int
    max_mb: int
    used_mb: int | None = None


class Rules(ty.Protocol):
    """The rules of a memory model: see ``models.base.MemoryModel``."""

    def base_mb(self, guest: domain.GuestMemory) -> int:
        """Say from which total on memory is added in steps."""

    def refusals(
        self, guest: domain.GuestMemory, target: Target,
    ) -> Iterator[errors.Refused]:
        """Say what is against a total."""

    def plan(self, guest: domain.GuestMemory, target: Target) -> Rounds:
        """Plan the way to a total."""


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


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to bring a guest to a wanted total.

    :param present_mb: RAM the books count of the guest, in MiB
    :param wanted_mb: RAM it is to have, in MiB
    :param rounds: what to do; empty where it has that much
    :param own_cells_mb: RAM that each own cell of the guest is to have, in
        MiB
    """

    present_mb: int
    wanted_mb: int
    rounds: Rounds
    own_cells_mb: tuple[int, ...]

    @property
    def changes(self) -> tuple[Change, ...]:
        """All that there is to do."""
        return tuple(itertools.chain.from_iterable(self.rounds))


@dataclasses.dataclass(frozen=True)
class Outlook:
    """The way to a wanted total, or every reason against it.

    :param wanted_mb: RAM the server is to have, in MiB
    :param changes: what would be done; empty where something is against it
    :param against: every reason against it, the most basic one first
    """

    wanted_mb: int
    changes: tuple[Change, ...] = ()
    against: tuple[errors.MemoryHotplugError, ...] = ()

    @property
    def added(self) -> tuple[Change, ...]:
        """What gives the guest more."""
        return tuple(one for one in self.changes if one.delta_mb >= 0)

    @property
    def removed(self) -> tuple[Change, ...]:
        """What takes from the guest."""
        return tuple(one for one in self.changes if one.delta_mb < 0)


def outlook(
    seen: observations.Observation,
    spec: memory_spec.MemorySpec | None,
    wanted_mb: int,
    model: Rules,
) -> Outlook:
    """Look for the way to a wanted total.

    :param seen: what is known of the server
    :param spec: what its flavor says; None without a ceiling
    :param wanted_mb: RAM it is to have, in MiB
    :param model: the rules of its memory model
    :returns: the way, or every reason against it
    """
    against: list[errors.MemoryHotplugError] = list(refusals(
        seen.guest, spec, wanted_mb, seen.step_mb, model))
    if seen.excluded and not _is_at(seen.guest, wanted_mb):
        against.insert(0, seen.excluded)
    if against:
        return Outlook(wanted_mb, against=tuple(against))
    try:
        return Outlook(wanted_mb, plan(
            seen.guest, spec, wanted_mb, seen.step_mb, model,
            seen.used_mb).changes)
    except errors.Refused as refusal:
        return Outlook(wanted_mb, against=(refusal,))


def next_step(
    seen: observations.Observation,
    spec: memory_spec.MemorySpec | None,
    model: Rules,
) -> Outlook:
    """Look for the way to the next larger total.

    :param seen: what is known of the server
    :param spec: what its flavor says; None without a ceiling
    :param model: the rules of its memory model
    :returns: the way, or every reason against it; none of them names a total
        that nobody has asked for
    """
    present_mb, base_mb = seen.guest.present_mb, model.base_mb(seen.guest)
    step_mb = total_step_mb(seen.guest, seen.step_mb) or 1
    found = outlook(seen, spec, base_mb + step_mb + units.round_down(
        present_mb - base_mb, step_mb), model)
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
    model: Rules,
    used_mb: int | None = None,
) -> Plan:
    """Plan the way to a wanted total.

    :param guest: what the guest has
    :param spec: what its flavor says; None without a ceiling
    :param wanted_mb: RAM it is to have, in MiB; a total, not an increment
    :param step_mb: in what steps a node can take memory, in MiB
    :param model: the rules of its memory model
    :param used_mb: RAM that the guest uses, in MiB; None if nobody can tell
    :returns: the plan; without changes if the guest has what is wanted
    :raises Refused: the first reason why it cannot be
    """
    for refusal in refusals(guest, spec, wanted_mb, step_mb, model):
        raise refusal
    rounds: Rounds = ()
    if not _is_at(guest, wanted_mb):
        rounds = model.plan(guest, Target(
            wanted_mb, step_mb, ceiling_mb(guest, spec), used_mb))
    found = Plan(guest.present_mb, wanted_mb, rounds,
                 _own_cells_mb(guest, rounds))
    limits.check_devices(guest.most_devices, len(guest.devices), (
        change.action == ATTACH for change in found.changes))
    return found


def _is_at(guest: domain.GuestMemory, wanted_mb: int) -> bool:
    """Tell whether a guest has a total, and is asked to keep it."""
    return wanted_mb == guest.present_mb == guest.asked_mb


def _own_cells_mb(
    guest: domain.GuestMemory, rounds: Rounds,
) -> tuple[int, ...]:
    """Say what each own cell is to have, in MiB."""
    devices = {dev.alias or str(place): dev
               for place, dev in enumerate(guest.devices)}
    for change in itertools.chain(*rounds):
        name = change.device.alias or ''
        devices[name] = change.device
        if change.action == DETACH:
            del devices[name]
    return dataclasses.replace(
        guest, devices=tuple(devices.values())).own_cells_mb


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
    model: Rules,
) -> Iterator[errors.Refused]:
    """Say every reason against a wanted total.

    :param guest: what the guest has
    :param spec: what its flavor says; None without a ceiling
    :param wanted_mb: RAM it is to have, in MiB
    :param step_mb: in what steps a node can take memory, in MiB; 0 if it
        cannot
    :param model: the rules of its memory model
    :returns: the reasons, the most basic one first
    """
    if spec is None:
        yield errors.NotElastic()
        return
    if _is_at(guest, wanted_mb):
        return
    if wanted_mb > guest.present_mb:
        if not step_mb:
            yield errors.NoHotplug(arch=guest.arch)
            return
        yield from _room(guest, spec, wanted_mb, step_mb, model)
    yield from model.refusals(guest, Target(
        wanted_mb, step_mb, ceiling_mb(guest, spec)))


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
    step_mb: int, model: Rules,
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
                    reach=_reach(guest, max_mb, step_mb, model))
    if guest.target_node is None:
        yield errors.NoTargetCell()
    if guest.misplaced_node is not None:
        yield errors.EmptyNode(node=guest.misplaced_node)


def _reach(
    guest: domain.GuestMemory, max_mb: int, step_mb: int, model: Rules,
) -> str:
    """Name the largest total below a ceiling that is no whole step."""
    total_mb = total_step_mb(guest, step_mb)
    rest_mb = (max_mb - model.base_mb(guest)) % total_mb
    if not rest_mb or max_mb < guest.present_mb:
        return ''
    return ' In steps of %d MiB it can have %d MiB.' % (
        total_mb, max_mb - rest_mb)


def unaligned(
    guest: domain.GuestMemory, target: Target, base_mb: int,
    kind: type[errors.Unaligned] = errors.Unaligned,
) -> Iterator[errors.Refused]:
    """Find out whether a total is in whole steps.

    :param guest: what the guest has
    :param target: the total
    :param base_mb: from which total on memory is added in steps, in MiB
    :param kind: what it is refused as
    :returns: the refusal, if it is not
    """
    total_mb = total_step_mb(guest, target.step_mb)
    if not units.is_multiple(target.total_mb - base_mb, total_mb):
        yield kind(
            wanted_mb=target.total_mb, step_mb=total_mb, present_mb=base_mb,
            nearest=_nearest(target, base_mb, total_mb))


def _nearest(target: Target, base_mb: int, total_mb: int) -> str:
    """Name the sizes nearest to an unaligned one, none above the ceiling."""
    below_mb = base_mb + units.round_down(
        min(target.total_mb, target.max_mb) - base_mb, total_mb)
    above_mb = below_mb + total_mb
    if above_mb > target.max_mb:
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
