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

"""Everything that says how much memory a server has, read at one moment."""

import dataclasses
import json

from nova_memhotplug.core import domain
from tests.live import cloud
from tests.live import numa


@dataclasses.dataclass(frozen=True)
class Reading:
    """What each book says, in MiB; None where there is nothing to read.

    :param domain: the live domain
    :param persistent: the domain that the next start would use
    :param flavor: the flavor that the API shows
    :param column: ``instances.memory_mb``
    :param instance_flavor: the flavor in the cell's database
    :param placement: the allocation
    :param request_spec: the flavor in the RequestSpec; None as long as the
        others differ
    :param quota: what the project uses
    :param tracker: what the host has in use
    :param cells: the NUMA cells of the server; None, as the next ones, for a
        server that is not bound to its host
    :param request_spec_cells: the NUMA cells in the RequestSpec
    :param host_cells: what the NUMA cells of the host have in use
    """

    domain: int | None
    persistent: int | None
    flavor: int
    column: int
    instance_flavor: int
    placement: int
    request_spec: int | None
    quota: int
    tracker: int
    cells: int | None = None
    request_spec_cells: int | None = None
    host_cells: int | None = None

    def differences(self):
        """Name what differs from the live domain, else from the flavor.

        :returns: {book: MiB}; empty when all agree
        """
        truth = self.total
        return {name: value
                for name, value in dataclasses.asdict(self).items()
                if value is not None and value != truth}

    @property
    def total(self):
        """What the server has, in MiB."""
        return self.flavor if self.domain is None else self.domain

    def without_persistent(self):
        """Leave the persistent domain out, which a start writes afresh."""
        return dataclasses.replace(self, persistent=None)


class Books:
    """Reads the books of a server that is alone in its project and host.

    :param machine: the ``machine.Machine``
    """

    def __init__(self, machine):
        self._machine = machine
        self._quota_base = self._quota()
        self._tracker_base = self._tracker()
        self._topologies = numa.Topologies(machine.query)
        self._host_cells_base = self._host_cells()

    def read(self, server):
        """Read everything.

        :param server: a ``cloud.Server``
        :returns: a ``Reading``
        """
        reading = self._read(server)
        if reading.differences():
            return reading
        # What moves a server first brings all to what its guest has, and the
        # RequestSpec with it (design T5). So it is looked at last.
        server.prepare_move()
        return dataclasses.replace(
            reading, request_spec=self._request_spec(server),
            request_spec_cells=None if reading.cells is None else sum(
                self._topologies.request_spec_mb(server.id)))

    def _read(self, server):
        flavor = server.fresh.flavor
        is_bound = 'hw:numa_nodes' in flavor['extra_specs']
        return Reading(
            domain=self._domain(server),
            persistent=self._domain(server, '--inactive'),
            flavor=flavor['ram'],
            column=self._column(server),
            instance_flavor=self._instance_flavor(server),
            placement=server.allocated_mb(),
            request_spec=None,
            quota=self._quota() - self._quota_base,
            tracker=self._tracker() - self._tracker_base,
            **(self._read_cells(server) if is_bound else {}))

    def _read_cells(self, server):
        return {
            'cells': sum(self._topologies.server_mb(server.id)),
            'host_cells': self._host_cells() - self._host_cells_base}

    def _domain(self, server, *options):
        """Read a domain; None if it does not run."""
        state = self._machine.virsh('domstate', server.id)
        if state is None or state.strip() in ('shut off', 'crashed'):
            return None
        return domain.read(self._machine.virsh(
            'dumpxml', server.id, *options)).present_mb

    def _column(self, server):
        return int(self._machine.query(
            "SELECT memory_mb FROM nova_cell1.instances WHERE uuid='%s'"
            % server.id))

    def _instance_flavor(self, server):
        flavor = json.loads(self._machine.query(
            'SELECT flavor FROM nova_cell1.instance_extra '
            "WHERE instance_uuid='%s'" % server.id))
        return flavor['cur']['nova_object.data']['memory_mb']

    def _request_spec(self, server):
        spec = json.loads(self._machine.query(
            'SELECT spec FROM nova_api.request_specs '
            "WHERE instance_uuid='%s'" % server.id))
        flavor = spec['nova_object.data']['flavor']
        return flavor['nova_object.data']['memory_mb']

    @staticmethod
    def _quota():
        answer = cloud.connect('member').compute.get('/limits').json()
        return answer['limits']['absolute']['totalRAMUsed']

    def _tracker(self):
        return int(self._machine.query(
            'SELECT memory_mb_used FROM nova_cell1.compute_nodes '
            "WHERE deleted = 0 AND host='%s'" % self._machine.host))

    def _host_cells(self):
        used = self._topologies.used(self._machine.host)
        return sum(size_mb for (_cell, what), size_mb in used.items()
                   if what == numa.MEMORY)
