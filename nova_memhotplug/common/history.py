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

"""What became of the last resize, from Nova's own instance actions.

Nova shows the details of a failed event to administrators only, since they may
tell of the inside of the cloud. Our sentences carry the code of the error, so
that others can be told what concerns them.

Nova keeps no details of an event that was a success, and an event that is over
is not changed any more. So what the guest has made of a success is an event of
its own, and one more when more is known: the newest counts.
"""

from collections.abc import Sequence
import datetime
import re
import typing as ty

from nova.compute import instance_actions
from nova.compute import task_states
from nova import context as nova_context
from nova import exception
from nova import objects
from oslo_log import log as logging
from oslo_utils import timeutils

from nova_memhotplug.core import errors
from nova_memhotplug.core import outcome

LOG = logging.getLogger(__name__)

#: Name of the instance action, as users see it.
RESIZE_MEMORY = 'resizeMemory'
EVENT = 'compute_resize_memory'
#: What the guest has made of it.
OUTCOME = 'compute_use_memory'
#: All actions that put a server into the task state ``resize_prep``.
_PREPARING = (RESIZE_MEMORY, instance_actions.RESIZE,
              instance_actions.MIGRATE)

#: What Nova makes of a ResizeError with a packed sentence. It keeps the first
#: 255 characters, so the code comes first.
_PACKED = re.compile(r'[^\[]*\[(?P<code>\w+)\] (?P<sentence>.*)', re.DOTALL)
#: Seconds. The end of a resize is recorded a moment after its task state is
#: gone.
_GRACE = 60
#: Among how many of the newest actions of a server one is looked for: what a
#: server has been through does not make each look at it slower.
_RECENT = 50
_UNKNOWN = 'The memory could not be added.'


class Known(ty.NamedTuple):
    """The last resize of a server, as far as it is on record.

    :param request_id: the ID of the request
    :param status: ``running``, ``done``, ``failed``, or ``interrupted`` by a
        crash
    :param message: why it failed; None if it did not
    :param outcome: what the guest has made of it; None if that is not on
        record
    :param ended: when it ended; None before
    :param time: when the outcome was found out; None before
    """

    request_id: str
    status: str
    message: str | None
    outcome: outcome.Outcome | None
    ended: datetime.datetime | None
    time: datetime.datetime | None


def pack(exc: errors.MemoryHotplugError) -> str:
    """Make the sentence of an error that ``last_resize`` can read back.

    :param exc: the error
    :returns: its sentence, with its code
    """
    return '[%s] %s' % (exc.code, exc)


def record(
    instance_uuid: str, request_id: str, host: str, found: outcome.Outcome,
) -> None:
    """Record what a guest has made of a request.

    It does not fail: what a guest has does not depend on it.

    :param instance_uuid: UUID of the server
    :param request_id: the ID of the request
    :param host: the host that records it
    :param found: what became of the request
    """
    now = timeutils.utcnow(with_timezone=True)
    event = objects.InstanceActionEvent(
        _context_of(request_id), event=OUTCOME, host=host, start_time=now,
        finish_time=now, result='Success', details=str(found))
    try:
        event.create(instance_uuid, request_id)
    except Exception:
        LOG.warning('It is not recorded what the guest has made of request '
                    '%(request)s: %(outcome)s', {
                        'request': request_id, 'outcome': found},
                    instance_uuid=instance_uuid, exc_info=True)


def last_resize(context: ty.Any, instance: ty.Any) -> Known | None:
    """Describe the last resize of a server's memory.

    :param context: the request context
    :param instance: a ``nova.objects.Instance``
    :returns: that; None if there was none among the newest actions
    """
    action = _newest(context, instance, (RESIZE_MEMORY,))
    if action is None:
        return None
    return _describe(context, instance, action)


def lost_request(
    context: ty.Any, instance: ty.Any, timeout: int,
) -> str | None:
    """Find the request that a server waits for in vain.

    A host records an event as soon as it has a request. Nova's own resize
    and migration use the same task state, so theirs must not be the newest
    action. They record it after they have saved the state, so the state must
    be old, too.

    :param context: an admin's request context
    :param instance: a ``nova.objects.Instance``
    :param timeout: for how long a request may be on its way, in seconds
    :returns: the ID of the request; None if it waits for none, or for
        another, or not long enough
    """
    if (instance.task_state != task_states.RESIZE_PREP or
            not timeutils.is_older_than(instance.updated_at, timeout)):
        return None
    action = _newest(context, instance, _PREPARING)
    if action is None or not is_lost(
            action, _events(context, action), timeout):
        return None
    return action.request_id


def is_lost(
    action: ty.Any, events: Sequence[ty.Any], timeout: int,
) -> bool:
    """Tell whether a request has got lost on the way to its host.

    :param action: the ``nova.objects.InstanceAction`` for which a server is
        in the task state ``resize_prep``
    :param events: its events, as far as they are about memory
    :param timeout: for how long it may be on its way, in seconds
    """
    return (action.action == RESIZE_MEMORY and not events and
            timeutils.is_older_than(action.start_time, timeout))


def give_up(
    instance: ty.Any, request_id: str, host: str, timeout: int,
) -> None:
    """Record that a request has got lost, as its end.

    :param instance: a ``nova.objects.Instance``
    :param request_id: the ID of the request
    :param host: the host that records it
    :param timeout: for how long it was waited for, in seconds
    """
    context = _context_of(request_id)
    error = exception.ResizeError(
        reason=pack(errors.RequestLost(seconds=timeout)))
    objects.InstanceActionEvent.event_start(
        context, instance.uuid, EVENT, want_result=False, host=host)
    # Without a traceback Nova would take it for a success.
    objects.InstanceActionEvent.event_finish_with_failure(
        context, instance.uuid, EVENT, exc_val=error, exc_tb='',
        want_result=False)


def is_resize_of_memory(context: ty.Any, instance: ty.Any) -> bool:
    """Tell for what a server is in the task state ``resize_prep``.

    :param context: the request context
    :param instance: a ``nova.objects.Instance`` in that state
    :returns: whether for its memory, and not for a resize or migration of
        Nova's own
    """
    action = _newest(context, instance, _PREPARING)
    return bool(action and action.action == RESIZE_MEMORY)


def is_over(context: ty.Any, instance: ty.Any) -> bool:
    """Tell whether the request at hand has an end on record already.

    :param context: the context of a request to resize a server's memory
    :param instance: a ``nova.objects.Instance``
    """
    action = objects.InstanceAction.get_by_request_id(
        context, instance.uuid, context.request_id)
    return action is not None and any(
        event.result for event in _events(context, action))


def _context_of(request_id: str) -> ty.Any:
    """Make a context in which Nova finds the action of a request."""
    context = nova_context.get_admin_context()
    context.request_id = request_id
    return context


def _newest(
    context: ty.Any, instance: ty.Any, names: Sequence[str],
) -> ty.Any:
    """Find the newest action of a server with one of these names."""
    actions = objects.InstanceActionList.get_by_instance_uuid(
        context, instance.uuid, limit=_RECENT)
    return next((one for one in actions if one.action in names), None)


def _events(context: ty.Any, action: ty.Any) -> list[ty.Any]:
    """List the ends of an action that is about memory, newest first."""
    return [event for event in objects.InstanceActionEventList.get_by_action(
        context, action.id) if event.event == EVENT]


def _describe(context: ty.Any, instance: ty.Any, action: ty.Any) -> Known:
    events = objects.InstanceActionEventList.get_by_action(context, action.id)
    # The newest one that has a result, if any.
    end, used = (
        next((one for one in events if one.event == name and one.result),
             None) for name in (EVENT, OUTCOME))
    status, message = 'running', None
    if (instance.task_state is None and
            timeutils.is_older_than(action.start_time, _GRACE)):
        status = 'interrupted'
    if end is not None and end.result == 'Success':
        status = 'done'
    elif end is not None:
        status, message = 'failed', _message(context, end.details)
    return Known(
        action.request_id, status, message,
        _outcome(used and used.details, status), end and end.finish_time,
        used and used.finish_time)


def _outcome(details: str | None, status: str) -> outcome.Outcome | None:
    """Read an outcome; it is recorded before a request ends, or after."""
    found = outcome.parse(details)
    is_refusal = found is not None and found.verdict == outcome.REFUSED
    return found if status == 'done' or (
        is_refusal and status == 'failed') else None


def _message(context: ty.Any, details: str | None) -> str | None:
    """Say why a resize failed, to whoever asks."""
    match = _PACKED.fullmatch(details or '')
    if match is None:
        return details if context.is_admin else _UNKNOWN
    sentence = match['sentence']
    kind = errors.by_code(match['code'])
    if context.is_admin or kind is None:
        return sentence
    return kind.tenant_msg or sentence
