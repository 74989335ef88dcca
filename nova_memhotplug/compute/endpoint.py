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

"""What nova-compute answers and does, in the RPC namespace ``memhotplug``.

Only exceptions of ``nova.exception`` may leave these methods: others do not
cross the wire (nova/rpc.py, ALLOWED_EXMODS).
"""

from collections.abc import Callable
from collections.abc import Sequence
import datetime
import typing as ty

from nova.compute import manager as compute_manager
from nova.compute import task_states
from nova.compute import utils as compute_utils
from nova.compute import vm_states
from nova import exception
from nova import objects
from nova import utils
from oslo_concurrency import lockutils
from oslo_log import log as logging
import oslo_messaging as messaging
import tenacity

from nova_memhotplug.common import history
from nova_memhotplug.common import rpcapi
from nova_memhotplug.compute import books
from nova_memhotplug.compute import follow
from nova_memhotplug.compute import look
from nova_memhotplug.compute import onlining
from nova_memhotplug.compute import reconcile
from nova_memhotplug.compute import resize
from nova_memhotplug.core import errors
from nova_memhotplug.core import observations
from nova_memhotplug.core import strategies
from nova_memhotplug.models import registry

LOG = logging.getLogger(__name__)

#: What a resize has to know of an instance, read at once.
_ATTRIBUTES = ['flavor', 'numa_topology', 'system_metadata']
#: Databases and messages round a time by less than this. A request is given
#: up much later (``[memhotplug] lost_request_timeout``).
_ROUNDING = datetime.timedelta(seconds=2)

#: Seconds between two tries to get the lock of a server that is only looked
#: at, and how long it is tried: whoever looks is done after a moment, but
#: whoever detaches a device is not.
LOCK_PAUSE, LOCK_WAIT = 0.1, 5


class MemHotplugEndpoint:
    """The endpoint beside Nova's own compute manager.

    :param manager: the ``nova.compute.manager.ComputeManager``
    :param guests: the ``virt.guest.Guests`` of the host
    :param ledger: the ``Books`` of the host
    :param reconciler: the ``Reconciler`` of the host
    :param onliner: the ``Onliner`` of the host
    :param follower: the ``Follower`` of the host
    :param land: says with which emulator a guest of another host can go on
        on this one; None for that which it has
    """

    target = messaging.Target(
        namespace=rpcapi.NAMESPACE, version=rpcapi.VERSION)

    def __init__(
        self, manager: ty.Any, guests: ty.Any, ledger: books.Books,
        reconciler: reconcile.Reconciler, onliner: onlining.Onliner,
        follower: follow.Follower,
        land: Callable[[strategies.Launch], str | None],
    ):
        self.host = manager.host
        self._manager = manager
        self._guests = guests
        self._books = ledger
        self._reconciler = reconciler
        self._onliner = onliner
        self._follower = follower
        self._land = land

    @messaging.expected_exceptions(
        exception.InstanceNotFound, exception.InternalError)
    def observe_memory(
        self, context: ty.Any, instance: ty.Any, ask_guest: bool = False,
    ) -> dict[str, ty.Any] | None:
        """Say what is known of the guest of a server.

        :param instance: a ``nova.objects.Instance``
        :param ask_guest: whether to ask the guest's agent, too
        :returns: the document of ``core.observations``; None if the guest
            does not run
        :raises nova.exception.InstanceNotFound: if it has no domain
        :raises nova.exception.InternalError: if its domain cannot be read
        """
        try:
            return observations.to_document(look.observe(
                self._guests, instance, ask_guest))
        except errors.GuestOff:
            return None
        except errors.MemoryHotplugError as exc:
            raise exception.InternalError(str(exc))

    @messaging.expected_exceptions(exception.InternalError)
    def get_totals(
        self, context: ty.Any, uuids: Sequence[str],
    ) -> dict[str, int | None]:
        """Say what guests of this host have.

        :param uuids: UUIDs of the servers that are asked for
        :returns: RAM of each of those that run, in MiB, by the server's
            UUID; None for a guest that cannot be read
        :raises nova.exception.InternalError: if libvirt does not list them
        """
        try:
            return ty.cast(
                dict[str, int | None], self._guests.totals(uuids))
        except errors.MemoryHotplugError as exc:
            raise exception.InternalError(str(exc))

    @messaging.expected_exceptions(exception.InternalError)
    def count_shims(self, context: ty.Any) -> dict[str, int]:
        """Count the guests of this host that name the emulator shim.

        :returns: how many do that are ``running``, that have such a
            ``stored`` definition, that are ``saved``
        :raises nova.exception.InternalError: if libvirt does not tell
        """
        try:
            return ty.cast(dict[str, int], self._guests.shim_users())
        except errors.MemoryHotplugError as exc:
            raise exception.InternalError(str(exc))

    @messaging.expected_exceptions(
        exception.InstanceNotFound, exception.InternalError)
    def get_launch(
        self, context: ty.Any, instance: ty.Any,
    ) -> dict[str, ty.Any]:
        """Say how the guest of a server was started.

        :param instance: a ``nova.objects.Instance``
        :returns: the document of ``core.strategies.Launch``
        :raises nova.exception.InstanceNotFound: if it has no domain
        :raises nova.exception.InternalError: if its domain cannot be read
        """
        try:
            guest = self._guests.of(instance).read()
            return strategies.Launch.of(
                guest, registry.elements()).document()
        except errors.MemoryHotplugError as exc:
            raise exception.InternalError(str(exc))

    def use_memory(self, context: ty.Any, instance: ty.Any) -> None:
        """Look soon whether a guest uses what it was given.

        :param instance: a ``nova.objects.Instance``
        """
        self._onliner.remember(instance.uuid)

    @messaging.expected_exceptions(exception.InternalError)
    def get_landing(
        self, context: ty.Any, launch: dict[str, ty.Any],
    ) -> dict[str, ty.Any]:
        """Say how a guest goes on that comes from another host.

        :param launch: the document of ``core.strategies.Launch``
        :returns: ``emulator``: the path of the emulator that it is to have
            here; None for that which it has
        :raises nova.exception.InternalError: if it cannot go on here
        """
        try:
            return {'emulator': self._land(
                strategies.Launch.from_document(launch))}
        except errors.MemoryHotplugError as exc:
            raise exception.InternalError(str(exc))

    @messaging.expected_exceptions(exception.ResizeError)
    @compute_manager.wrap_exception()
    def resize_memory(
        self, context: ty.Any, instance: ty.Any, memory_mb: int,
        flavor: ty.Any = None,
    ) -> None:
        """Bring a server to a wanted total.

        :param instance: a ``nova.objects.Instance`` in the task state
            ``resize_prep``
        :param memory_mb: RAM it is to have, in MiB
        :param flavor: the ``nova.objects.Flavor`` that it changes to; None
            to keep its own
        :raises nova.exception.ResizeError: if that could not be done
        """
        @utils.synchronized(instance.uuid)
        def locked() -> resize.MemoryResize | None:
            work = resize.MemoryResize(
                context.elevated(), instance, self._guests, self._books,
                self._reconciler)
            fresh = objects.Instance.get_by_uuid(
                context, instance.uuid, expected_attrs=_ATTRIBUTES)
            if (not _is_prompt(instance, fresh) and
                    history.is_over(context, fresh)):
                # It has an end on record, and another may be under way.
                LOG.warning('Request %s was given up before it arrived.',
                            context.request_id, instance=instance)
                return None
            self._resize(context, fresh, work, memory_mb, flavor)
            return work

        done = locked()
        if done is not None:
            done.follow(self._follower)
            done.see_it_stay()

    @compute_manager.reverts_task_state
    @compute_manager.wrap_instance_fault
    def _resize(
        self, context: ty.Any, instance: ty.Any, work: resize.MemoryResize,
        memory_mb: int, flavor: ty.Any,
    ) -> None:
        with compute_utils.EventReporter(
                context, history.EVENT, self.host, instance.uuid):
            self._check_still_wanted(instance)
            work.run(instance, memory_mb, flavor)
        work.report()

    @messaging.expected_exceptions(exception.ResizeError)
    def reconcile_memory(self, context: ty.Any, instance: ty.Any) -> None:
        """Bring the books of a server to what its guest has.

        It does not wait for what goes on with the server, but for whoever
        only looks at it, as this host does after each resize.

        :param instance: a ``nova.objects.Instance``
        :raises nova.exception.ResizeError: if that could not be done, or
            must not be; ``refusal`` among its ``kwargs`` is the code of the
            error
        """
        @utils.synchronized(instance.uuid, blocking=False)
        def locked() -> None:
            instance.refresh()
            self._reconciler.server(context.elevated(), instance)

        def unless_busy() -> None:
            try:
                locked()
            except lockutils.AcquireLockFailedException:
                instance.refresh()
                if instance.task_state is not None:
                    raise errors.Busy(task_state=instance.task_state)
                raise

        try:
            _try_to_lock(unless_busy)
        except lockutils.AcquireLockFailedException:
            raise _refused(errors.Busy(task_state=instance.task_state))
        except errors.MemoryHotplugError as exc:
            raise _refused(exc)

    def _check_still_wanted(self, instance: ty.Any) -> None:
        """Check that nothing has come in between since nova-api looked.

        The request may have waited in a queue while this service was down.
        """
        if (instance.host == self.host and
                instance.vm_state == vm_states.ACTIVE and
                instance.task_state == task_states.RESIZE_PREP):
            return
        # What nova-api has reserved of the quota is given back.
        self._reconciler.remember(instance)
        raise exception.UnexpectedTaskStateError(
            instance_uuid=instance.uuid,
            expected={'task_state': [task_states.RESIZE_PREP]},
            actual={'task_state': instance.task_state})

    def _instance_update(
        self, context: ty.Any, instance: ty.Any, **kwargs: ty.Any,
    ) -> ty.Any:
        """Let Nova's ``reverts_task_state`` write to the instance.

        What nova-api has reserved of the quota is given back.
        """
        return self._manager._instance_update(
            context, instance, memory_mb=instance.flavor.memory_mb, **kwargs)


def _is_prompt(sent: ty.Any, fresh: ty.Any) -> bool:
    """Tell whether a request arrives as nova-api has sent it.

    Whoever gives up a request saves the instance after nova-api did, and
    gives back the total that it had reserved.

    :param sent: the ``nova.objects.Instance`` that came with the request
    :param fresh: the instance as it is now
    """
    return (fresh.task_state == task_states.RESIZE_PREP and
            fresh.memory_mb == sent.memory_mb and
            fresh.updated_at - sent.updated_at < _ROUNDING)


def _try_to_lock(function: Callable[[], None]) -> None:
    """Call a function until it gets the lock that it needs, or too long."""
    tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(
            lockutils.AcquireLockFailedException),
        wait=tenacity.wait_fixed(LOCK_PAUSE),
        stop=tenacity.stop_after_delay(LOCK_WAIT), reraise=True)(function)


def _refused(exc: errors.MemoryHotplugError) -> exception.ResizeError:
    return exception.ResizeError(reason=str(exc), refusal=exc.code)
