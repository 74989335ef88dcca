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

"""What the ``openstack server memory`` commands say to the compute API."""

import collections
import time

from osc_lib import exceptions

#: Events of an instance action, and what they say, are shown to the owner
#: of the server from this microversion on.
EVENTS_MICROVERSION = '2.84'

POLL_INTERVAL = 1

#: What the API answered to a resize, and the id to follow it by.
Accepted = collections.namedtuple('Accepted', 'memory request_id')


def _fault_message(response):
    """Find the sentence of a Nova fault body.

    :param response: a ``requests.Response`` of status 400 or above
    :returns: the sentence, or None when the body is no Nova fault
    """
    try:
        faults = response.json().values()
    except (AttributeError, ValueError):
        return None
    for fault in faults:
        if isinstance(fault, dict) and fault.get('message'):
            return fault['message']
    return None


def _json_or_error(response):
    """Return the body of a good answer.

    :param response: a ``requests.Response``
    :returns: the decoded body
    :raises: CommandError with the API's own sentence
    """
    if response.status_code < 400:
        return response.json()
    message = _fault_message(response)
    if message is None and response.status_code == 404:
        message = 'The compute API of this cloud has no memory hot-plug.'
    raise exceptions.CommandError('%s (HTTP %d)' % (
        message or response.reason, response.status_code))


class MemoryClient:
    """Memory of one server, over the compute proxy of openstacksdk."""

    def __init__(self, compute, server):
        """Find the server.

        :param compute: the SDK's compute proxy
        :param server: name or ID
        :raises: the SDK's NotFoundException or DuplicateResource
        """
        self._compute = compute
        self.server_id = compute.find_server(server, ignore_missing=False).id

    def _get(self, path, **kwargs):
        return _json_or_error(self._compute.get(
            '/servers/%s%s' % (self.server_id, path), **kwargs))

    def show(self, memory_mb=None):
        """Fetch the memory of the server.

        :param memory_mb: total in MiB to plan for, or None
        :returns: the ``memory`` object of the API
        """
        params = {} if memory_mb is None else {'memory_mb': memory_mb}
        return self._get('/os-memory', params=params)['memory']

    def resize(self, memory_mb):
        """Ask for a total.

        :param memory_mb: the wanted total in MiB
        :returns: an Accepted
        """
        response = self._compute.post(
            '/servers/%s/action' % self.server_id,
            json={'resizeMemory': {'memory_mb': memory_mb}})
        memory = _json_or_error(response)['memory']
        return Accepted(
            memory, response.headers.get('x-openstack-request-id'))

    def wait(self, request_id, timeout):
        """Wait until the resize of one request is over.

        :param request_id: of the request that was accepted
        :param timeout: seconds
        :returns: the ``memory`` object of the API
        :raises: CommandError when the resize failed or takes too long
        """
        deadline = time.monotonic() + timeout
        while not self._is_over(request_id):
            if time.monotonic() >= deadline:
                raise exceptions.CommandError(
                    'The resize is not over after %d seconds; it goes on. '
                    'See: openstack server event show %s %s' % (
                        timeout, self.server_id, request_id))
            time.sleep(POLL_INTERVAL)
        return self.show()

    def _is_over(self, request_id):
        action = self._get(
            '/os-instance-actions/%s' % request_id,
            microversion=EVENTS_MICROVERSION)['instanceAction']
        events = action.get('events') or []
        if action.get('message') or any(
                event.get('result') == 'Error' for event in events):
            raise exceptions.CommandError(self._failure(events))
        if not events or any(not e.get('finish_time') for e in events):
            return False
        server = self._get('')['server']
        return server.get('OS-EXT-STS:task_state') is None

    def _failure(self, events):
        """Word a failed resize, as exactly as this user may know it."""
        memory = self.show()
        last = memory.get('last_resize') or {}
        reasons = [event['details'] for event in events
                   if event.get('details')]
        if last.get('status') == 'failed' and last.get('message'):
            reasons.insert(0, last['message'])
        if not reasons:
            reasons = ['an administrator can see why in the details of the '
                       'event']
        return 'The resize failed: %s. The server has %s MiB.' % (
            reasons[0].rstrip('.'), memory['current_mb'])
