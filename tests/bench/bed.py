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

"""What every measurement needs, made once."""

import dataclasses
import functools
import time

from tests.bench import client
from tests.bench import hypervisor
from tests.bench import stage
from tests.bench import timeline
from tests.bench import trace
from tests.bench import watch
from tests.faults import machine

GROWN = 'compute_resize_memory'
PAUSED = 'compute_pause_instance'
UNPAUSED = 'compute_unpause_instance'
#: Seconds in which all is quiet before something is measured.
PAUSE = 0.3
#: Seconds until nova-compute has looked whether a commit stays
#: (nova_memhotplug.compute.resize, SECONDS_AFTER).
SECOND_LOOK = 1.6


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much is measured.

    :param samples: growths of a guest, of each architecture and kind; each
        takes a slot
    :param servers: pairs of servers that they are measured on
    :param cold: cold resizes of each architecture
    :param ticks: growths beside a ticker
    :param reads: requests of each kind
    :param clients: how many clients there are at once, one after the other
    :param crowd: how many servers are on a host, ascending
    :param crowd_samples: growths beside each such number
    :param sizes_mb: by how much a guest grows at once
    :param fleet: servers of a host whose service starts, in process
    :param is_full: whether the deployment that is audited is as large as can
        be
    """

    samples: int
    servers: int
    cold: int
    ticks: int
    reads: int
    clients: tuple
    crowd: tuple
    crowd_samples: int
    sizes_mb: tuple
    fleet: int
    is_full: bool = True


FULL = Plan(
    samples=16, servers=2, cold=10, ticks=8, reads=100,
    clients=(1, 2, 4, 8, 16), crowd=(1, 10, 25, 50), crowd_samples=20,
    sizes_mb=(128, 256, 512, 1024, 2048), fleet=1000)
QUICK = Plan(
    samples=8, servers=1, cold=2, ticks=3, reads=30, clients=(1, 2, 4, 8),
    crowd=(1, 50), crowd_samples=8, sizes_mb=(128, 512, 2048), fleet=1000,
    is_full=False)


class Bed:
    """The sandbox, instrumented, and connections to all parts of it.

    :param plan: how much is measured
    :param folder: where the services write what they do
    :param sandbox: the ``tests.faults.machine.Machine``
    """

    def __init__(self, plan, folder, sandbox):
        self.plan = plan
        self.machine = sandbox
        self.stage = stage.Stage()
        self.hypervisor = hypervisor.Hypervisor(
            machine.compute.uri(sandbox.settings, sandbox.host))
        self._reader = trace.Reader(folder)

    @functools.cached_property
    def client(self):
        """A client that is one of the tenant's."""
        return client.Client()

    @functools.cached_property
    def watcher(self):
        """A look into the database."""
        return watch.Watcher(self.machine.settings)

    def rest(self):
        """Let everything that still goes on come to its end."""
        time.sleep(PAUSE)
        self._reader.read()

    def grow(self, server_id, total_mb):
        """Grow a server, and take the time apart.

        :param server_id: the server
        :param total_mb: RAM it is to have, in MiB; one device more
        :returns: what was measured: times in ms, counts
        """
        self.rest()
        before = self.hypervisor.plugs(server_id)
        answer = self.client.grow(server_id, total_mb)
        booked = self.watcher.event(answer.request, GROWN)
        online = self.hypervisor.wait_plugged(server_id, before)
        end = max(booked, online)
        # The host looks once more whether its commit stays, and its call is
        # recorded when it ends.
        time.sleep(SECOND_LOOK)
        events = trace.of_request(
            self._reader.read(), answer.request, server_id, answer.sent, end)
        arrived, spans = trace.spans(events)
        if arrived is None:
            raise RuntimeError('nova-compute has not recorded when %s came'
                               % answer.request)
        phases = timeline.cut(answer.sent, arrived, spans, online, end)
        return {
            'ours': (end - answer.sent) / 1e6,
            'post': answer.ms,
            'booked': (booked - answer.sent) / 1e6,
            'online': (online - answer.sent) / 1e6,
            'phases': {name: ns / 1e6 for name, ns in phases.items()},
            'counts': trace.counts(events),
            'details': trace.details(events),
        }

    def pause(self, server_id):
        """Pause a server, and let it go on again.

        :returns: milliseconds until the end of the pause was recorded
        """
        self.rest()
        answer = self.client.act(server_id, {'pause': None})
        done = self.watcher.event(answer.request, PAUSED)
        again = self.client.act(server_id, {'unpause': None})
        self.watcher.event(again.request, UNPAUSED)
        return (done - answer.sent) / 1e6
