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
"""

import re

from nova import objects
from oslo_utils import timeutils

from nova_memhotplug.core import errors

#: Name of the instance action, as users see it.
RESIZE_MEMORY = 'resizeMemory'
_EVENT = 'compute_resize_memory'


#: What Nova makes of a ResizeError with a packed sentence. It keeps the first
#: 255 characters, so the code comes first.
_PACKED = re.compile(r'[^\[]*\[(?P<code>\w+)\] (?P<sentence>.*)', re.DOTALL)
#: Seconds. The end of a resize is recorded a moment after its task state is
#: gone.
_GRACE = 60
_UNKNOWN = 'The memory could not be added.'


def pack(exc: errors.MemoryHotplugError) -> str:
    """Make the sentence of an error that ``last_resize`` can read back.

    :param exc: the error
    :returns: its sentence, with its code
    """
    return '[%s] %s' % (exc.code, exc)


def last_resize(context, instance) -> dict | None:
    """Describe the last resize of a server's memory.

    :param context: the request context
    :param instance: a ``nova.objects.Instance``
    :returns: ``request_id``, ``status`` (running, done, failed, or
        interrupted by a crash) and ``message`` (why it failed, or None);
        None if there was none
    """
    actions = objects.InstanceActionList.get_by_instance_uuid(
        context, instance.uuid)
    for action in actions:
        if action.action == RESIZE_MEMORY:
            return _describe(context, instance, action)
    return None


def _describe(context, instance, action):
    events = objects.InstanceActionEventList.get_by_action(
        context, action.id)
    event = next((one for one in events if one.event == _EVENT), None)
    status, message = 'running', None
    if (instance.task_state is None and
            timeutils.is_older_than(action.start_time, _GRACE)):
        status = 'interrupted'
    if event is not None and event.result == 'Success':
        status = 'done'
    elif event is not None and event.result:
        status, message = 'failed', _message(context, event.details)
    return {'request_id': action.request_id, 'status': status,
            'message': message}


def _message(context, details):
    """Say why a resize failed, to whoever asks."""
    match = _PACKED.fullmatch(details or '')
    if match is None:
        return details if context.is_admin else _UNKNOWN
    sentence = match['sentence']
    kind = errors.by_code(match['code'])
    if context.is_admin or kind is None:
        return sentence
    return kind.tenant_msg or sentence
