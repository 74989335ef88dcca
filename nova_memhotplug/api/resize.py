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

"""What a request for more memory has to pass before it reaches a host."""

import typing as ty

from nova.compute import task_states
from nova.compute import vm_states
from nova import exception
from nova import objects
from nova import servicegroup
from oslo_log import log as logging
from oslo_utils import excutils

from nova_memhotplug.api import planning
from nova_memhotplug.api import quota
from nova_memhotplug.common import history
from nova_memhotplug.common import rpcapi
from nova_memhotplug.common import specs
from nova_memhotplug.core import errors
from nova_memhotplug.core import flavors
from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import planner

LOG = logging.getLogger(__name__)

#: What is known of the server, what is done, and whether that is anything.
Resized = tuple[planning.Report, planner.Outlook, bool]


class API:
    """Checks and dispatch, as in ``nova.compute.api``."""

    def __init__(self) -> None:
        self._rpcapi = rpcapi.MemHotplugAPI()
        self.servicegroup_api = servicegroup.API()

    def get_memory(
        self, context: ty.Any, instance: ty.Any,
        memory_mb: int | None = None, may_resize: bool = True,
        ask_guest: bool = False,
    ) -> planning.Report:
        """Describe a server's memory, and plan. It changes nothing.

        For a plan, the host may ask the guest's agent only on behalf of
        somebody who may resize the server.

        :param context: the request context
        :param instance: a ``nova.objects.Instance``
        :param memory_mb: a wanted total to plan for, in MiB; None for none
        :param may_resize: whether the user may resize it, by the policy
        :param ask_guest: whether the user wants to know what the guest says
        :returns: what can be said
        :raises HostDown: if its host has to be asked, and does not answer
        :raises GuestUnreadable: if its host cannot say what the guest has
        """
        return self._inquire(
            context, instance, memory_mb, may_resize, ask_guest,
        ).report(memory_mb)

    def resize_memory(
        self, context: ty.Any, instance: ty.Any, memory_mb: int,
        flavor: ty.Any = None,
    ) -> Resized:
        """Start to bring a server to a wanted total.

        :param context: the request context
        :param instance: a ``nova.objects.Instance``
        :param memory_mb: RAM it is to have, in MiB
        :param flavor: the ``nova.objects.Flavor`` it is to change to; None
            to keep its own
        :returns: what is known, what is done, and whether that is anything
        :raises MemoryHotplugError: the first refusal, if it cannot be
        """
        inquiry = self._inquire(context, instance, memory_mb)
        for refusal in inquiry.refusals(memory_mb, flavor):
            if not isinstance(refusal, errors.AccountingFailed):
                raise refusal
            # Placement may be back until the host claims the memory.
            LOG.warning('Left for the host to decide: %s', refusal,
                        instance=instance)
        is_change = inquiry.is_change(memory_mb, flavor)
        result = (inquiry.report(), inquiry.outlook(memory_mb, flavor),
                  is_change)
        if is_change:
            self._start(context, instance, memory_mb, flavor)
        elif inquiry.can_use_memory():
            # It has the memory, which is not to say that it uses it.
            self._rpcapi.use_memory(context, instance)
        return result

    def resize_to_flavor(
        self, context: ty.Any, instance: ty.Any, flavor_id: str,
    ) -> Resized:
        """Start to bring a server to the memory of a flavor, and to it.

        :param context: the request context
        :param instance: a ``nova.objects.Instance``
        :param flavor_id: the flavor's ID
        :returns: as of ``resize_memory``
        :raises MemoryHotplugError: the first refusal, if it cannot be
        """
        # Nothing is told of a flavor that cannot be had in any case.
        for refusal in self._inquire(context, instance).standing():
            raise refusal
        flavor = self._get_flavor(context, instance, flavor_id)
        return self.resize_memory(
            context, instance, (flavor or instance.flavor).memory_mb, flavor)

    def _inquire(
        self, context: ty.Any, instance: ty.Any,
        memory_mb: int | None = None, may_resize: bool = True,
        ask_guest: bool = False,
    ) -> planning.Inquiry:
        """Look at a server: for a total, at the note of its guest, unless
        memory is to be taken away: which devices are ours, only the live
        domain tells.
        """
        is_plan = memory_mb is not None
        return planning.Inquiry(
            context, instance, self._rpcapi, self.servicegroup_api,
            may_resize, is_live=(
                ask_guest or memory_mb is None or
                memory_mb < instance.flavor.memory_mb),
            ask_guest=ask_guest or is_plan and may_resize)

    @staticmethod
    def _get_flavor(
        context: ty.Any, instance: ty.Any, flavor_id: str,
    ) -> ty.Any:
        """Find a flavor that a server can change to while it runs.

        :returns: the ``nova.objects.Flavor``; None if the server has it,
            also if it has been deleted since, or has grown by size
        """
        own = instance.flavor
        try:
            flavor = objects.Flavor.get_by_flavor_id(
                context, flavor_id, read_deleted='no')
        except exception.FlavorNotFound:
            flavor = None
        # One that was deleted and made again has another number.
        is_own = (own.flavorid == flavor_id if flavor is None
                  else own.id == flavor.id)
        if is_own:
            return None
        if flavor is None or flavor.disabled:
            raise errors.FlavorNotFound(flavor_id=flavor_id)
        _check_flavor(own, flavor)
        return flavor

    def _start(
        self, context: ty.Any, instance: ty.Any, memory_mb: int,
        flavor: ty.Any,
    ) -> None:
        """Reserve the total and send the request to the host.

        Nova counts ``instance.memory_mb`` for the quota, so the next request
        of the project sees this one. Whoever ends the resize brings it to
        what the server has then; what it gives back counts until it has.
        """
        self._save(instance, max(memory_mb, instance.flavor.memory_mb),
                   task_states.RESIZE_PREP,
                   expected_vm_state=[vm_states.ACTIVE],
                   expected_task_state=[None])
        try:
            quota.recheck(context, instance, memory_mb)
            objects.InstanceAction.action_start(
                context, instance.uuid, history.RESIZE_MEMORY,
                want_result=False)
            self._rpcapi.resize_memory(context, instance, memory_mb, flavor)
        except Exception:
            with excutils.save_and_reraise_exception():
                instance.refresh()
                self._save(instance, instance.flavor.memory_mb, None,
                           expected_task_state=[task_states.RESIZE_PREP])

    @staticmethod
    def _save(
        instance: ty.Any, memory_mb: int, task_state: str | None,
        **expected: list[str | None],
    ) -> None:
        instance.memory_mb = memory_mb
        instance.task_state = task_state
        # A stored flavor may count as changed when it is read, and would be
        # written over a newer one.
        instance.flavor.obj_reset_changes(recursive=True)
        try:
            instance.save(**expected)
        except exception.InstanceUpdateConflict as exc:
            raise _lost_race(exc.kwargs.get('actual', {}))


def _check_flavor(own: ty.Any, flavor: ty.Any) -> None:
    """Check that a running server can change to another flavor.

    :raises FlavorInelastic: if it has no ceiling
    :raises FlavorInvalid: if no server can boot from it
    :raises FlavorDiffers: if it differs in more than memory
    """
    try:
        spec = specs.spec_of(flavor)
        if spec is None:
            raise errors.FlavorInelastic(name=flavor.name)
        memory_spec.check_boot_size(spec, flavor.memory_mb, first_boot=True)
    except errors.InvalidSpec as exc:
        raise errors.FlavorInvalid(name=flavor.name, reason=exc)
    flavors.check_change(_shape(own), _shape(flavor))


def _lost_race(actual: ty.Mapping[str, str | None]) -> errors.Refused:
    """Say what another request has made of a server meanwhile."""
    if 'vm_state' in actual:
        return errors.NotActive(vm_state=actual['vm_state'])
    return errors.Busy(task_state=actual.get('task_state'))


def _shape(flavor: ty.Any) -> flavors.Flavor:
    """Take from a Nova flavor what a resize of memory looks at."""
    return flavors.Flavor(
        name=flavor.name, memory_mb=flavor.memory_mb, vcpus=flavor.vcpus,
        root_gb=flavor.root_gb, ephemeral_gb=flavor.ephemeral_gb,
        swap=flavor.swap, extra_specs=flavor.extra_specs)
