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

"""Several clients that grow servers of one host at once."""

from concurrent import futures
import queue
import time

from tests.bench import bed as beds
from tests.bench import client
from tests.bench import stage
from tests.bench import watch


class Worker:
    """A client with connections of its own.

    :param bed: the ``bed.Bed``
    """

    def __init__(self, bed):
        self._hypervisor = bed.hypervisor
        self._client = client.Client()
        self._watcher = watch.Watcher(bed.machine.settings)

    def work(self, servers, total_mb):
        """Grow servers until none is left.

        :param servers: a queue of servers
        :param total_mb: RAM that each is to have, in MiB
        :returns: ms of each growth
        """
        took = []
        while True:
            try:
                server = servers.get_nowait()
            except queue.Empty:
                return took
            before = self._hypervisor.plugs(server.id)
            answer = self._client.grow(server.id, total_mb)
            booked = self._watcher.event(answer.request, beds.GROWN)
            online = self._hypervisor.wait_plugged(server.id, before)
            took.append((max(booked, online) - answer.sent) / 1e6)


def measure(bed):
    """Grow each of some servers once, by 1, 2, 4 ... clients.

    :param bed: the ``bed.Bed``
    :returns: [{'clients': number, 'ms': [ms of each growth], 'per_second':
        growths of all clients}]
    """
    numbers = bed.plan.clients
    flavor = bed.stage.flavor('clients', slots=len(numbers))
    servers = bed.stage.boot(
        *('client-%d' % number for number in range(max(numbers))),
        flavor=flavor)
    try:
        workers = [Worker(bed) for _number in range(max(numbers))]
        return [_measure_one(
            bed, workers[:number], servers,
            stage.BOOT_MB + turn * stage.BLOCK_MB)
            for turn, number in enumerate(numbers, start=1)]
    finally:
        bed.stage.delete(*servers)


def _measure_one(bed, workers, servers, total_mb):
    waiting = queue.Queue()
    for server in servers:
        waiting.put(server)
    bed.rest()
    start = time.monotonic()
    with futures.ThreadPoolExecutor(len(workers)) as pool:
        took = [pool.submit(worker.work, waiting, total_mb)
                for worker in workers]
        took = [ms for one in took for ms in one.result()]
    return {'clients': len(workers), 'ms': took,
            'per_second': len(took) / (time.monotonic() - start)}
