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

from collections.abc import Callable
from collections.abc import Iterator
import time
import typing as ty

from osc_lib import exceptions

Document = dict[str, ty.Any]
#: Tells somebody how far a resize is.
Tell = Callable[[Document], None]

#: Seconds between two looks at a server. Most resizes take less than one;
#: who waits for longer asks less and less often.
FIRST_INTERVAL = 0.5
LONGEST_INTERVAL = 5.0
#: How often to look for the record of how a resize ended. It is written a
#: moment after the task is over, and never if the host's service has crashed.
RECORD_POLLS = 5


class Accepted(ty.NamedTuple):
    """What the API answered to a resize.

    :param memory: the ``memory`` object of the answer
    :param request_id: the ID to find its outcome by
    """

    memory: Document
    request_id: str | None


def _intervals() -> Iterator[float]:
    """Say how long to wait before each next look, in seconds."""
    seconds = FIRST_INTERVAL
    while True:
        yield seconds
        seconds = min(seconds * 1.5, LONGEST_INTERVAL)


def _fault(response: ty.Any) -> Document:
    """Find the fault in a body of Nova.

    :param response: a ``requests.Response`` of status 400 or above
    :returns: the fault; empty when the body is none of Nova
    """
    try:
        faults = response.json().values()
    except (AttributeError, ValueError):
        return {}
    for fault in faults:
        if isinstance(fault, dict) and fault.get('message'):
            return fault
    return {}


def _json_or_error(response: ty.Any) -> Document:
    """Return the body of a good answer.

    :param response: a ``requests.Response``
    :returns: the decoded body
    :raises: CommandError with the API's own sentence and code
    """
    if response.status_code < 400:
        return ty.cast(Document, response.json())
    fault = _fault(response)
    message = fault.get('message')
    if message is None and response.status_code == 404:
        message = 'The compute API of this cloud has no memory hot-plug.'
    status = 'HTTP %d' % response.status_code
    if fault.get('reason'):
        status += ', %s' % fault['reason']
    raise exceptions.CommandError(
        '%s (%s)' % (message or response.reason, status))


def list_servers(
    compute: ty.Any, limit: int | None = None, marker: str | None = None,
) -> Iterator[Document]:
    """Fetch the memory of all servers of the project.

    :param compute: the SDK's compute proxy
    :param limit: how many servers at the most; None for all
    :param marker: ID of the server behind which to begin; None for the first
    :returns: the ``servers`` of the API, page by page
    :raises: CommandError
    """
    while limit is None or limit > 0:
        params = {'limit': limit, 'marker': marker}
        page = _json_or_error(compute.get('/os-server-memory', params={
            key: value for key, value in params.items()
            if value is not None}))
        yield from page['servers']
        if not page.get('servers_links'):
            return
        marker = page['servers'][-1]['id']
        limit = limit and limit - len(page['servers'])


class MemoryClient:
    """Memory of one server, over the compute proxy of openstacksdk."""

    def __init__(self, compute: ty.Any, server: str):
        """Find the server.

        :param compute: the SDK's compute proxy
        :param server: name or ID
        :raises: the SDK's NotFoundException or DuplicateResource
        """
        self._compute = compute
        self.server_id: str = compute.find_server(
            server, ignore_missing=False).id

    def _get(self, path: str, **kwargs: ty.Any) -> Document:
        return _json_or_error(self._compute.get(
            '/servers/%s%s' % (self.server_id, path), **kwargs))

    def show(
        self, memory_mb: int | None = None, ask_guest: bool = False,
    ) -> Document:
        """Fetch the memory of the server.

        :param memory_mb: total in MiB to plan for, or None
        :param ask_guest: whether to have the agent in the guest asked
        :returns: the ``memory`` object of the API
        """
        params: Document = {}
        if memory_mb is not None:
            params['memory_mb'] = memory_mb
        if ask_guest:
            params['guest'] = 'true'
        return ty.cast(
            Document, self._get('/os-memory', params=params)['memory'])

    def resize(self, memory_mb: int) -> Accepted:
        """Ask for a total.

        :param memory_mb: the wanted total in MiB
        :returns: an Accepted
        """
        return self._resize({'memory_mb': memory_mb})

    def resize_to_flavor(self, flavor: str) -> Accepted:
        """Ask for the memory of a flavor, and the flavor.

        :param flavor: name or ID
        :returns: an Accepted
        :raises: the SDK's NotFoundException or DuplicateResource
        """
        found = self._compute.find_flavor(flavor, ignore_missing=False)
        return self._resize({'flavorRef': found.id})

    def _resize(self, wanted: Document) -> Accepted:
        response = self._compute.post(
            '/servers/%s/action' % self.server_id,
            json={'resizeMemory': wanted})
        memory = _json_or_error(response)['memory']
        return Accepted(
            memory, response.headers.get('x-openstack-request-id'))

    def wait(
        self, accepted: Accepted, timeout: int, is_patient: bool = False,
        tell: Tell | None = None,
    ) -> Document:
        """Wait until a resize is over.

        :param accepted: what ``resize`` returned
        :param timeout: seconds
        :param is_patient: whether to wait also while the host looks whether
            the guest uses the memory
        :param tell: is called with the ``memory`` object of the API now and
            then
        :returns: the ``memory`` object of the API
        :raises: CommandError when the resize failed or takes too long
        """
        deadline = time.monotonic() + timeout
        for seconds in _intervals():
            if self._task_state() is None:
                break
            if time.monotonic() >= deadline:
                raise exceptions.CommandError(
                    'The resize is not over after %d seconds; it goes on. '
                    'Its end will be the last_resize of: '
                    'openstack server memory show %s' % (
                        timeout, self.server_id))
            if tell is not None:
                tell(self.show())
            time.sleep(seconds)
        memory = self._recorded(accepted.request_id)
        for seconds in _intervals():
            if tell is not None:
                tell(memory)
            if (not _goes_on(memory, accepted.request_id, is_patient) or
                    time.monotonic() >= deadline):
                break
            time.sleep(seconds)
            memory = self.show(ask_guest=True)
        _check_outcome(memory, accepted)
        return memory

    def _task_state(self) -> str | None:
        return ty.cast(
            str | None,
            self._get('')['server'].get('OS-EXT-STS:task_state'))

    def _recorded(self, request_id: str | None) -> Document:
        """Show the memory, with the outcome of a request if it is known."""
        memory: Document = {}
        for _, seconds in zip(range(RECORD_POLLS), _intervals()):
            memory = self.show(ask_guest=True)
            if _outcome(memory, request_id).get('status') != 'running':
                break
            time.sleep(seconds)
        return memory


def _goes_on(
    memory: Document, request_id: str | None, is_patient: bool,
) -> bool:
    """Tell whether more is still to become of a request that is over."""
    outcome = _outcome(memory, request_id).get('outcome') or {}
    return outcome.get('verdict') == 'pending' or (
        is_patient and outcome.get('final') is False)


def _outcome(memory: Document, request_id: str | None) -> Document:
    """Find what became of a request.

    :returns: ``last_resize`` of the API; empty if that is another request
    """
    last = memory.get('last_resize') or {}
    return last if last.get('request_id') == request_id else {}


def _check_outcome(memory: Document, accepted: Accepted) -> None:
    """Check that a server got what was accepted.

    :raises: CommandError with the sentence of the API if it did not
    """
    outcome = _outcome(memory, accepted.request_id)
    missing_mb = accepted.memory['memory_mb'] - memory['current_mb']
    if accepted.memory.get('removed'):
        missing_mb = -missing_mb
    if outcome.get('status') != 'failed' and missing_mb <= 0:
        return
    reason = outcome.get('message') or 'it is not on record why'
    raise exceptions.CommandError(
        'The resize failed: %s. The server has %s MiB.' % (
            reason.rstrip('.'), memory['current_mb']))
