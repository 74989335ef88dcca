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

from nova.compute import api as compute_api
from nova.compute import task_states
from nova.compute import vm_states
from nova import exception
from nova import objects
from nova import servicegroup
from oslo_log import log as logging
from oslo_utils import excutils

from nova_memhotplug.api import planning
from nova_memhotplug.common import history
from nova_memhotplug.common import rpcapi
from nova_memhotplug.common import specs
from nova_memhotplug.core import errors
from nova_memhotplug.core import flavors
from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import report

LOG = logging.getLogger(__name__)

#: What the methods below raise, too.
PlanRefused = planning.PlanRefused


class API:
    """Guards and dispatch, as in ``nova.compute.api``."""

    def __init__(self):
        self._rpcapi = rpcapi.MemHotplugAPI()
        self.servicegroup_api = servicegroup.API()
        self._planner = planning.Planner(
            self._rpcapi, self.servicegroup_api)

    def get_memory(
        self, context, instance, memory_mb=None, may_resize=True,
    ):
        """Describe a server's memory, and plan.

        :param context: the request context
        :param instance: a ``nova.objects.Instance``
        :param memory_mb: a wanted total to plan for, in MiB; None for none
        :param may_resize: whether the user may resize it, by the policy
        :returns: the document of ``core.report``, with ``source``
        :raises nova.exception.ServiceUnavailable: if its host has to be asked
            and is down
        :raises nova.exception.InvalidInput: if its flavor cannot be read
        """
        return self._planner.describe(
            context, instance, memory_mb, may_resize)

    @compute_api.check_instance_lock
    @compute_api.check_instance_host()
    @compute_api.check_instance_state(vm_state=[vm_states.ACTIVE])
    def resize_memory(self, context, instance, memory_mb, flavor=None):
        """Start to bring a server to a wanted total.

        :param context: the request context
        :param instance: a ``nova.objects.Instance``
        :param memory_mb: RAM it is to have, in MiB
        :param flavor: the ``nova.objects.Flavor`` it is to change to; None
            to keep its own
        :returns: the document of ``core.report``, with its ``plan``, and
            ``changed``: whether anything was started
        :raises nova.exception.InstanceIsLocked: if it is locked
        :raises nova.exception.InstanceInvalidState: if it does not run, or
            something else is going on
        :raises nova.exception.ServiceUnavailable: if its host is down
        :raises PlanRefused: if it cannot be
        """
        try:
            document = self._planner.ask_host(context, instance, memory_mb)
        except errors.HostUnaware as exc:
            raise PlanRefused(report.reason(exc))
        plan = document['plan']
        if plan['reasons']:
            raise PlanRefused(plan['reasons'][0])
        document['changed'] = planning.is_change(document, flavor)
        if document['changed']:
            self._check_claim(context, instance, memory_mb, flavor)
            self._start(context, instance, memory_mb, flavor)
        return document

    def get_flavor(self, context, instance, flavor_id):
        """Find a flavor that a server can change to while it runs.

        :param context: the request context
        :param instance: a ``nova.objects.Instance``
        :param flavor_id: the flavor's ID
        :returns: the ``nova.objects.Flavor``; None if the server has it
        :raises nova.exception.FlavorNotFound: if there is no such flavor
        :raises PlanRefused: if it differs in more than memory, or
            contradicts itself
        """
        flavor = objects.Flavor.get_by_flavor_id(
            context, flavor_id, read_deleted='no')
        if flavor.disabled:
            raise exception.FlavorNotFound(flavor_id=flavor_id)
        try:
            flavors.check_change(_shape(instance.flavor), _shape(flavor))
            spec = specs.spec_of(flavor)
            if spec is None:
                raise errors.NotElastic()
            memory_spec.check_boot_size(spec, flavor.memory_mb)
        except errors.MemoryHotplugError as exc:
            raise PlanRefused(report.reason(exc))
        is_same = (flavor.flavorid == instance.flavor.flavorid and
                   flavor.extra_specs == instance.flavor.extra_specs)
        return None if is_same else flavor

    @staticmethod
    def _check_claim(context, instance, memory_mb, flavor):
        """Refuse what the claim on the host would, as far as can be known."""
        for refusal in planning.claim_refusals(
                context, instance, memory_mb, flavor):
            if not isinstance(refusal, errors.AccountingFailed):
                raise PlanRefused(report.reason(
                    refusal, for_tenant=not context.is_admin))
            LOG.warning('Left for the host to decide: %s', refusal,
                        instance=instance)

    def _start(self, context, instance, memory_mb, flavor):
        instance.task_state = task_states.RESIZE_PREP
        instance.save(expected_vm_state=[vm_states.ACTIVE],
                      expected_task_state=[None])
        try:
            objects.InstanceAction.action_start(
                context, instance.uuid, history.RESIZE_MEMORY,
                want_result=False)
            self._rpcapi.resize_memory(context, instance, memory_mb, flavor)
        except Exception:
            with excutils.save_and_reraise_exception():
                instance.task_state = None
                instance.save(expected_task_state=[task_states.RESIZE_PREP])


def _shape(flavor):
    """Take from a Nova flavor what a resize of memory looks at."""
    return flavors.Flavor(
        name=flavor.name, memory_mb=flavor.memory_mb, vcpus=flavor.vcpus,
        root_gb=flavor.root_gb, ephemeral_gb=flavor.ephemeral_gb,
        swap=flavor.swap, extra_specs=flavor.extra_specs)
