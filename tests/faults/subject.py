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

"""The server that the faults are tried on."""

import itertools
import re
import time

import tenacity

from tests.live import cloud

NAME = 'faults'
#: Servers are of these in turns: one is bound to the NUMA node of the host,
#: one has the memory model virtio-mem.
FLAVORS = ('elastic-numa', 'elastic', 'elastic-vmem')
#: Its guests give back what their kernel does not use for itself.
VIRTIO_MEM, VIRTIO_MEM_IMAGE = 'elastic-vmem', 'memhotplug-x86_64-movable'
BLOCK_MB = 128
#: A server that has grown beyond this is replaced by a new one.
LARGEST_MB = 2560
FREE_SLOTS = 3
#: Seconds until the books must agree. What cannot be written when a resize
#: fails is left to Nova's periodic task, which comes once a minute.
AGREE_TIMEOUT = 100


class Subject:
    """A server, made when it is needed and used for several rounds.

    :param books: the ``books.Books``
    :param flavors: of ``FLAVORS``, those that its servers are of
    """

    def __init__(self, books, flavors=FLAVORS):
        self._books = books
        self._flavors = itertools.cycle(flavors)
        self._flavor = None
        self.server = None

    @property
    def has_dimms(self):
        """Whether the server gets a device with each growth."""
        return self._flavor != VIRTIO_MEM

    def prepare(self):
        """Have a running server with room for another resize."""
        if self.server is not None and self._is_worn():
            self.delete()
        if self.server is None:
            self._create()
        self.server.wait_guest('first report', bool)
        if (self.has_dimms and
                self.server.memory()['slots']['free'] < FREE_SLOTS):
            self.reboot()

    def _create(self):
        self._flavor = next(self._flavors)
        self.server = cloud.create_server(
            'x86_64', self._flavor, NAME,
            image=None if self.has_dimms else VIRTIO_MEM_IMAGE)
        self.server.wait()

    def _is_worn(self):
        server = self.server.fresh
        return (server.status != 'ACTIVE' or server.task_state is not None or
                server.flavor['ram'] > LARGEST_MB)

    def reboot(self):
        """Write the domain afresh: all memory is boot memory then."""
        self.server.act({'reboot': {'type': 'HARD'}})
        self.server.wait()
        self.server.wait_guest('report after reboot', bool)

    def delete(self):
        """Delete it."""
        if self.server is not None:
            cloud.delete_server(self.server)
            self.server = None

    def wait_idle(self, seconds=200):
        """Wait until Nova does nothing with it.

        :returns: its status
        """
        idle = _retry(seconds, lambda: self.server.fresh,
                      lambda server: server.task_state is not None)
        if idle.task_state is not None:
            raise AssertionError('task state %s after %d s' % (
                idle.task_state, seconds))
        return idle.status

    def wait_agreement(self, seconds=AGREE_TIMEOUT):
        """Wait until all books agree.

        :returns: the last ``Reading``, the seconds that it took, and the
            names of the books that differed at any time
        """
        started = time.monotonic()
        late = set()

        def differs(reading):
            late.update(reading.differences())
            return bool(reading.differences())

        reading = _retry(
            seconds, lambda: self._books.read(self.server), differs)
        return reading, time.monotonic() - started, sorted(late)

    def make_usable(self, machine):
        """Have it run, as a user would.

        :returns: what had to be done; '' for nothing
        """
        if machine.virsh('domstate', self.server.id) == 'shut off\n':
            # Nova waits some seconds before it believes that a guest is off.
            _retry(30, lambda: self.server.fresh.status,
                   lambda status: status == 'ACTIVE')
        status = self.wait_idle()
        if status == 'SHUTOFF':
            self.server.act({'os-start': None})
        elif status == 'ACTIVE' and machine.virsh(
                'domstate', self.server.id) == 'shut off\n':
            self.server.act({'reboot': {'type': 'HARD'}})
        else:
            return ''
        self.server.wait()
        return 'started' if status == 'SHUTOFF' else 'rebooted'

    def wait_memory(self, total_mb):
        """Wait until the guest itself uses so much."""
        self.server.wait_guest(
            '%d MiB' % total_mb, lambda guest: (
                guest['blocks_online'] * BLOCK_MB == total_mb and
                not guest['blocks_offline']))


def wait_alone(host, seconds=120):
    """Wait until Nova has only one host to choose from.

    It takes a minute until Nova takes a host for down that is not run any
    more.

    :param host: the host that runs
    """
    compute = cloud.connect('admin').compute

    def others():
        return [service.host for service in compute.services(
            binary='nova-compute')
            if service.host != host and service.state == 'up']

    left = _retry(seconds, others, bool)
    if left:
        raise AssertionError('hosts run that should not: %s' % left)


def sweep():
    """Delete servers that a killed run has left behind."""
    compute = cloud.connect('admin').compute
    for server in compute.servers(all_projects=True, name='^%s$' % NAME):
        if re.fullmatch(NAME, server.name):
            cloud.delete_server(server)


def _retry(seconds, function, goes_on):
    """Call a function until its result is as wanted, or time is up.

    It is no matter if it fails: services are just being started again.

    :returns: the last result
    """
    return tenacity.Retrying(
        stop=tenacity.stop_after_delay(seconds),
        wait=tenacity.wait_fixed(0.5),
        retry=(tenacity.retry_if_result(goes_on) |
               tenacity.retry_if_exception_type(Exception)),
        retry_error_callback=lambda state: state.outcome.result(),
    )(function)
