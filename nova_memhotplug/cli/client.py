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

POLL_INTERVAL = 1
#: How often to look for the record of how a resize ended. It is written a
#: moment after the task is over, and never if the host's service has crashed.
RECORD_POLLS = 5

#: What the API answered to a resize, and the id to find its outcome by.
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
        return self._resize({'memory_mb': memory_mb})

    def resize_to_flavor(self, flavor):
        """Ask for the memory of a flavor, and the flavor.

        :param flavor: name or ID
        :returns: an Accepted
        :raises: the SDK's NotFoundException or DuplicateResource
        """
        found = self._compute.find_flavor(flavor, ignore_missing=False)
        return self._resize({'flavorRef': found.id})

    def _resize(self, wanted):
        response = self._compute.post(
            '/servers/%s/action' % self.server_id,
            json={'resizeMemory': wanted})
        memory = _json_or_error(response)['memory']
        return Accepted(
            memory, response.headers.get('x-openstack-request-id'))

    def wait(self, accepted, timeout):
        """Wait until a resize is over.

        :param accepted: what ``resize`` returned
        :param timeout: seconds
        :returns: the ``memory`` object of the API
        :raises: CommandError when the resize failed or takes too long
        """
        deadline = time.monotonic() + timeout
        while self._task_state() is not None:
            if time.monotonic() >= deadline:
                raise exceptions.CommandError(
                    'The resize is not over after %d seconds; it goes on. '
                    'See: openstack server event show %s %s' % (
                        timeout, self.server_id, accepted.request_id))
            time.sleep(POLL_INTERVAL)
        memory = self._recorded(accepted.request_id)
        _check_outcome(memory, accepted)
        return memory

    def _task_state(self):
        return self._get('')['server'].get('OS-EXT-STS:task_state')

    def _recorded(self, request_id):
        """Show the memory, with the outcome of a request if it is known."""
        for _ in range(RECORD_POLLS):
            memory = self.show()
            if _outcome(memory, request_id).get('status') != 'running':
                break
            time.sleep(POLL_INTERVAL)
        return memory


def _outcome(memory, request_id):
    """Find what became of a request.

    :returns: ``last_resize`` of the API; empty if that is another request
    """
    last = memory.get('last_resize') or {}
    return last if last.get('request_id') == request_id else {}


def _check_outcome(memory, accepted):
    """Check that a server got what was accepted.

    :raises: CommandError with the sentence of the API if it did not
    """
    outcome = _outcome(memory, accepted.request_id)
    if (outcome.get('status') != 'failed' and
            memory['current_mb'] >= accepted.memory['memory_mb']):
        return
    reason = outcome.get('message') or 'it is not on record why'
    raise exceptions.CommandError(
        'The resize failed: %s. The server has %s MiB.' % (
            reason.rstrip('.'), memory['current_mb']))
