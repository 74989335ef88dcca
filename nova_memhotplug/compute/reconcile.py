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

"""Bring Nova's books to what guests have (design T2).

There is no list of operations under way that could be lost. What a guest has
is in its live domain; a server without one starts with what its flavor says.
At service start all servers of the host are compared, later those that
something has happened to (``compute.sweep``).
"""

from collections.abc import Callable
import contextlib
import typing as ty

from nova.compute import task_states
from nova.compute import utils as compute_utils
from nova.compute import vm_states
from nova import context as nova_context
from nova import exception
from nova import objects
from nova import utils
from oslo_log import log as logging

from nova_memhotplug.common import history
from nova_memhotplug.common import options
from nova_memhotplug.common import placement
from nova_memhotplug.common import states
from nova_memhotplug.compute import books
from nova_memhotplug.compute import due
from nova_memhotplug.compute import follow
from nova_memhotplug.compute import look
from nova_memhotplug.compute import release
from nova_memhotplug.compute import sweep
from nova_memhotplug.core import domain
from nova_memhotplug.core import drift

CONF = options.CONF
LOG = logging.getLogger(__name__)

#: Names of the instance action and of its event.
RECONCILE_MEMORY = 'reconcileMemory'
EVENT = 'compute_reconcile_memory'

#: What is read of the servers of a host, with the servers.
_ATTRIBUTES = ['flavor', 'numa_topology', 'system_metadata']
#: What of an instance says how much memory it has.
_FIELDS = ('flavor', 'memory_mb', 'instance_type_id', 'numa_topology')
#: States in which the guest of a server may run, and is the truth. While Nova
#: resizes a server cold, it keeps two flavors and knows which one counts.
_MAY_RUN = (*states.SETTLED, vm_states.ERROR)


class Reconciler:
    """Compares the servers of a host with the books.

    :param host: name of the host
    :param guests: the ``virt.guest.Guests`` of the host
    :param ledger: where Nova accounts for its servers
    :param records: reads what placement has on record
    :param use: has a guest use what it was given, by the UUID of its server
    :param follower: the ``Follower`` of the host
    """

    def __init__(
        self, host: str, guests: ty.Any, ledger: books.Books,
        records: placement.Placement, use: Callable[[str], None],
        follower: follow.Follower,
    ):
        self._host = host
        self._guests = guests
        self._books = ledger
        self._due = due.DueList()
        self._back_off = due.BackOff()
        self._use = use
        self._releases = release.Releases(guests, self)
        self._sweep = sweep.Sweep(
            host, guests, ledger, records, self._due, self, use,
            follower, self._releases)

    def remember(
        self, instance: ty.Any, is_cut_short: bool = False,
    ) -> None:
        """Look at a server again, with the next periodic tasks.

        :param instance: a ``nova.objects.Instance``
        :param is_cut_short: whether libvirt's daemon went away while it added
            memory
        """
        self._due.remember(instance.uuid, is_cut_short)

    def expect(self, instance: ty.Any) -> None:
        """Follow a guest that was asked just now to give memory back.

        :param instance: a ``nova.objects.Instance``
        """
        self._releases.expect(instance.uuid, is_new=True)

    def size_changed(self, uuid: str) -> None:
        """Follow a guest that has taken memory, or has given some back.

        Some kernels leave what they take offline, and take no more until it
        is brought online (facts-guests.md, 0.1).

        :param uuid: UUID of its server
        """
        if not self._releases.has_changed(uuid):
            self._use(uuid)

    def run_due(self) -> None:
        """Look at what needs it: at service start, all servers of the host.

        Servers whose request has got lost are released first. Whatever goes
        wrong must not keep the service from starting, or Nova from computing
        the usage of the host. Where somebody does not answer, the servers
        that are left wait for a later period.
        """
        context = nova_context.get_admin_context()
        try:
            self._release_lost(context)
            if self._back_off.is_over():
                self._sweep.run(context)
                self._back_off.succeeded()
        except Exception as exc:
            self._back_off.failed()
            LOG.warning('The memory of servers of this host could not be '
                        'compared with the books; a later periodic task goes '
                        'on: %s', exc, exc_info=True)

    def server(self, context: ty.Any, instance: ty.Any) -> bool:
        """Bring the books of one server to what its guest has.

        :param context: an admin's request context
        :param instance: a ``nova.objects.Instance``, locked by the caller
        :returns: whether anything was different
        :raises ForeignDevices: if it has memory that must not be adopted
        :raises MemoryHotplugError: if it could not be done
        """
        if not self._is_ours(instance):
            return False
        guest = self._read(instance)
        return self.settle(
            context, instance, guest, self._allocated_mb(context, instance))

    def settle(
        self, context: ty.Any, instance: ty.Any,
        guest: domain.GuestMemory | None, allocated_mb: int,
    ) -> bool:
        """Bring the books of a server to what was read of it just now.

        :param context: an admin's request context
        :param instance: a ``nova.objects.Instance``, locked by the caller
        :param guest: what its live domain has; None if it does not run
        :param allocated_mb: what it has allocated in placement, in MiB
        :returns: whether anything was different
        :raises ForeignDevices: if it has memory that must not be adopted
        :raises MemoryHotplugError: if it could not be done
        """
        found = books.compare(instance, guest, allocated_mb)
        if found.exists:
            with self._record(instance):
                self._correct(context, instance, found, guest)
        return found.exists

    def give_back(self, context: ty.Any, instance: ty.Any) -> None:
        """Undo what a failed resize has claimed, as part of that resize.

        So is what nova-api has reserved of the quota for it.

        :param context: an admin's request context
        :param instance: a ``nova.objects.Instance``, locked by the caller
        :raises MemoryHotplugError: if it could not be done
        """
        guest = self._read(instance)
        found = books.compare(
            instance, guest, self._allocated_mb(context, instance),
            is_reserved=False)
        if found.exists:
            self._correct(context, instance, found, guest)

    def tell(self, instance: ty.Any) -> None:
        """Have the domain of a server name the flavor that it has.

        Exporters and Ceilometer read it there. Nothing of Nova's does, and
        the next start of the guest writes it anew.

        :param instance: a ``nova.objects.Instance`` whose guest runs
        """
        try:
            self._guests.of(instance).tell_flavor(instance.flavor)
        except Exception:
            LOG.warning('The metadata of the domain keep the flavor that the '
                        'server had.', instance=instance, exc_info=True)

    def before_stop(self, instance: ty.Any) -> None:
        """Keep what a guest has that is about to be stopped (design T11).

        Its live domain is the truth, and goes. Another writer of Nova may
        have put an older flavor back into the record of the server, and the
        next domain is made from that. Some callers hold the lock of the
        server and some do not, so it is not taken here: whatever stops a
        guest has put it into a task state, which keeps others away.

        This never keeps the guest from being stopped.

        :param instance: a ``nova.objects.Instance``; what it says of its
            memory is brought to what the guest has
        """
        if (instance.host != self._host or
                not states.is_elastic(instance.flavor) or
                instance.vm_state not in _MAY_RUN or
                instance.task_state == task_states.DELETING):
            return
        try:
            guest = self._read(instance)
            if guest and guest.present_mb != instance.flavor.memory_mb:
                self._keep(instance, guest)
        except Exception:
            LOG.warning('It could not be made sure that this server keeps '
                        'the memory that was added.', instance=instance,
                        exc_info=True)
            self.remember(instance)

    def _keep(self, instance: ty.Any, guest: domain.GuestMemory) -> None:
        context = nova_context.get_admin_context()
        stored = objects.Instance.get_by_uuid(
            context, instance.uuid, expected_attrs=_ATTRIBUTES)
        for field in _FIELDS:
            setattr(instance, field, getattr(stored, field))
        instance.obj_reset_changes(_FIELDS)
        found = books.compare(instance, guest, allocated_mb=None)
        if not found.instance_differs:
            return
        self.remember(instance)
        with self._record(instance):
            # Nova has claimed for a server that moves, on its next host.
            self._correct(
                context, instance, found, guest, is_allocated_here=(
                    instance.task_state != task_states.RESIZE_MIGRATING))

    def after_arrival(self, context: ty.Any, instance: ty.Any) -> None:
        """Claim the rest for a server that has come here by a cold migration.

        The scheduler has claimed what was known before its guest was
        stopped; see ``before_stop``.

        :param context: a request context
        :param instance: a ``nova.objects.Instance`` whose guest was started
        """
        self.remember(instance)
        try:
            self._books.allocate(
                context, instance, instance.flavor.memory_mb)
        except Exception:
            LOG.warning('What this server has allocated could not be '
                        'compared with its flavor; a later periodic task '
                        'does it.', instance=instance, exc_info=True)

    def renew_note(self, context: ty.Any, instance: ty.Any) -> None:
        """Leave a note of what the guest of a server has now.

        :param context: an admin's request context
        :param instance: a ``nova.objects.Instance``, locked by the caller
        :raises MemoryHotplugError: if that cannot be read; the note that it
            has stays
        """
        if self._is_ours(instance):
            note = look.note_of(self._read(instance), instance)
            books.leave_note(context, instance, note)

    def _is_ours(self, instance: ty.Any) -> bool:
        return instance.host == self._host and states.is_settled(instance)

    def _read(self, instance: ty.Any) -> domain.GuestMemory | None:
        """Read what the guest has; None if it does not run."""
        try:
            memory = self._guests.of(instance)
        except exception.InstanceNotFound:
            return None
        if not memory.is_running():
            return None
        return ty.cast(domain.GuestMemory, memory.read())

    def _allocated_mb(self, context: ty.Any, instance: ty.Any) -> int:
        return self._books.allocation(context, instance).memory_mb

    def _record(
        self, instance: ty.Any,
    ) -> contextlib.AbstractContextManager[ty.Any]:
        """Record an instance action with its event.

        It has a request of its own: Nova finds an action by its request, and
        the one under way may have an action already.
        """
        context = nova_context.get_admin_context()
        objects.InstanceAction.action_start(
            context, instance.uuid, RECONCILE_MEMORY, want_result=False)
        return ty.cast(
            contextlib.AbstractContextManager[ty.Any],
            compute_utils.EventReporter(
                context, EVENT, self._host, instance.uuid))

    def _correct(
        self, context: ty.Any, instance: ty.Any, found: drift.Drift,
        guest: domain.GuestMemory | None, is_allocated_here: bool = True,
    ) -> None:
        # The guest has what it has, whether or not the host is full.
        if found.instance_differs:
            self._books.commit(
                context, instance, found.present_mb, found.cells_mb,
                books.annotated(
                    books.read_metadata(context, instance),
                    look.note_of(guest, instance)),
                boot_mb=guest.kept_boot_mb if guest else None)
            self._books.report(instance)
            if guest is not None:
                self.tell(instance)
        known_mb = found.record.allocated_mb
        if is_allocated_here and known_mb != found.expected_mb:
            self._books.allocate(context, instance, found.present_mb)
        LOG.warning(
            'Books corrected: flavor from %(books)d to %(present)d MiB, '
            'allocation from %(allocated)s to %(expected)d MiB.', {
                'books': found.record.flavor_mb,
                'present': found.present_mb,
                'allocated': 'unknown' if known_mb is None else known_mb,
                'expected': found.expected_mb},
            instance=instance)

    def _release_lost(self, context: ty.Any) -> None:
        """Release servers that wait for a request which never comes.

        nova-api puts a server into the task state ``resize_prep`` and then
        casts the request. If nova-api dies in between, or the broker loses
        the message, nobody else knows of it.
        """
        waiting = objects.InstanceList.get_by_filters(
            context, {'host': self._host, 'deleted': False,
                      'task_state': task_states.RESIZE_PREP},
            expected_attrs=['flavor'])
        for instance in waiting:
            try:
                # Whoever works on a request has the lock: it is not waited
                # for.
                if _lost_request(context, instance):
                    utils.synchronized(instance.uuid)(self._release)(
                        context, instance)
            except exception.InstanceNotFound:
                LOG.debug('The server is gone.', instance=instance)
            except Exception:
                LOG.warning('It cannot be told whether a request has got '
                            'lost; the next periodic task tries again.',
                            instance=instance, exc_info=True)

    def _release(self, context: ty.Any, instance: ty.Any) -> None:
        instance.refresh()
        request_id = _lost_request(context, instance)
        if request_id is None:
            return
        instance.task_state = None
        # What nova-api has reserved of the quota is given back.
        instance.memory_mb = instance.flavor.memory_mb
        instance.save(expected_task_state=[task_states.RESIZE_PREP])
        self.remember(instance)
        timeout = CONF.memhotplug.lost_request_timeout
        LOG.warning(
            'Request %(request)s to resize the memory of this server has '
            'not arrived after %(seconds)d seconds: given up.',
            {'request': request_id, 'seconds': timeout}, instance=instance)
        history.give_up(instance, request_id, self._host, timeout)


def _lost_request(context: ty.Any, instance: ty.Any) -> str | None:
    return history.lost_request(
        context, instance, CONF.memhotplug.lost_request_timeout)
