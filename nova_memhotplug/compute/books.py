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

from collections.abc import Sequence
import typing as ty

from nova.compute import resource_tracker
from nova.compute import task_states
from nova import exception
from nova import objects
from nova import utils
from oslo_log import log as logging
from oslo_utils import excutils

from nova_memhotplug.common import nodes
from nova_memhotplug.common import options
from nova_memhotplug.common import placement
from nova_memhotplug.core import accounting
from nova_memhotplug.core import domain
from nova_memhotplug.core import drift
from nova_memhotplug.core import notes
from nova_memhotplug.core import numa

CONF = options.CONF
LOG = logging.getLogger(__name__)

Metadata = dict[str, str]


class Books:
    """Where Nova accounts for the memory of the servers of a host.

    :param reportclient: Nova's placement client
    :param tracker: Nova's ``ResourceTracker`` of the host
    """

    def __init__(self, reportclient: ty.Any, tracker: ty.Any):
        self._placement = placement.Placement(reportclient)
        self._tracker = tracker

    def allocation(
        self, context: ty.Any, instance: ty.Any,
    ) -> placement.Allocation:
        """Read what a server has allocated. This is one request.

        :param context: the request context
        :param instance: a ``nova.objects.Instance`` of this host
        :returns: the allocation
        :raises NothingAllocated: if it has not even an allocation there
        :raises AccountingFailed: if placement does not say
        """
        return self._placement.allocation(
            context, instance.uuid, self.provider(context, instance))

    def allocate(
        self, context: ty.Any, instance: ty.Any, total_mb: int,
    ) -> None:
        """Bring a server's allocation to what a total takes.

        It is set to an amount, under the instance's lock, so that doing it
        again does no harm.

        :param context: the request context
        :param instance: a ``nova.objects.Instance``
        :param total_mb: RAM of the server, in MiB
        :raises HostFull: if the host has not that much
        :raises AccountingFailed: if placement does not do it
        """
        self._allocate(
            context, instance, self.allocation(context, instance), total_mb)

    def claim(
        self, context: ty.Any, instance: ty.Any,
        found: placement.Allocation, total_mb: int, cells_mb: Sequence[int],
        flavor: ty.Any = None,
    ) -> None:
        """Claim what a server needs for a total: in placement, on its nodes.

        :param context: the request context
        :param instance: a ``nova.objects.Instance``; saved if it is bound to
            nodes
        :param found: what it has allocated
        :param total_mb: RAM it is to have, in MiB
        :param cells_mb: RAM that each of its NUMA cells is to have, in MiB
        :param flavor: a flavor it changes to; None to keep its own
        :raises HostFull: if the host has not that much
        :raises HostNodeFull: if a node has not that much
        :raises AccountingFailed: if placement does not do it, or the guest
            has other cells than Nova has on record
        """
        self._allocate(context, instance, found, total_mb, flavor)
        if instance.numa_topology is not None:
            self._claim_nodes(context, instance, cells_mb)

    def commit(
        self, context: ty.Any, instance: ty.Any, total_mb: int,
        cells_mb: Sequence[int], metadata: Metadata,
        flavor: ty.Any = None, ends_task: bool = False,
        boot_mb: int | None = None,
    ) -> None:
        """Write a new total into the instance and the host's usage.

        Both change while the resource tracker is held, so that its periodic
        task sees them before or after, and never counts memory twice. The
        usage is not reported yet.

        :param context: the request context
        :param instance: a ``nova.objects.Instance``; saved
        :param total_mb: RAM it has, in MiB
        :param cells_mb: RAM that each of its NUMA cells has, in MiB; does
            not count for one that has none for Nova
        :param metadata: its system metadata, with the note of its guest as
            it is now; see ``annotated``
        :param flavor: a flavor it changes to; None to keep its own
        :param ends_task: whether the resize ends with it, and so the task
            state
        :param boot_mb: what of the total a fresh domain boots with, in MiB;
            None for all
        :raises AccountingFailed: if its guest has other cells than Nova has
            on record
        """
        record = _Record.resized(
            instance, total_mb, cells_mb, flavor, boot_mb)

        @utils.synchronized(
            resource_tracker.COMPUTE_RESOURCE_SEMAPHORE, fair=True)
        def locked() -> None:
            before = self._usage(instance)
            _save(instance, record._replace(system_metadata=metadata),
                  ends_task)
            self._track(instance, before)

        locked()

    def report(self, instance: ty.Any) -> None:
        """Report the usage of a server's host to Nova.

        It does not fail: if it is not done, the periodic task of the resource
        tracker does it. What placement has on record of the host itself stays
        as it is.

        :param instance: a ``nova.objects.Instance`` of this host
        """
        @utils.synchronized(
            resource_tracker.COMPUTE_RESOURCE_SEMAPHORE, fair=True)
        def locked() -> None:
            if not self._tracker.disabled(instance.node):
                self._tracker.compute_nodes[instance.node].save()

        try:
            locked()
        except Exception:
            LOG.warning('The usage of host %s is reported later, by the '
                        'periodic task.', instance.node, exc_info=True)

    def provider(self, context: ty.Any, instance: ty.Any) -> str:
        """Find the resource provider of a server's host.

        Nova gives it the UUID of the compute node, which the tracker knows
        as soon as it has looked at the host once.

        :param context: a request context
        :param instance: a ``nova.objects.Instance`` of this host
        :returns: the UUID of the provider
        :raises AccountingFailed: if nobody tells
        """
        node = self._tracker.compute_nodes.get(instance.node)
        if node is not None:
            return str(node.uuid)
        return self._placement.provider(context, instance)

    def _allocate(
        self, context: ty.Any, instance: ty.Any,
        found: placement.Allocation, total_mb: int, flavor: ty.Any = None,
    ) -> None:
        self._placement.set_memory(context, found, accounting.allocation_mb(
            total_mb, (flavor or instance.flavor).extra_specs))

    def _claim_nodes(
        self, context: ty.Any, instance: ty.Any, cells_mb: Sequence[int],
    ) -> None:
        """Claim memory, and huge pages, of the nodes that a server is on.

        Nova's own claims hold the same lock, so what has been found free
        cannot be claimed by another before this is written.
        """
        @utils.synchronized(
            resource_tracker.COMPUTE_RESOURCE_SEMAPHORE, fair=True)
        def locked() -> None:
            topology = instance.numa_topology
            nodes.check_cells(topology, cells_mb)
            if not self._tracker.disabled(instance.node):
                nodes.check_room(
                    self._tracker.compute_nodes[instance.node], topology,
                    cells_mb)
            before = self._usage(instance)
            _save(instance, _Record.of(instance)._replace(
                numa_topology=nodes.resized(topology, cells_mb)))
            self._track(instance, before)

        locked()
        self.report(instance)

    def _usage(self, instance: ty.Any) -> ty.Any:
        return self._tracker._get_usage_dict(instance, instance)

    def _track(self, instance: ty.Any, before: ty.Any) -> None:
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


def compare(
    instance: ty.Any, guest: domain.GuestMemory | None,
    allocated_mb: int | None, is_reserved: bool | None = None,
) -> drift.Drift:
    """Compare an instance with its guest.

    :param instance: a ``nova.objects.Instance``
    :param guest: what its live domain has; None if it does not run
    :param allocated_mb: what it has allocated, in MiB; None to leave that
        out
    :param is_reserved: whether nova-api has reserved the wanted total in the
        instance; None to tell by its task state
    :returns: what differs
    :raises ForeignDevices: if it has memory that must not be adopted
    """
    flavor = instance.flavor
    if is_reserved is None:
        is_reserved = instance.task_state == task_states.RESIZE_PREP
    record = drift.Record(
        flavor_mb=flavor.memory_mb,
        instance_mb=flavor.memory_mb if is_reserved else instance.memory_mb,
        allocated_mb=allocated_mb,
        cells_mb=nodes.cells_mb(instance.numa_topology),
        extra_specs=flavor.extra_specs)
    return drift.compare(
        record, guest, CONF.memhotplug.adopt_foreign_devices)


def leave_note(
    context: ty.Any, instance: ty.Any, note: str | None,
    no_room: str | None = None,
) -> None:
    """Leave a note with an instance whose guest was just started.

    Nova saves the instance once more when the guest is up, but not where it
    starts guests again after a reboot of the host. Nothing is wrong with a
    server whose note is missing: plans ask its host.

    :param context: a request context
    :param instance: a ``nova.objects.Instance``; saved
    :param note: the note; None for none
    :param no_room: why it was started without room for growth; empty if it
        has that room; None to leave that as it is
    """
    try:
        metadata = annotated(read_metadata(context, instance), note)
        if no_room is not None:
            metadata.pop(notes.NO_ROOM, None)
        if no_room:
            metadata[notes.NO_ROOM] = no_room[:notes.MAX_LENGTH]
        instance.system_metadata = metadata
        instance.save()
    except Exception:
        LOG.warning('The note of the memory of this server is not saved.',
                    instance=instance, exc_info=True)


def read_metadata(context: ty.Any, instance: ty.Any) -> Metadata:
    """Read the system metadata of an instance again.

    They are saved as a whole, and nova-api writes into them, too: the reason
    of a lock, for example. What Nova has changed in them and will save
    stays.

    :param context: a request context
    :param instance: a ``nova.objects.Instance``
    :returns: the system metadata
    :raises nova.exception.InstanceNotFound: if it has been deleted
    """
    if 'system_metadata' in instance.obj_what_changed():
        return dict(instance.system_metadata)
    return dict(objects.Instance.get_by_uuid(
        context, instance.uuid,
        expected_attrs=['system_metadata']).system_metadata)


def annotated(metadata: Metadata, note: str | None) -> Metadata:
    """Put a note in the place of the one in an instance's system metadata.

    :param metadata: the system metadata, as they were read just now
    :param note: the note; None for none
    :returns: the system metadata to be saved
    """
    others = {key: value for key, value in metadata.items()
              if key != notes.KEY}
    return others if note is None else others | {notes.KEY: note}


class _Record(ty.NamedTuple):
    """What of an instance changes with its memory.

    :param flavor: a ``nova.objects.Flavor``
    :param memory_mb: its RAM, in MiB
    :param instance_type_id: its ID in the database
    :param numa_topology: a ``nova.objects.InstanceNUMATopology``, or None
    :param system_metadata: with the note of its guest
    """

    flavor: ty.Any
    memory_mb: int
    instance_type_id: int
    numa_topology: ty.Any
    system_metadata: ty.Any

    @classmethod
    def of(cls, instance: ty.Any) -> '_Record':
        return cls(*(getattr(instance, field) for field in cls._fields))

    @classmethod
    def resized(
        cls, instance: ty.Any, total_mb: int, cells_mb: Sequence[int],
        flavor: ty.Any, boot_mb: int | None,
    ) -> '_Record':
        """Make the record of an instance that has another total."""
        new = (flavor or instance.flavor).obj_clone()
        new.memory_mb = total_mb
        new.extra_specs = accounting.with_total(
            new.extra_specs, total_mb, boot_mb)
        topology = instance.numa_topology
        if topology is not None:
            nodes.check_cells(topology, cells_mb)
            topology = nodes.resized(topology, cells_mb)
            new.extra_specs = numa.with_cells(new.extra_specs, cells_mb)
        return cls(new, total_mb, new.id, topology,
                   instance.system_metadata)

    def put(self, instance: ty.Any) -> None:
        for field, value in self._asdict().items():
            if getattr(instance, field) is not value:
                setattr(instance, field, value)


def _save(
    instance: ty.Any, record: _Record, ends_task: bool = False,
) -> None:
    """Save an instance; leave nothing unsaved in it if that fails, because
    Nova saves it again when it resets the task state.
    """
    before = _Record.of(instance)
    record.put(instance)
    try:
        if ends_task:
            _save_last(instance)
        else:
            instance.save()
    except Exception:
        with excutils.save_and_reraise_exception():
            before.put(instance)
            instance.obj_reset_changes(_Record._fields)


def _save_last(instance: ty.Any) -> None:
    """Save an instance, and end its task state with it.

    An administrator may have reset the state meanwhile, and something else
    may have begun: the guest has the memory all the same.
    """
    instance.task_state = None
    try:
        instance.save(expected_task_state=[task_states.RESIZE_PREP])
    except exception.UnexpectedTaskStateError as exc:
        LOG.warning('The task state was changed by another: %s', exc,
                    instance=instance)
        instance.obj_reset_changes(['task_state'])
        instance.save()
