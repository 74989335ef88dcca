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

"""What users read, field by field.

Nothing that a host has sent passes through here as it is, so a host of
another version does not change what the API says.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import typing as ty

from nova.api.openstack import common

from nova_memhotplug.api import planning
from nova_memhotplug.common import history
from nova_memhotplug.common import specs
from nova_memhotplug.core import device
from nova_memhotplug.core import errors
from nova_memhotplug.core import observations
from nova_memhotplug.core import outcome
from nova_memhotplug.core import planner

Document = dict[str, ty.Any]


def show(
    report: planning.Report, last_resize: history.Known | None,
    is_admin: bool,
) -> Document:
    """Describe the memory of a server, and the plan for a total.

    :param report: what can be said of it
    :param last_resize: how the last resize has ended (``common.history``)
    :param is_admin: whether it is told to somebody who runs the cloud
    :returns: the body of the answer; sizes in MiB
    """
    memory = _running(report) if report.known.seen else _stopped(report)
    memory |= _usable(report.known.seen, last_resize)
    memory |= {
        'can_grow': not report.against_growth and bool(report.known.seen),
        'reasons': _reasons(report.against_growth, is_admin),
        'source': report.known.source,
        'last_resize': last_resize and _last_resize(last_resize),
    }
    if report.outlook is not None:
        memory['plan'] = _plan(report.outlook, is_admin)
    return {'memory': memory}


def resized(
    report: planning.Report, outlook: planner.Outlook, is_changed: bool,
) -> Document:
    """Say what a resize has started, or that nothing had to be done.

    :param report: what can be said of the server
    :param outlook: what has been started
    :param is_changed: whether anything has
    :returns: the body of the answer; sizes in MiB
    """
    seen = report.known.seen
    current_mb = seen.guest.present_mb if seen else report.books_mb
    return {'memory': {
        'memory_mb': outlook.wanted_mb,
        'current_mb': current_mb,
        'changed': is_changed,
        **_changes(outlook),
        'message': _message(outlook, current_mb, is_changed),
    }}


def _last_resize(known: history.Known) -> Document:
    found = known.outcome
    return {
        'request_id': known.request_id,
        'status': known.status,
        'message': known.message,
        'outcome': found and {
            'verdict': found.verdict,
            'mb': found.mb,
            'of_mb': found.of_mb,
            'evidence': found.evidence,
            'time': known.time and known.time.isoformat(),
            'final': not found.is_open},
    }


def _usable(
    seen: observations.Observation | None, last_resize: history.Known | None,
) -> Document:
    """Say how much of its memory the guest uses, and who says so.

    What the balloon has told before the end of the last resize is of the
    time before.
    """
    usable_mb, evidence = None, outcome.NONE
    told_at = seen.told_at if seen else 0
    if seen and not seen.guest.plugged_mb:
        usable_mb, evidence = seen.guest.present_mb, outcome.DEVICE
    elif seen and seen.answer is not None:
        usable_mb, evidence = seen.used_mb, outcome.AGENT
    elif seen and seen.offline_mb is not None and not (
            last_resize and last_resize.ended and
            last_resize.ended.timestamp() >= told_at):
        usable_mb = seen.guest.present_mb - seen.offline_mb
        evidence = outcome.BALLOON
    return {'usable_mb': usable_mb, 'usable_evidence': evidence}


class ProjectView(common.ViewBuilder):
    """The servers of a project, with links as Nova has them."""

    def index(
        self, req: ty.Any, servers: Sequence[tuple[ty.Any, planning.Report]],
    ) -> Document:
        """Describe a page of servers.

        :param req: the ``wsgi.Request``
        :param servers: each ``nova.objects.Instance``, and what can be said
            of it
        :returns: the body of the answer; sizes in MiB
        """
        listed = [{'id': instance.uuid, 'name': instance.display_name,
                   'memory': _summary(report)}
                  for instance, report in servers]
        links = self._get_collection_links(
            req, listed, 'os-server-memory', 'id')
        return {'servers': listed} | (
            {'servers_links': links} if links else {})


def _summary(report: planning.Report) -> Document:
    memory = _running(report) if report.known.seen else _stopped(report)
    return {key: memory[key] for key in (
        'boot_mb', 'current_mb', 'max_mb', 'slots')} | {
            'source': report.known.source}


def _running(report: planning.Report) -> Document:
    seen = ty.cast(observations.Observation, report.known.seen)
    guest = seen.guest
    return {
        'boot_mb': guest.boot_mb,
        'current_mb': guest.present_mb,
        'requested_mb': (
            report.books_mb + guest.asked_mb - guest.present_mb),
        'min_mb': (specs.model_of(report.spec).floor_mb(guest)
                   if report.known.source == planning.HOST else None),
        'max_mb': planner.ceiling_mb(guest, report.spec),
        'step_mb': planner.total_step_mb(guest, seen.step_mb) or None,
        'slots': _slots(guest.slots, guest.used_slots),
        'devices': [_plugged(dev) for dev in guest.devices],
        'zero_node': guest.reserved_cell and guest.reserved_cell.id,
        'strategy': seen.strategy,
        'bounce_buffer_mb': guest.bounce_buffer_mb,
        'guest': (_guest(seen) if report.known.source == planning.HOST
                  else None),
    }


def _stopped(report: planning.Report) -> Document:
    """Describe a server by what it would start with.

    That is its whole total, as boot memory unless its memory model starts it
    with what it has first booted with.
    """
    spec, books_mb = report.spec, report.books_mb
    boot_mb = spec and spec.boot_memory_mb or books_mb
    has_room = spec is not None and spec.max_memory_mb > books_mb
    return {
        'boot_mb': boot_mb,
        'current_mb': books_mb,
        'requested_mb': books_mb,
        'min_mb': boot_mb,
        'max_mb': spec.max_memory_mb if spec else books_mb,
        'step_mb': None,
        'slots': _slots(spec.slots if spec and has_room else 0, 0),
        'devices': [],
        'zero_node': None,
        'strategy': None,
        'bounce_buffer_mb': None,
        'guest': None,
    }


def _plan(outlook: planner.Outlook, is_admin: bool) -> Document:
    return {
        'memory_mb': outlook.wanted_mb,
        'possible': not outlook.against,
        **_changes(outlook),
        'reasons': _reasons(outlook.against, is_admin),
    }


def _reasons(
    refusals: Iterable[errors.MemoryHotplugError], is_admin: bool,
) -> list[Document]:
    """Describe refusals: a slug for programs, a sentence for people."""
    return [{'code': refusal.code, 'message': refusal.sentence(is_admin)}
            for refusal in refusals]


def _slots(total: int, used: int) -> Document:
    return {'total': total, 'used': used, 'free': max(0, total - used)}


def _changes(outlook: planner.Outlook) -> Document:
    """Describe what each device gives the guest, or takes from it."""
    return {key: [_device(change.device, abs(change.delta_mb))
                  for change in changes]
            for key, changes in (
                ('devices', outlook.added), ('removed', outlook.removed))}


def _device(dev: device.MemoryDevice, size_mb: int) -> Document:
    return {'model': dev.model, 'node': dev.node, 'size_mb': size_mb}


def _plugged(dev: device.MemoryDevice) -> Document:
    """Describe a device; what it holds and what the guest has of it are
    the same for one that comes and goes whole.
    """
    return _device(dev, dev.size_mb) | {
        'alias': dev.alias, 'slot': dev.slot,
        'address': None if dev.base is None else hex(dev.base),
        'capacity_mb': dev.extent_mb, 'requested_mb': dev.asked_mb,
        'taken_mb': dev.taken_mb}


def _guest(seen: observations.Observation) -> Document:
    """Describe what the guest says; null for what it was not asked."""
    answer = seen.answer
    if answer is None:
        return {'agent': False if seen.is_silent else None,
                'online_mb': None, 'confirmed': None}
    return {'agent': True, 'online_mb': answer.online_mb,
            'confirmed': answer.has_all}


def _message(
    outlook: planner.Outlook, current_mb: int, is_changed: bool,
) -> str:
    added_mb = sum(change.delta_mb for change in outlook.added)
    if added_mb:
        return 'Memory is being added: %d MiB.' % added_mb
    if outlook.wanted_mb < current_mb:
        return ('The guest is being asked to give back %d MiB.'
                % (current_mb - outlook.wanted_mb))
    if is_changed:
        return ('The server has %d MiB already; its flavor is being brought '
                'to that.' % current_mb)
    return ('The server has %d MiB already; nothing was changed.'
            % current_mb)
