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
import typing as ty

from nova_memhotplug.core import device
from nova_memhotplug.core import errors
from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import observations
from nova_memhotplug.core import planner

Document = dict[str, ty.Any]


def running(
    seen: observations.Observation, spec: memory_spec.MemorySpec | None,
    books_mb: int, grow: planner.Grow,
) -> Document:
    """Describe a running server.

    :param seen: what is known of it
    :param spec: what its flavor says; None without a ceiling
    :param books_mb: RAM in Nova's books (the flavor), in MiB
    :param grow: the memory model's way of adding memory
    :returns: the document; sizes in MiB
    """
    guest = seen.guest
    step_mb = planner.total_step_mb(guest, seen.step_mb)
    next_plan = plan(
        seen, spec, guest.present_mb + (step_mb or 1), grow)
    return {
        'boot_mb': guest.boot_mb,
        'current_mb': guest.present_mb,
        'requested_mb': books_mb,
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


def stopped(spec: memory_spec.MemorySpec | None, books_mb: int) -> Document:
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


def unaware(spec: memory_spec.MemorySpec | None, books_mb: int) -> Document:
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
    seen: observations.Observation, spec: memory_spec.MemorySpec | None,
    wanted_mb: int, grow: planner.Grow,
) -> Document:
    """Describe the way to a wanted total, or every reason against it.

    :param seen: what is known of the server
    :param spec: what its flavor says; None without a ceiling
    :param wanted_mb: RAM it is to have, in MiB
    :param grow: the memory model's way of adding memory
    :returns: the document; sizes in MiB
    """
    against: list[errors.MemoryHotplugError] = list(planner.refusals(
        seen.guest, spec, wanted_mb, seen.step_mb))
    if seen.excluded and wanted_mb != seen.guest.present_mb:
        against.insert(0, seen.excluded)
    changes: tuple[planner.Change, ...] = ()
    if not against:
        try:
            changes = planner.plan(
                seen.guest, spec, wanted_mb, seen.step_mb, grow).changes
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


def _slots(total: int, used: int) -> Document:
    return {'total': total, 'used': used, 'free': max(0, total - used)}


def _planned(dev: device.MemoryDevice) -> Document:
    return {'model': dev.model, 'node': dev.node, 'size_mb': dev.size_mb}


def _plugged(dev: device.MemoryDevice) -> Document:
    return _planned(dev) | {
        'alias': dev.alias, 'slot': dev.slot,
        'address': None if dev.base is None else hex(dev.base)}


def _guest(seen: observations.Observation) -> Document:
    if seen.answer is None:
        return {'agent': False, 'online_mb': None, 'confirmed': None}
    return {'agent': True, 'online_mb': seen.answer.online_mb,
            'confirmed': seen.answer.has_all}
