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

Nova shows the details of a failed event to administrators only. The sentences
of this package are written for the people who asked, so they are shown to
whoever may look at the server's memory.
"""

from nova import objects

#: Name of the instance action, as users see it.
RESIZE_MEMORY = 'resizeMemory'
_EVENT = 'compute_resize_memory'


def last_resize(context, instance) -> dict | None:
    """Describe the last resize of a server's memory.

    :param context: the request context
    :param instance: a ``nova.objects.Instance``
    :returns: ``request_id``, ``status`` (running, done or failed) and
        ``message`` (why it failed, or None); None if there was none
    """
    actions = objects.InstanceActionList.get_by_instance_uuid(
        context, instance.uuid)
    for action in actions:
        if action.action == RESIZE_MEMORY:
            return _describe(context, action)
    return None


def _describe(context, action):
    events = objects.InstanceActionEventList.get_by_action(
        context, action.id)
    event = next((one for one in events if one.event == _EVENT), None)
    status, message = 'running', None
    if event is not None and event.result == 'Success':
        status = 'done'
    elif event is not None and event.result:
        status, message = 'failed', event.details
    return {'request_id': action.request_id, 'status': status,
            'message': message}
