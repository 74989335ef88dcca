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

"""Read what Nova's cells, placement and hosts have on record of servers."""

import collections
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent import futures
import dataclasses
import itertools
import typing as ty

from nova import context as nova_context
from nova.db.api import api as api_db_api
from nova.db.api import models as api_models
from nova import exception
from nova import objects
from nova import servicegroup
import oslo_messaging as messaging
from oslo_serialization import jsonutils

from nova_memhotplug.api import request_spec
from nova_memhotplug.cmd import audit
from nova_memhotplug.common import nodes
from nova_memhotplug.common import placement
from nova_memhotplug.common import rpcapi
from nova_memhotplug.common import states
from nova_memhotplug.core import errors

#: Servers that are read from a database at once.
PAGE = 500
#: Hosts that are asked at once.
WORKERS = 8
_ATTRIBUTES = ['flavor', 'numa_topology']


@dataclasses.dataclass(frozen=True)
class Scope:
    """What is looked at.

    :param cells: names or UUIDs of cells; empty for all
    :param hosts: names of hosts; empty for all
    :param servers: UUIDs of servers; empty for all
    """

    cells: Collection[str] = ()
    hosts: Collection[str] = ()
    servers: Collection[str] = ()


class Answers(ty.NamedTuple):
    """What was asked once for all servers of a host, sizes in MiB.

    :param allocated_mb: RAM that each has allocated there; None if placement
        does not say
    :param totals_mb: RAM of each that runs; None for a guest that cannot be
        read
    :param problems: sentences about what could not be read
    """

    allocated_mb: dict[str, int] | None
    totals_mb: dict[str, int | None]
    problems: list[str]


class Census:
    """Reads and corrects.

    :param client: Nova's placement client
    :param scope: what is looked at
    """

    def __init__(self, client: ty.Any, scope: Scope = Scope()):
        self._placement = placement.Placement(client)
        self._hosts = rpcapi.MemHotplugAPI()
        self._services = servicegroup.API()
        self._scope = scope
        # Whether a host can be asked, by its name.
        self._up: dict[str, bool] = {}
        # What leads to the cell of a host, by its name.
        self._contexts: dict[str, ty.Any] = {}
        #: Sentences about what could not be read.
        self.problems: list[str] = []
        #: Hosts with guests that name the emulator shim.
        self.shims: list[audit.Shims] = []

    def records(self) -> Iterator[audit.Record]:
        """Read what is on record of elastic servers, host by host.

        Each host is asked once for all of its servers, and several hosts at
        the same time. What cannot be read is noted among the problems, and
        stops nothing else. In the end all hosts that answer have been asked
        for the shim, too, unless servers are looked for by their UUIDs.
        """
        missing = set(self._scope.servers)
        for cell in self._cells():
            try:
                with nova_context.target_cell(
                        nova_context.get_admin_context(), cell) as context:
                    for record in self._of_cell(context):
                        missing.discard(record.uuid)
                        yield record
            except Exception as exc:
                self._note('Cell %s' % (cell.name or cell.uuid), exc)
        with futures.ThreadPoolExecutor(WORKERS) as pool:
            self.shims += filter(None, pool.map(
                self._shims_of, sorted(self._contexts)))
        self.problems += [
            'Server %s: there is none, or its memory cannot grow.' % uuid
            for uuid in sorted(missing)]
        if not self._scope.servers:
            self.problems += [
                'Host %s: there is none.' % host
                for host in sorted(set(self._scope.hosts) - self._up.keys())]

    def read(self, record: audit.Record) -> audit.Record | None:
        """Read what is on record of one server now.

        :param record: what was on record
        :returns: what is on record; None if the server was deleted
        :raises Unreadable: if anything could not be read
        """
        context = record.cell
        instance = _instance(context, record.uuid)
        if instance is None:
            return None
        now = _record(context, instance)
        if not now.is_settled:
            return now
        totals_mb: dict[str, int | None] = {}
        if now.may_run and self._is_up(context, now.host):
            totals_mb = self._ask(
                now, self._hosts.get_totals, context, now.host, [now.uuid])
        return self._complete(dataclasses.replace(
            now, allocated_mb=self._allocated_mb(context, instance),
            request_spec_mb=_request_specs_mb([now.uuid]).get(now.uuid)),
            totals_mb)

    def correct(self, record: audit.Record) -> None:
        """Have a server's host correct the books; then the RequestSpec.

        What belongs to a host that is down is left alone: nobody knows what
        its guests have.

        :param record: the server
        :raises Unreadable: if its host did not do it
        """
        context = record.cell
        instance = _instance(context, record.uuid)
        if instance is None:
            return
        if self._is_up(context, instance.host):
            self._ask(record, self._hosts.reconcile_memory, context, instance)
        instance = _instance(context, record.uuid)
        if instance is not None:
            request_spec.sync(context, instance)

    # Where servers are

    def _cells(self) -> list[ty.Any]:
        """List the cells that are looked at."""
        cells = [cell for cell in objects.CellMappingList.get_all(
            nova_context.get_admin_context()) if not cell.is_cell0()]
        wanted = set(self._scope.cells)
        known = {name for cell in cells for name in (cell.name, cell.uuid)}
        self.problems += ['Cell %s: there is none.' % name
                          for name in sorted(wanted - known)]
        return [cell for cell in cells
                if not wanted or wanted & {cell.name, cell.uuid}]

    def _of_cell(self, context: ty.Any) -> Iterator[audit.Record]:
        """Read the servers of a cell; a few hosts ahead of the reader."""
        pending: collections.deque[
            tuple[list[audit.Record], futures.Future[Answers]]]
        pending = collections.deque()
        with futures.ThreadPoolExecutor(WORKERS) as pool:
            for records in self._by_host(context):
                settled = [one for one in records if one.is_settled]
                yield from (one for one in records if not one.is_settled)
                if settled:
                    host = settled[0].host
                    pending.append((settled, pool.submit(
                        self._ask_for_all, context, settled,
                        self._providers(context, host),
                        self._is_up(context, host))))
                if len(pending) > WORKERS:
                    yield from self._finish(*pending.popleft())
            while pending:
                yield from self._finish(*pending.popleft())

    def _by_host(self, context: ty.Any) -> Iterator[list[audit.Record]]:
        """Read the elastic servers of each host, and of none."""
        if self._scope.servers:
            found = sorted(self._list(
                context, uuid=list(self._scope.servers)),
                key=lambda record: record.host or '')
            for _host, records in itertools.groupby(
                    found, key=lambda record: record.host):
                yield list(records)
            return
        for host in self._hosts_of(context):
            yield list(self._list(context, host=host))
        if not self._scope.hosts:
            for record in self._list(context, host=None):
                yield [record]

    def _hosts_of(self, context: ty.Any) -> Iterator[str]:
        for service in objects.ServiceList.get_by_binary(
                context, 'nova-compute', include_disabled=True):
            if not self._scope.hosts or service.host in self._scope.hosts:
                self._up[service.host] = bool(
                    self._services.service_is_up(service))
                self._contexts[service.host] = context
                yield str(service.host)

    def _list(
        self, context: ty.Any, **which: ty.Any,
    ) -> Iterator[audit.Record]:
        """Read elastic servers, page by page."""
        marker = None
        while True:
            page = objects.InstanceList.get_by_filters(
                context, {'deleted': False, 'soft_deleted': False, **which},
                sort_keys=['uuid'], sort_dirs=['asc'], limit=PAGE,
                marker=marker, expected_attrs=_ATTRIBUTES)
            elastic = [instance for instance in page
                       if states.is_elastic(instance.flavor) and (
                           not self._scope.hosts or
                           instance.host in self._scope.hosts)]
            specs_mb = _request_specs_mb(
                [instance.uuid for instance in elastic])
            for instance in elastic:
                yield dataclasses.replace(
                    _record(context, instance),
                    request_spec_mb=specs_mb.get(instance.uuid))
            if len(page) < PAGE:
                return
            marker = page[-1].uuid

    @staticmethod
    def _providers(context: ty.Any, host: str | None) -> list[str]:
        """Name the resource providers of a host: one, with libvirt."""
        try:
            return [node.uuid for node in (
                objects.ComputeNodeList.get_all_by_host(context, host))]
        except exception.ComputeHostNotFound:
            return []

    # What hosts and placement say

    def _ask_for_all(
        self, context: ty.Any, records: Sequence[audit.Record],
        providers: Iterable[str], is_up: bool,
    ) -> Answers:
        """Ask what is needed for all servers of a host."""
        host = ty.cast(str, records[0].host)
        answers = Answers({}, {}, [])
        try:
            for provider in providers:
                ty.cast(dict[str, int], answers.allocated_mb).update(
                    self._placement.allocated_on(context, provider))
        except errors.MemoryHotplugError as exc:
            answers = answers._replace(allocated_mb=None)
            answers.problems.append('Host %s: %s' % (host, exc))
        running = [one.uuid for one in records if one.may_run]
        if not running or not is_up:
            return answers
        try:
            return answers._replace(totals_mb=self._hosts.get_totals(
                context, host, running))
        except Exception as exc:
            # It is not asked for each server again.
            self._up[host] = False
            answers.problems.append(
                'Host %s: %s What the guests have of servers %s is not known.'
                % (host, _sentence(exc), ', '.join(running)))
        return answers

    def _finish(
        self, records: Iterable[audit.Record],
        answer: futures.Future[Answers],
    ) -> Iterator[audit.Record]:
        try:
            allocated_mb, totals_mb, problems = answer.result()
        except Exception as exc:
            self._note('A host', exc)
            return
        self.problems += problems
        for record in records:
            if allocated_mb is None:
                record = dataclasses.replace(
                    record, is_allocation_known=False)
            else:
                record = dataclasses.replace(
                    record, allocated_mb=allocated_mb.get(record.uuid))
            yield self._complete(record, totals_mb)

    def _complete(
        self, record: audit.Record, totals_mb: dict[str, int | None],
    ) -> audit.Record:
        guest_mb = totals_mb.get(record.uuid)
        if record.uuid in totals_mb and guest_mb is None:
            self.problems.append(
                'Server %s: host %s cannot read its domain.' % (
                    record.uuid, record.host))
        return dataclasses.replace(record, guest_mb=guest_mb)

    def _shims_of(self, host: str) -> audit.Shims | None:
        """Ask a host for its shim; None where no guest is known to name it.

        A host that cannot be asked has been named for its guests, or has
        none that can grow.
        """
        if not self._up[host]:
            return None
        try:
            found = self._hosts.count_shims(self._contexts[host], host)
        except Exception as exc:
            if not rpcapi.is_unsupported(exc):
                self._note('Host %s' % host, exc)
            return None
        return audit.Shims(host, **found) if any(found.values()) else None

    def _is_up(self, context: ty.Any, host: str | None) -> bool:
        """Tell whether a host can be asked."""
        if host is None:
            return False
        if host not in self._up:
            try:
                service = objects.Service.get_by_compute_host(context, host)
                self._up[host] = bool(self._services.service_is_up(service))
            except exception.ComputeHostNotFound:
                self._up[host] = False
        return self._up[host]

    def _allocated_mb(self, context: ty.Any, instance: ty.Any) -> int | None:
        try:
            return int(self._placement.allocated(context, instance)[1])
        except errors.NothingAllocated:
            return None
        except errors.AccountingFailed as exc:
            raise audit.Unreadable('Server %s: %s' % (instance.uuid, exc))

    @staticmethod
    def _ask(
        record: audit.Record, method: Callable[..., ty.Any],
        *arguments: ty.Any,
    ) -> ty.Any:
        """Call a method of the host of a server.

        :raises Unreadable: if the host does not answer, or refuses
        """
        try:
            return method(*arguments)
        except (exception.NovaException,
                messaging.MessagingException) as exc:
            raise audit.Unreadable('Server %s: host %s: %s' % (
                record.uuid, record.host, _sentence(exc)))

    def _note(self, what: str, exc: Exception) -> None:
        self.problems.append(
            '%s: %s: %s' % (what, type(exc).__name__, exc))


def _sentence(exc: Exception) -> str:
    return str(errors.HostUnaware() if rpcapi.is_unsupported(exc) else exc)


def _instance(context: ty.Any, uuid: str) -> ty.Any:
    """Read a server; None if it is gone."""
    try:
        return objects.Instance.get_by_uuid(
            context, uuid, expected_attrs=_ATTRIBUTES)
    except exception.InstanceNotFound:
        return None


def _record(context: ty.Any, instance: ty.Any) -> audit.Record:
    """Say what is on record in the database of the cell."""
    cells_mb = nodes.cells_mb(instance.numa_topology)
    return audit.Record(
        uuid=instance.uuid, host=instance.host,
        extra_specs=instance.flavor.extra_specs,
        flavor_mb=instance.flavor.memory_mb, instance_mb=instance.memory_mb,
        allocated_mb=None, request_spec_mb=None, guest_mb=None,
        cells_mb=sum(cells_mb) if cells_mb else None,
        is_settled=states.is_settled(instance),
        may_run=instance.vm_state in states.HAS_LIVE_DOMAIN, cell=context)


def _request_specs_mb(uuids: Collection[str]) -> dict[str, int]:
    """Read the RAM in the RequestSpecs of servers, in one query.

    Nova's object reads them one by one only, and makes a lot of objects of
    each.

    :param uuids: the servers
    :returns: RAM, in MiB, by the UUID of the server
    """
    if not uuids:
        return {}
    return {uuid: _flavor_mb(spec) for uuid, spec in _request_specs(
        nova_context.get_admin_context(), uuids)}


def _request_specs(
    context: ty.Any, uuids: Collection[str],
) -> list[tuple[str, str]]:
    with api_db_api.context_manager.reader.using(context):
        model = api_models.RequestSpec
        return [(row.instance_uuid, row.spec) for row in (
            context.session.query(model.instance_uuid, model.spec).filter(
                model.instance_uuid.in_(uuids)))]


def _flavor_mb(spec: str) -> int:
    """Read the RAM of the flavor out of a stored RequestSpec."""
    flavor = jsonutils.loads(spec)['nova_object.data']['flavor']
    return int(flavor['nova_object.data']['memory_mb'])
