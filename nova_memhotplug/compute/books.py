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

"""Nova's books of one server: placement, the instance, the host's usage."""

import typing as ty

from nova.compute import resource_tracker
from nova import exception
from nova import utils
import os_resource_classes as orc
from oslo_log import log as logging
from oslo_utils import excutils

from nova_memhotplug.common import nodes
from nova_memhotplug.common import placement
from nova_memhotplug.compute import notes
from nova_memhotplug.core import errors
from nova_memhotplug.core import numa

LOG = logging.getLogger(__name__)


class Books:
    """Where Nova accounts for the memory of the servers of a host.

    :param reportclient: Nova's placement client
    :param tracker: Nova's ``ResourceTracker`` of the host
    :param take_note: makes a note of what the guest of an instance has; None
        where there are no guests
    """

    def __init__(self, reportclient, tracker, take_note=None):
        self._reportclient = reportclient
        self._placement = placement.Placement(reportclient)
        self._tracker = tracker
        self._take_note = take_note

    def allocated_mb(self, context, instance) -> int:
        """Read what a server has allocated in placement.

        :param context: the request context
        :param instance: a ``nova.objects.Instance``
        :returns: the amount, in MiB
        :raises NothingAllocated: if it has not even an allocation there
        :raises AccountingFailed: if placement does not say
        """
        return self._placement.allocated(context, instance)[1]

    def allocate(self, context, instance, total_mb: int, flavor=None) -> int:
        """Bring a server's allocation to what a total takes.

        What is missing is added to what is there, under the instance's lock,
        so that doing it again does no harm.

        :param context: the request context
        :param instance: a ``nova.objects.Instance``
        :param total_mb: RAM of the server, in MiB
        :param flavor: the flavor that counts, if not the instance's own
        :returns: by how much the allocation has grown, in MiB
        :raises HostFull: if the host has not that much
        :raises AccountingFailed: if placement does not do it
        """
        provider, delta_mb = self._placement.missing(
            context, instance, total_mb, flavor)
        try:
            self._change(context, instance, provider, delta_mb)
        except exception.AllocationUpdateFailed as exc:
            free_mb = self._free_mb(provider)
            if free_mb is not None and free_mb < delta_mb:
                raise errors.HostFull(asked_mb=delta_mb, free_mb=free_mb)
            raise errors.AccountingFailed(reason=exc.format_message())
        except placement.FAILURES as exc:
            raise errors.AccountingFailed(reason=exc)
        return delta_mb

    def claim_nodes(self, context, instance, cells_mb) -> None:
        """Claim memory, and huge pages, of the nodes that a server is on.

        Nova's own claims hold the same lock, so what has been found free
        cannot be claimed by another before this is written.

        :param context: the request context
        :param instance: a ``nova.objects.Instance``; saved
        :param cells_mb: RAM that each of its NUMA cells is to have, in MiB
        :raises HostNodeFull: if a node has not that much
        :raises AccountingFailed: if its guest has other cells than Nova has
            on record
        """
        @utils.synchronized(
            resource_tracker.COMPUTE_RESOURCE_SEMAPHORE, fair=True)
        def locked():
            if instance.numa_topology is None:
                return
            nodes.check_cells(instance.numa_topology, cells_mb)
            if not self._tracker.disabled(instance.node):
                nodes.check_room(
                    self._tracker.compute_nodes[instance.node],
                    instance.numa_topology, cells_mb)
            before = self._usage(instance)
            _save(instance, _Record.of(instance)._replace(
                numa_topology=nodes.resized(
                    instance.numa_topology, cells_mb)))
            self._track(context, instance, before)

        locked()

    def commit(
        self, context, instance, total_mb: int, cells_mb, flavor=None,
    ) -> None:
        """Write a new total into the instance and the host's usage.

        The note of the guest goes with it. All change while the resource
        tracker is held, so that its periodic task sees them before or after,
        and never counts memory twice.

        :param context: the request context
        :param instance: a ``nova.objects.Instance``; saved
        :param total_mb: RAM it has, in MiB
        :param cells_mb: RAM that each of its NUMA cells has, in MiB; does
            not count for one that has none for Nova
        :param flavor: a flavor it changes to; None to keep its own
        :raises AccountingFailed: if its guest has other cells than Nova has
            on record
        """
        new = (flavor or instance.flavor).obj_clone()
        new.memory_mb = total_mb
        topology = instance.numa_topology
        if topology is not None:
            nodes.check_cells(topology, cells_mb)
            topology = nodes.resized(topology, cells_mb)
            new.extra_specs = numa.with_cells(
                new.extra_specs, cells_mb)
        record = _Record(new, total_mb, new.id, topology)
        note = self._take_note and self._take_note(instance)

        @utils.synchronized(
            resource_tracker.COMPUTE_RESOURCE_SEMAPHORE, fair=True)
        def locked():
            before = self._usage(instance)
            _save_with_note(context, instance, record, note)
            self._track(context, instance, before)

        locked()

    def _change(self, context, instance, provider, delta_mb: int) -> None:
        change = {provider: {'resources': {orc.MEMORY_MB: abs(delta_mb)}}}
        if delta_mb > 0:
            self._reportclient.add_resources_to_instance_allocation(
                context, instance.uuid, change)
        elif delta_mb < 0:
            self._reportclient.remove_resources_from_instance_allocation(
                context, instance.uuid, change)

    def _free_mb(self, provider) -> int | None:
        """Ask placement what a host has free; None if it does not say."""
        try:
            return self._placement.free_mb(provider)
        except errors.AccountingFailed:
            LOG.warning('Placement does not tell what is free on %s.',
                        provider, exc_info=True)
            return None

    def _usage(self, instance):
        return self._tracker._get_usage_dict(instance, instance)

    def _track(self, context, instance, before) -> None:
        """Let the host's usage follow; Nova's own method does not.

        ResourceTracker.update_usage changes nothing for an instance that it
        tracks already (facts-nova.md, traps). A server that has just come
        here by a migration counts by that until the periodic task.
        """
        node = instance.node
        if self._tracker.disabled(node) or not (
                instance.uuid in self._tracker.tracked_instances or
                instance.uuid in self._tracker.tracked_migrations):
            return
        self._tracker._update_usage(before, node, sign=-1)
        self._tracker._update_usage(self._usage(instance), node, sign=1)
        try:
            self._tracker._update(
                context, self._tracker.compute_nodes[node])
        except Exception:
            LOG.warning('The usage of host %s is reported later, by the '
                        'periodic task.', node, exc_info=True)


class _Record(ty.NamedTuple):
    """What of an instance changes with its memory.

    :param flavor: a ``nova.objects.Flavor``
    :param memory_mb: its RAM, in MiB
    :param instance_type_id: its ID in the database
    :param numa_topology: a ``nova.objects.InstanceNUMATopology``, or None
    """

    flavor: ty.Any
    memory_mb: int
    instance_type_id: int
    numa_topology: ty.Any

    @classmethod
    def of(cls, instance) -> '_Record':
        return cls(*(getattr(instance, field) for field in cls._fields))

    def put(self, instance) -> None:
        for field, value in self._asdict().items():
            if getattr(instance, field) is not value:
                setattr(instance, field, value)


def _save_with_note(context, instance, record: _Record, note) -> None:
    """Save an instance with the note of its guest."""
    metadata = notes.put(context, instance, note)
    try:
        _save(instance, record)
    except Exception:
        with excutils.save_and_reraise_exception():
            instance.system_metadata = metadata
            instance.obj_reset_changes(['system_metadata'])


def _save(instance, record: _Record) -> None:
    """Save an instance; leave nothing unsaved in it if that fails, because
    Nova saves it again when it resets the task state.
    """
    before = _Record.of(instance)
    record.put(instance)
    try:
        instance.save()
    except Exception:
        with excutils.save_and_reraise_exception():
            before.put(instance)
            instance.obj_reset_changes(_Record._fields)
