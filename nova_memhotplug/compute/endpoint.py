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

import functools

from nova.compute import manager as compute_manager
from nova.compute import task_states
from nova.compute import utils as compute_utils
from nova.compute import vm_states
from nova import exception
from nova import utils
from oslo_log import log as logging
import oslo_messaging as messaging

from nova_memhotplug.common import history
from nova_memhotplug.common import rpcapi
from nova_memhotplug.compute import observe
from nova_memhotplug.compute import pause_points
from nova_memhotplug.compute import resize
from nova_memhotplug.core import errors
from nova_memhotplug.core import observations
from nova_memhotplug.core import strategies
from nova_memhotplug.models import registry

LOG = logging.getLogger(__name__)


def _unless_over(function):
    """Ignore a request that was given up before it arrived.

    It has an end on record. To begin it again would overwrite that, and
    might serve it in place of a newer one.
    """
    @functools.wraps(function)
    def wrapper(self, context, instance, *args, **kwargs):
        if history.is_over(context, instance):
            LOG.warning('Request %s was given up before it arrived.',
                        context.request_id, instance=instance)
            return
        function(self, context, instance, *args, **kwargs)

    return wrapper


class MemHotplugEndpoint:
    """The endpoint beside Nova's own compute manager.

    :param manager: the ``nova.compute.manager.ComputeManager``
    :param guests: the ``virt.guest.Guests`` of the host
    :param books: the ``Books`` of the host
    :param reconciler: the ``Reconciler`` of the host
    """

    target = messaging.Target(
        namespace=rpcapi.NAMESPACE, version=rpcapi.VERSION)

    def __init__(self, manager, guests, books, reconciler):
        self.host = manager.host
        self._manager = manager
        self._guests = guests
        self._books = books
        self._reconciler = reconciler

    @compute_manager.wrap_exception()
    def observe_memory(self, context, instance, ask_guest=False):
        """Say what is known of the guest of a server.

        :param instance: a ``nova.objects.Instance``
        :param ask_guest: whether to ask the guest's agent, too
        :returns: the document of ``core.observations``; None if the guest
            does not run
        :raises nova.exception.InternalError: if its domain cannot be read
        """
        try:
            return observations.to_document(observe.observe(
                self._guests, instance, ask_guest))
        except errors.GuestOff:
            return None
        except errors.MemoryHotplugError as exc:
            raise exception.InternalError(str(exc))

    @compute_manager.wrap_exception()
    def get_totals(self, context, uuids):
        """Say what the guests of this host have.

        :param uuids: UUIDs of the servers that are asked for
        :returns: RAM of each of those that run, in MiB, by the server's
            UUID; None for a guest that cannot be read
        :raises nova.exception.InternalError: if libvirt does not list them
        """
        try:
            return self._guests.totals(uuids)
        except errors.MemoryHotplugError as exc:
            raise exception.InternalError(str(exc))

    @compute_manager.wrap_exception()
    def get_launch(self, context, instance):
        """Say how the guest of a server was started.

        :param instance: a ``nova.objects.Instance``
        :returns: the document of ``core.strategies.Launch``
        :raises nova.exception.InternalError: if its domain cannot be read
        """
        try:
            guest = self._guests.of(instance).read()
            return strategies.Launch.of(
                guest, registry.models()).document()
        except errors.MemoryHotplugError as exc:
            raise exception.InternalError(str(exc))

    @compute_manager.wrap_exception()
    @_unless_over
    @compute_manager.reverts_task_state
    @compute_utils.wrap_instance_event(prefix='compute')
    @compute_manager.wrap_instance_fault
    def resize_memory(self, context, instance, memory_mb, flavor=None):
        """Bring a server to a wanted total.

        :param instance: a ``nova.objects.Instance`` in the task state
            ``resize_prep``
        :param memory_mb: RAM it is to have, in MiB
        :param flavor: the ``nova.objects.Flavor`` that it changes to; None
            to keep its own
        :raises nova.exception.ResizeError: if that could not be done
        """
        @utils.synchronized(instance.uuid)
        def locked():
            self._check_still_wanted(instance)
            resize.MemoryResize(
                context.elevated(), instance, self._guests,
                self._books, self._reconciler).run(memory_mb, flavor)
            instance.task_state = None
            instance.save(expected_task_state=task_states.RESIZE_PREP)
            pause_points.reach(pause_points.BEFORE_EVENT)

        locked()

    @compute_manager.wrap_exception()
    def reconcile_memory(self, context, instance):
        """Bring the books of a server to what its guest has.

        :param instance: a ``nova.objects.Instance``
        :raises nova.exception.ResizeError: if that could not be done, or
            must not be; ``refusal`` among its ``kwargs`` is the code of the
            error
        """
        @utils.synchronized(instance.uuid)
        def locked():
            instance.refresh()
            self._reconciler.server(context.elevated(), instance)

        try:
            locked()
        except errors.MemoryHotplugError as exc:
            raise exception.ResizeError(reason=str(exc), refusal=exc.code)

    def _check_still_wanted(self, instance):
        """Check that nothing has come in between since nova-api looked.

        The request may have waited in a queue while this service was down,
        or in nova-api while a guest agent was slow.
        """
        instance.refresh()
        if (instance.host != self.host or
                instance.vm_state != vm_states.ACTIVE or
                instance.task_state != task_states.RESIZE_PREP):
            raise exception.UnexpectedTaskStateError(
                instance_uuid=instance.uuid,
                expected={'task_state': [task_states.RESIZE_PREP]},
                actual={'task_state': instance.task_state})

    def _instance_update(self, context, instance, **kwargs):
        """Let Nova's ``reverts_task_state`` write to the instance."""
        return self._manager._instance_update(context, instance, **kwargs)
