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
from nova import conf as nova_conf
from nova import exception
from nova import objects
from nova import servicegroup
from oslo_log import log as logging
import oslo_messaging as messaging
from oslo_utils import excutils

from nova_memhotplug.compute import history
from nova_memhotplug.compute import pause_points
from nova_memhotplug.compute import quota
from nova_memhotplug.compute import request_spec
from nova_memhotplug.compute import rpcapi
from nova_memhotplug.compute import settle
from nova_memhotplug import conf
from nova_memhotplug.core import errors
from nova_memhotplug.core import flavor as flavor_mod
from nova_memhotplug.core import report
from nova_memhotplug.core import spec as spec_mod
from nova_memhotplug.models import registry

CONF = nova_conf.CONF
conf.memhotplug.register_opts(CONF)

LOG = logging.getLogger(__name__)

#: The states in which a domain runs or could at once.
_HAS_LIVE_DOMAIN = (vm_states.ACTIVE, vm_states.PAUSED)


class PlanRefused(Exception):
    """A host said no to a wanted total.

    :param reason: a document with ``code`` and ``message``
    """

    def __init__(self, reason):
        super().__init__(reason['message'])
        self.code = reason['code']


class API:
    """Guards and dispatch, as in ``nova.compute.api``."""

    def __init__(self):
        self._rpcapi = rpcapi.MemHotplugAPI()
        self.servicegroup_api = servicegroup.API()

    def get_memory(self, context, instance, memory_mb=None):
        """Describe a server's memory, and plan.

        :param context: the request context
        :param instance: a ``nova.objects.Instance``
        :param memory_mb: a wanted total to plan for, in MiB; None for none
        :returns: the document of ``core.report``
        :raises nova.exception.ServiceUnavailable: if its host is down
        :raises PlanRefused: if its host has not this extension
        """
        request_spec.sync(context, instance)
        if instance.vm_state in _HAS_LIVE_DOMAIN and instance.host:
            document = self._ask_host(context, instance, memory_mb)
        else:
            document = report.stopped(
                self._spec(instance), instance.flavor.memory_mb)
            _add_plan(document, memory_mb)
        if memory_mb is not None:
            plan = document['plan']
            plan['reasons'] += _quota_reasons(context, instance, memory_mb)
            plan['possible'] = not plan['reasons']
        _add_reasons(document, _state_reasons(context, instance))
        document['last_resize'] = history.last_resize(context, instance)
        return document

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
        document = self._ask_host(context, instance, memory_mb)
        plan = document['plan']
        if plan['reasons']:
            raise PlanRefused(plan['reasons'][0])
        # The books may have been left behind by a crash.
        document['changed'] = bool(
            plan['devices'] or flavor is not None or
            document['requested_mb'] != memory_mb)
        if document['changed']:
            for reason in _quota_reasons(context, instance, memory_mb):
                raise PlanRefused(reason)
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
            flavor_mod.check_change(_shape(instance.flavor), _shape(flavor))
            spec = self._spec_of(flavor)
            if spec is None:
                raise errors.NotElastic()
            spec_mod.check_boot_size(spec, flavor.memory_mb)
        except errors.MemoryHotplugError as exc:
            raise PlanRefused(report.reason(exc))
        is_same = (flavor.flavorid == instance.flavor.flavorid and
                   flavor.extra_specs == instance.flavor.extra_specs)
        return None if is_same else flavor

    @compute_api.check_instance_host(check_is_up=True)
    def settle(self, context, instance):
        """Have the books of a server brought to what its guest has.

        :param context: the request context
        :param instance: a ``nova.objects.Instance``, with its ``services``
        :raises nova.exception.InstanceNotReady: if it has no host
        :raises nova.exception.ServiceUnavailable: if its host is down
        :raises settle.MoveRefused: if its host must not or cannot do it
        """
        settle.settle(self._rpcapi, context, instance)

    def _start(self, context, instance, memory_mb, flavor):
        instance.task_state = task_states.RESIZE_PREP
        instance.save(expected_vm_state=[vm_states.ACTIVE],
                      expected_task_state=[None])
        try:
            objects.InstanceAction.action_start(
                context, instance.uuid, history.RESIZE_MEMORY,
                want_result=False)
            pause_points.reach(pause_points.BEFORE_CAST)
            self._rpcapi.resize_memory(context, instance, memory_mb, flavor)
        except Exception:
            with excutils.save_and_reraise_exception():
                instance.task_state = None
                instance.save(expected_task_state=[task_states.RESIZE_PREP])
        pause_points.reach(pause_points.AFTER_CAST)

    @compute_api.check_instance_host(check_is_up=True)
    def _ask_host(self, context, instance, memory_mb):
        try:
            document = self._rpcapi.get_memory(context, instance, memory_mb)
        except messaging.UnsupportedVersion:
            raise PlanRefused(report.reason(errors.HostUnaware()))
        except messaging.RemoteError as exc:
            # Over a broker, the exceptions of oslo.messaging's dispatcher
            # come as this one.
            if exc.exc_type != 'UnsupportedVersion':
                raise
            raise PlanRefused(report.reason(errors.HostUnaware()))
        except messaging.MessagingTimeout:
            raise exception.ServiceUnavailable()
        _add_plan(document, memory_mb)
        return document

    def _spec(self, instance):
        try:
            return self._spec_of(instance.flavor)
        except errors.InvalidSpec as exc:
            raise exception.InvalidInput(reason=str(exc))

    @staticmethod
    def _spec_of(flavor):
        return spec_mod.from_extra_specs(
            flavor.extra_specs, CONF.memhotplug.default_slots,
            registry.models())


def _shape(flavor):
    """Take from a Nova flavor what a resize of memory looks at."""
    return flavor_mod.Flavor(
        name=flavor.name, memory_mb=flavor.memory_mb, vcpus=flavor.vcpus,
        root_gb=flavor.root_gb, ephemeral_gb=flavor.ephemeral_gb,
        swap=flavor.swap, extra_specs=flavor.extra_specs)


def _state_reasons(context, instance):
    """List what about the state of a server is against growing it."""
    against = []
    if instance.vm_state != vm_states.ACTIVE:
        against.append(errors.NotActive(vm_state=instance.vm_state))
    if instance.task_state is not None:
        against.append(errors.Busy(task_state=instance.task_state))
    if instance.locked and not context.is_admin:
        against.append(errors.Locked())
    return report.reasons(against)


def _quota_reasons(context, instance, memory_mb):
    """List what about the project's quota is against a wanted total."""
    try:
        quota.check(context, instance, memory_mb)
    except errors.OverQuota as exc:
        return [report.reason(exc)]
    return []


def _add_reasons(document, against):
    """Add reasons against growth to a document and to its plan."""
    document['can_grow'] = document['can_grow'] and not against
    document['reasons'] += against
    if 'plan' in document:
        plan = document['plan']
        plan['possible'] = plan['possible'] and not against
        plan['reasons'] += against


def _add_plan(document, memory_mb):
    """Plan nothing where a plan was wanted of a server that does not run."""
    if memory_mb is not None:
        document.setdefault('plan', {
            'memory_mb': memory_mb, 'possible': False, 'devices': [],
            'reasons': list(document['reasons'])})
