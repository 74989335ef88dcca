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

"""After a crash: bring Nova's books to what guests have (design T2).

There is no list of operations under way that could be lost. What a guest has
is in its live domain; a server without one starts with what its flavor says.
"""

import dataclasses

from nova.compute import utils as compute_utils
from nova import conf as nova_conf
from nova import context as nova_context
from nova import exception
from nova import objects
from nova import utils
from oslo_log import log as logging

from nova_memhotplug.common import nodes
from nova_memhotplug.common import states
from nova_memhotplug.compute import lost
from nova_memhotplug.core import accounting
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors

CONF = nova_conf.CONF
LOG = logging.getLogger(__name__)

#: Names of the instance action and of its event.
RECONCILE_MEMORY = 'reconcileMemory'
EVENT = 'compute_reconcile_memory'

#: How often a server is looked at again: a guest may let go of a device some
#: time after it was asked to.
LOOKS = 5


@dataclasses.dataclass(frozen=True)
class Drift:
    """What the books say and what they should say, in MiB.

    ``cells_mb`` and ``present_cells_mb`` are about the NUMA cells; both are
    empty for a server that has none for Nova.
    """

    books_mb: int
    instance_mb: int
    allocated_mb: int
    cells_mb: tuple[int, ...]
    present_mb: int
    expected_mb: int
    present_cells_mb: tuple[int, ...]

    @property
    def exists(self) -> bool:
        """Whether anything differs."""
        return (self.instance_differs or
                self.allocated_mb != self.expected_mb)

    @property
    def instance_differs(self) -> bool:
        """Whether the instance, its flavor or a NUMA cell differs."""
        return ({self.books_mb, self.instance_mb} != {self.present_mb} or
                self.cells_mb != self.present_cells_mb)


class Reconciler:
    """Compares the servers of a host with the books.

    :param host: name of the host
    :param guests: the ``virt.guest.Guests`` of the host
    :param books: where Nova accounts for its servers
    """

    def __init__(self, host, guests, books):
        self._host = host
        self._guests = guests
        self._books = books
        # How often servers still need a look, by UUID; None for all of the
        # host, at service start.
        self._due = None

    def remember(self, instance) -> None:
        """Look at a server again later, when this failed just now."""
        if self._due is not None:
            self._due[instance.uuid] = LOOKS

    def run_due(self) -> None:
        """Look at what needs it: at service start, all servers of the host.

        Servers whose request has got lost are released first.

        Whatever goes wrong with one server must not keep the service from
        starting or the others from being looked at.
        """
        context = nova_context.get_admin_context()
        lost.release(context, self._host)
        due, self._due = self._due, {}
        if due is not None and not due:
            return
        self._due = {uuid: looks - 1 for uuid, looks in (due or {}).items()
                     if looks > 1}
        instances = objects.InstanceList.get_by_host(
            context, self._host, expected_attrs=['flavor', 'numa_topology'])
        for instance in instances:
            if due is None or instance.uuid in due:
                self._try(context, instance)

    def server(
        self, context, instance, task_state=None,
    ) -> Drift | None:
        """Bring the books of one server to what its guest has.

        :param context: an admin's request context
        :param instance: a ``nova.objects.Instance``, locked by the caller
        :param task_state: the task state in which the caller has put it
        :returns: what was different; None if nothing was
        :raises ForeignDevices: if it has memory that must not be adopted
        :raises MemoryHotplugError: if it could not be done
        """
        if not self._is_ours(instance, task_state):
            return None
        drift = self._drift(context, instance)
        if not drift.exists:
            return None
        with self._record(instance):
            self._correct(context, instance, drift)
        return drift

    def settle(self, context, instance, guest, allocated_mb) -> bool:
        """Bring the books of a server to its guest, before a resize.

        :param context: an admin's request context
        :param instance: a ``nova.objects.Instance``, locked by the caller
        :param guest: what its live domain has
        :param allocated_mb: what it has allocated, in MiB
        :returns: whether anything was different
        :raises ForeignDevices: if it has memory that must not be adopted
        """
        self._check_foreign(instance, guest)
        drift = self._compare(instance, guest, allocated_mb)
        # nova-api has reserved what is wanted in the instance.
        drift = dataclasses.replace(drift, instance_mb=drift.books_mb)
        if drift.exists:
            with self._record(instance):
                self._correct(context, instance, drift)
        return drift.exists

    def give_back(self, context, instance) -> None:
        """Undo what a failed resize has claimed, as part of that resize.

        :param context: an admin's request context
        :param instance: a ``nova.objects.Instance``, locked by the caller
        :raises MemoryHotplugError: if it could not be done
        """
        drift = self._drift(context, instance)
        if drift.exists:
            self._correct(context, instance, drift)

    def _try(self, context, instance):
        @utils.synchronized(instance.uuid)
        def locked():
            instance.refresh()
            self.server(context, instance)

        try:
            locked()
        except (errors.ForeignDevices, errors.HostFull) as exc:
            LOG.error('%s', exc, instance=instance)
        except exception.InstanceNotFound:
            LOG.debug('The server is gone.', instance=instance)
        except Exception:
            LOG.warning('The memory of this server could not be compared '
                        'with the books; the next periodic task tries '
                        'again.', instance=instance, exc_info=True)
            self.remember(instance)

    def _is_ours(self, instance, task_state) -> bool:
        return (states.is_settled(instance, task_state) and
                instance.host == self._host)

    def _drift(self, context, instance) -> Drift:
        guest = self._guest(instance)
        return self._compare(
            instance, guest,
            self._books.allocation(context, instance).memory_mb)

    def _compare(self, instance, guest, allocated_mb):
        # Without a guest, it starts with what the flavor says.
        present_mb = guest.present_mb if guest else instance.flavor.memory_mb
        cells_mb = nodes.cells_mb(instance.numa_topology)
        if not cells_mb:
            present_cells_mb = cells_mb
        elif guest:
            present_cells_mb = guest.own_cells_mb
        else:
            present_cells_mb = nodes.settled_cells_mb(instance)
        return Drift(
            books_mb=instance.flavor.memory_mb,
            instance_mb=instance.memory_mb,
            allocated_mb=allocated_mb,
            cells_mb=cells_mb,
            present_mb=present_mb,
            expected_mb=accounting.allocation_mb(
                present_mb, instance.flavor.extra_specs),
            present_cells_mb=present_cells_mb)

    def _guest(self, instance) -> domain.GuestMemory | None:
        """Read what the guest has; None if it does not run.

        :raises ForeignDevices: if it has memory that must not be adopted
        """
        try:
            memory = self._guests.of(instance)
        except exception.InstanceNotFound:
            return None
        if not memory.is_running():
            return None
        memory.forget_gone()
        guest = memory.read()
        self._check_foreign(instance, guest)
        return guest

    def _check_foreign(self, instance, guest):
        is_new = guest.present_mb != instance.flavor.memory_mb
        if (is_new and guest.foreign_mb and
                not CONF.memhotplug.adopt_foreign_devices):
            raise errors.ForeignDevices(foreign_mb=guest.foreign_mb)

    def _record(self, instance):
        """Record an instance action with its event.

        It has a request of its own: Nova finds an action by its request, and
        the one under way may have an action already.
        """
        context = nova_context.get_admin_context()
        objects.InstanceAction.action_start(
            context, instance.uuid, RECONCILE_MEMORY, want_result=False)
        return compute_utils.EventReporter(
            context, EVENT, self._host, instance.uuid)

    def _correct(self, context, instance, drift):
        # The guest has what it has, whether or not the host is full.
        if drift.instance_differs:
            self._books.commit(
                context, instance, drift.present_mb, drift.present_cells_mb)
        self._books.allocate(context, instance, drift.present_mb)
        LOG.warning(
            'Books corrected: flavor from %(books)d to %(present)d MiB, '
            'allocation from %(allocated)d to %(expected)d MiB.', {
                'books': drift.books_mb, 'present': drift.present_mb,
                'allocated': drift.allocated_mb,
                'expected': drift.expected_mb},
            instance=instance)
