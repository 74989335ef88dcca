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

from collections.abc import Iterator
import dataclasses
import typing as ty

from nova.compute import vm_states
from nova import context as nova_context
from nova import exception
from nova import objects
from nova import servicegroup
import oslo_messaging as messaging

from nova_memhotplug.api import request_spec
from nova_memhotplug.cmd import audit
from nova_memhotplug.common import nodes
from nova_memhotplug.common import placement as placement_mod
from nova_memhotplug.common import rpcapi
from nova_memhotplug.common import states
from nova_memhotplug.core import errors
from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import observations

#: Servers that are read from a cell at once.
PAGE = 500
_HAS_LIVE_DOMAIN = (vm_states.ACTIVE, vm_states.PAUSED)


@dataclasses.dataclass(frozen=True)
class Server:
    """A server of a cell.

    :param context: a request context of the cell
    :param instance: the ``nova.objects.Instance``
    """

    context: ty.Any
    instance: ty.Any

    @property
    def is_settled(self) -> bool:
        """Whether nothing goes on for which Nova has books in transit."""
        return (self.instance.task_state is None and
                self.instance.vm_state in states.SETTLED)


class Census:
    """Reads and corrects.

    :param placement: Nova's placement client
    """

    def __init__(self, placement):
        self._placement = placement_mod.Placement(placement)
        self._hosts = rpcapi.MemHotplugAPI()
        self._services = servicegroup.API()
        self._up: dict[str, bool] = {}

    def servers(self) -> Iterator[Server]:
        """List the elastic servers of all cells."""
        context = nova_context.get_admin_context()
        for cell in objects.CellMappingList.get_all(context):
            if not cell.is_cell0():
                with nova_context.target_cell(context, cell) as cell_context:
                    yield from self._servers_of(cell_context)

    @staticmethod
    def _servers_of(context) -> Iterator[Server]:
        marker = None
        while True:
            page = objects.InstanceList.get_by_filters(
                context, {'deleted': False, 'soft_deleted': False},
                sort_keys=['uuid'], sort_dirs=['asc'], limit=PAGE,
                marker=marker, expected_attrs=['flavor'])
            for instance in page:
                if memory_spec.MAX_MEMORY_MB in instance.flavor.extra_specs:
                    yield Server(context, instance)
            if len(page) < PAGE:
                return
            marker = page[-1].uuid

    def read(self, server: Server) -> audit.Record:
        """Read what is on record of a server.

        :param server: the server
        :returns: the record
        :raises Unreadable: if anything could not be read
        """
        context, instance = server.context, server.instance
        flavor = instance.flavor
        return audit.Record(
            uuid=instance.uuid, host=instance.host,
            extra_specs=flavor.extra_specs, flavor_mb=flavor.memory_mb,
            instance_mb=instance.memory_mb,
            allocated_mb=self._allocated_mb(context, instance),
            request_spec_mb=self._request_spec_mb(context, instance),
            guest_mb=self._guest_mb(context, instance),
            cells_mb=self._cells_mb(context, instance))

    def correct(self, server: Server) -> Server:
        """Have a server's host correct the books; then the RequestSpec.

        What belongs to a host that is down is left alone: nobody knows what
        its guests have.

        :param server: the server
        :returns: the server as it is afterwards
        :raises Unreadable: if its host did not do it
        """
        context, instance = server.context, server.instance
        if self.is_up(context, instance):
            _ask(instance, self._hosts.reconcile_memory, context, instance)
        instance = objects.Instance.get_by_uuid(
            context, instance.uuid, expected_attrs=['flavor'])
        request_spec.sync(context, instance)
        return Server(context, instance)

    def is_up(self, context, instance) -> bool:
        """Tell whether the host of a server can be asked."""
        host = instance.host
        if host is None:
            return False
        if host not in self._up:
            self._up[host] = self._is_service_up(context, host)
        return self._up[host]

    def _is_service_up(self, context, host) -> bool:
        try:
            service = objects.Service.get_by_compute_host(context, host)
        except exception.ComputeHostNotFound:
            return False
        return bool(self._services.service_is_up(service))

    def _allocated_mb(self, context, instance) -> int | None:
        try:
            return self._placement.allocated(context, instance)[1]
        except errors.NothingAllocated:
            return None
        except errors.AccountingFailed as exc:
            raise audit.Unreadable(
                'Server %s: %s' % (instance.uuid, exc))

    @staticmethod
    def _request_spec_mb(context, instance) -> int | None:
        try:
            return objects.RequestSpec.get_by_instance_uuid(
                context, instance.uuid).flavor.memory_mb
        except exception.RequestSpecNotFound:
            return None

    @staticmethod
    def _cells_mb(context, instance) -> int | None:
        topology = nodes.topology_of(context, instance)
        return None if topology is None else sum(nodes.cells_mb(topology))

    def _guest_mb(self, context, instance) -> int | None:
        if (instance.vm_state not in _HAS_LIVE_DOMAIN or
                not self.is_up(context, instance)):
            return None
        seen = _ask(
            instance, self._hosts.observe_memory, context, instance)
        return None if seen is None else observations.from_document(
            seen).guest.present_mb


def _ask(instance, method, *arguments):
    """Call a method of the host of a server.

    :raises Unreadable: if the host does not answer, or refuses
    """
    try:
        return method(*arguments)
    except (exception.NovaException,
            messaging.MessagingException) as exc:
        sentence = (errors.HostUnaware() if rpcapi.is_unsupported(exc)
                    else exc)
        raise audit.Unreadable('Server %s: host %s: %s' % (
            instance.uuid, instance.host, sentence))
