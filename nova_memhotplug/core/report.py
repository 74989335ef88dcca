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

"""What the API says about a server's memory, as plain data."""

from collections.abc import Iterable
import dataclasses
import typing as ty

from nova_memhotplug.core import blocklist
from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import planner
from nova_memhotplug.core import spec as spec_mod
from nova_memhotplug.core import strategy as strategies

Document = dict[str, ty.Any]


@dataclasses.dataclass(frozen=True)
class Observation:
    """What is known of a running server.

    :param guest: what its live domain has
    :param spec: what its flavor says; None without a ceiling
    :param books_mb: RAM in Nova's books (the flavor), in MiB
    :param step_mb: in what steps a node of it can take memory, in MiB; 0 if
        it cannot
    :param strategy: how its reserved cell was made, see ``strategy_of``
    :param blocks: what the guest itself says; None if it does not answer
    :param excluded: what it has that does not go together with growth
    """

    guest: domain.GuestMemory
    spec: spec_mod.MemorySpec | None
    books_mb: int
    step_mb: int
    strategy: str | None
    blocks: blocklist.BlockList | None = None
    excluded: errors.ExcludedComposition | None = None


def running(seen: Observation, grow: planner.Grow) -> Document:
    """Describe a running server.

    :param seen: what is known of it
    :param grow: the memory model's way of adding memory
    :returns: the document; sizes in MiB
    """
    guest = seen.guest
    step_mb = planner.total_step_mb(guest, seen.step_mb)
    next_plan = plan(seen, guest.present_mb + (step_mb or 1), grow)
    return {
        'boot_mb': guest.boot_mb,
        'current_mb': guest.present_mb,
        'requested_mb': seen.books_mb,
        'max_mb': guest.max_mb or guest.present_mb,
        'step_mb': step_mb or None,
        'slots': _slots(guest.slots, guest.used_slots),
        'devices': [_plugged(dev) for dev in guest.devices],
        'zero_node': guest.reserved_cell and guest.reserved_cell.id,
        'strategy': seen.strategy,
        'guest': _guest(seen),
        'can_grow': next_plan['possible'],
        'reasons': next_plan['reasons'],
    }


def stopped(spec: spec_mod.MemorySpec | None, books_mb: int) -> Document:
    """Describe a server that does not run: it boots with its whole total.

    :param spec: what its flavor says; None without a ceiling
    :param books_mb: RAM in Nova's books, in MiB
    :returns: the document; sizes in MiB
    """
    can_grow = spec is not None and spec.max_memory_mb > books_mb
    return {
        'boot_mb': books_mb,
        'current_mb': books_mb,
        'requested_mb': books_mb,
        'max_mb': spec.max_memory_mb if spec else books_mb,
        'step_mb': None,
        'slots': _slots(spec.slots if spec and can_grow else 0, 0),
        'devices': [],
        'zero_node': None,
        'strategy': None,
        'guest': None,
        'can_grow': False,
        'reasons': [] if spec else [reason(errors.NotElastic())],
    }


def unaware(spec: spec_mod.MemorySpec | None, books_mb: int) -> Document:
    """Describe a server whose host runs without this extension.

    Nobody says what its guest has, so it is described by what it would boot
    with on another host.

    :param spec: what its flavor says; None without a ceiling
    :param books_mb: RAM in Nova's books, in MiB
    :returns: the document; sizes in MiB
    """
    document = stopped(spec, books_mb)
    document['reasons'].insert(0, reason(errors.HostUnaware()))
    return document


def plan(
    seen: Observation, wanted_mb: int, grow: planner.Grow,
) -> Document:
    """Describe the way to a wanted total, or every reason against it.

    :param seen: what is known of the server
    :param wanted_mb: RAM it is to have, in MiB
    :param grow: the memory model's way of adding memory
    :returns: the document; sizes in MiB
    """
    against: list[errors.MemoryHotplugError] = list(planner.refusals(
        seen.guest, seen.spec, wanted_mb, seen.step_mb))
    if seen.excluded and wanted_mb != seen.guest.present_mb:
        against.insert(0, seen.excluded)
    changes: tuple[planner.Change, ...] = ()
    if not against:
        try:
            changes = planner.plan(
                seen.guest, seen.spec, wanted_mb, seen.step_mb, grow).changes
        except errors.Refused as refusal:
            against.append(refusal)
    return {
        'memory_mb': wanted_mb,
        'possible': not against,
        'devices': [_planned(change.device) for change in changes],
        'reasons': reasons(against),
    }


def reasons(refusals: Iterable[errors.MemoryHotplugError]) -> list[Document]:
    """Describe refusals: a slug for programs, a sentence for people."""
    return [reason(refusal) for refusal in refusals]


def reason(
    refusal: errors.MemoryHotplugError, for_tenant: bool = False,
) -> Document:
    """Describe one refusal.

    :param refusal: the refusal
    :param for_tenant: whether it is told to somebody who does not run the
        cloud
    :returns: the document
    """
    tenant_msg = refusal.tenant_msg if for_tenant else None
    return {'code': refusal.code, 'message': tenant_msg or str(refusal)}


def strategy_of(
    guest: domain.GuestMemory, spec: spec_mod.MemorySpec | None,
    shim_directory: str,
) -> str | None:
    """Tell with which zero-cell strategy a guest was started.

    :param guest: what its domain has
    :param spec: what its flavor says; None without a ceiling
    :param shim_directory: where the host has the emulator shim
    :returns: the strategy; None for a guest without room for growth
    """
    if spec is None:
        return None
    if guest.reserved_cell is None:
        return strategies.EXISTING if guest.max_kib else None
    if guest.reserved_cell.memory_kib:
        return strategies.TINY
    if guest.emulator.startswith(shim_directory.rstrip('/') + '/'):
        return strategies.SHIM
    return strategies.NATIVE


def _slots(total: int, used: int) -> Document:
    return {'total': total, 'used': used, 'free': max(0, total - used)}


def _planned(dev: device.MemoryDevice) -> Document:
    return {'model': dev.model, 'node': dev.node, 'size_mb': dev.size_mb}


def _plugged(dev: device.MemoryDevice) -> Document:
    return _planned(dev) | {
        'alias': dev.alias, 'slot': dev.slot,
        'address': None if dev.base is None else hex(dev.base)}


def _guest(seen: Observation) -> Document:
    if seen.blocks is None:
        return {'agent': False, 'online_mb': None, 'confirmed': None}
    devices = [dev for dev in seen.guest.devices if dev.is_ram]
    return {'agent': True, 'online_mb': seen.blocks.online_mb,
            'confirmed': seen.blocks.has_online(devices)}
