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
"""Describe the memory of servers and plan its growth, in nova-api.

A plan is made from the note that the host has left with the server
(core.notes), by the functions that the host itself plans with; where there is
no note, or the host does not keep it up to date, the host is asked.
"""

import dataclasses

from nova.compute import api as compute_api
from nova.compute import vm_states
from nova import exception
from nova import objects
import oslo_messaging as messaging

from nova_memhotplug.api import quota
from nova_memhotplug.api import request_spec
from nova_memhotplug.common import exclusions
from nova_memhotplug.common import history
from nova_memhotplug.common import nodes
from nova_memhotplug.common import placement
from nova_memhotplug.common import rpcapi
from nova_memhotplug.common import specs
from nova_memhotplug.common import states
from nova_memhotplug.core import errors
from nova_memhotplug.core import notes
from nova_memhotplug.core import numa
from nova_memhotplug.core import observations
from nova_memhotplug.core import report

#: Where a document comes from: the host was asked, or nova-api knows by
#: itself what the guest has, or what it would boot with.
HOST, NOTE, FLAVOR = 'host', 'note', 'flavor'


class PlanRefused(Exception):
    """A server cannot be brought to a wanted total.

    :param reason: a document with ``code`` and ``message``
    """

    def __init__(self, reason):
        super().__init__(reason['message'])
        self.code = reason['code']


class Planner:
    """Describes and plans; changes nothing but a RequestSpec left behind.

    :param hosts: the RPC client of the compute hosts
    :param servicegroup_api: Nova's ``servicegroup.API``
    """

    def __init__(self, hosts: rpcapi.MemHotplugAPI, servicegroup_api):
        self._hosts = hosts
        self.servicegroup_api = servicegroup_api

    def describe(self, context, instance, memory_mb=None, may_resize=True):
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
        request_spec.sync(context, instance)
        document = self._document(context, instance, memory_mb)
        against = report.reasons(self._state_refusals(
            context, instance, document['source'] != HOST))
        document['reasons'] = against + document['reasons']
        document['can_grow'] = document['can_grow'] and not against
        if memory_mb is not None:
            self._complete(
                context, instance, document, against, may_resize)
        document['last_resize'] = history.last_resize(context, instance)
        return document

    @compute_api.check_instance_host(check_is_up=True)
    def ask_host(self, context, instance, memory_mb=None):
        """Have the host of a server describe its memory, and plan.

        :param context: the request context
        :param instance: a ``nova.objects.Instance``
        :param memory_mb: a wanted total to plan for, in MiB; None for none
        :returns: the document
        :raises nova.exception.ServiceUnavailable: if the host is down
        :raises HostUnaware: if the host has not this extension
        """
        try:
            answer = self._hosts.observe_memory(
                context, instance, ask_guest=memory_mb is None)
        except messaging.MessagingTimeout:
            raise exception.ServiceUnavailable()
        except (messaging.UnsupportedVersion, messaging.RemoteError) as exc:
            if not rpcapi.is_unsupported(exc):
                raise
            raise errors.HostUnaware()
        spec = self._own_spec(instance)
        books_mb = instance.flavor.memory_mb
        if answer is None:
            document = report.stopped(spec, books_mb)
            document['reasons'].append(report.reason(errors.GuestOff()))
        else:
            seen = observations.from_document(answer)
            if seen is None:
                raise errors.HostUnaware()
            try:
                grow = specs.grow_of(spec)
            except errors.UnknownModel as exc:
                raise exception.InvalidInput(reason=str(exc))
            document = report.running(seen, spec, books_mb, grow)
            if memory_mb is not None:
                document['plan'] = report.plan(seen, spec, memory_mb, grow)
        _add_plan(document, memory_mb)
        return document | {'source': HOST}

    def _document(self, context, instance, memory_mb):
        """Describe a server from the nearest source that knows."""
        if (instance.vm_state not in states.HAS_LIVE_DOMAIN or
                not instance.host):
            return self._from_flavor(report.stopped, instance, memory_mb)
        if memory_mb is not None:
            seen = self._from_note(instance)
            if seen is not None and self._is_kept(context, instance):
                spec = self._own_spec(instance)
                grow = specs.grow_of(spec)
                return report.running(
                    seen, spec, instance.flavor.memory_mb, grow) | {
                    'source': NOTE, 'guest': None,
                    'plan': report.plan(seen, spec, memory_mb, grow)}
        try:
            return self.ask_host(context, instance, memory_mb)
        except errors.HostUnaware:
            return self._from_flavor(report.unaware, instance, memory_mb)

    @staticmethod
    def _is_kept(context, instance) -> bool:
        try:
            return rpcapi.can_resize(
                objects.ComputeNode.get_by_host_and_nodename(
                    context, instance.host, instance.node))
        except exception.ComputeHostNotFound:
            return False

    def _from_flavor(self, describe, instance, memory_mb):
        """Describe a server as far as nova-api itself knows it.

        :param describe: a function of ``core.report``
        """
        document = describe(
            self._own_spec(instance), instance.flavor.memory_mb)
        _add_plan(document, memory_mb)
        return document | {'source': FLAVOR}

    def _from_note(self, instance) -> observations.Observation | None:
        """Read the note of a server.

        :returns: what it says; None if there is none that can be believed
        """
        spec = self._own_spec(instance)
        note = notes.read(instance.system_metadata.get(notes.KEY))
        total_mb = instance.flavor.memory_mb
        if spec is None or note is None or note.guest.present_mb != total_mb:
            return None
        return dataclasses.replace(note, excluded=exclusions.excluded(
            instance, note.guest.arch))

    @staticmethod
    def _own_spec(instance):
        try:
            return specs.spec_of(instance.flavor)
        except errors.InvalidSpec as exc:
            raise exception.InvalidInput(reason=str(exc))

    def _complete(self, context, instance, document, against, may_resize):
        """Add to a plan what is against it, in the order in which the action
        looks at it.
        """
        plan = document['plan']
        if not may_resize:
            against = [report.reason(errors.NotAllowed())] + against
        plan['reasons'] = against + plan['reasons']
        if is_change(document):
            plan['reasons'] += [
                report.reason(refusal, for_tenant=not context.is_admin)
                for refusal in claim_refusals(
                    context, instance, plan['memory_mb'])]
        plan['possible'] = not plan['reasons']

    def _state_refusals(self, context, instance, check_host):
        """List what about the state of a server is against growing it."""
        if instance.locked and not context.is_admin:
            yield errors.Locked()
        if instance.vm_state != vm_states.ACTIVE:
            yield errors.NotActive(vm_state=instance.vm_state)
        if instance.task_state is not None:
            yield errors.Busy(task_state=instance.task_state)
        if check_host and instance.host and not self._is_host_up(instance):
            yield errors.HostDown()

    def _is_host_up(self, instance) -> bool:
        return any(
            self.servicegroup_api.service_is_up(service)
            for service in instance.services
            if service.binary == 'nova-compute')


def claim_refusals(context, instance, memory_mb, flavor=None):
    """Say what keeps a server from claiming what it needs for a total.

    :param context: the request context
    :param instance: a ``nova.objects.Instance``
    :param memory_mb: RAM it is to have, in MiB
    :param flavor: the flavor that it is to change to; None to keep its own
    :returns: ``OverQuota``, ``HostFull`` or, where placement does not say
        what the host has, ``AccountingFailed``, and ``HostNodeFull``, as
        there are
    """
    try:
        quota.check(context, instance, memory_mb)
    except errors.OverQuota as exc:
        yield exc
    if not instance.host:
        return
    try:
        placement.Placement.connect().check_room(
            context, instance, memory_mb, flavor)
    except (errors.HostFull, errors.AccountingFailed) as exc:
        yield exc
    try:
        _check_nodes(context, instance, memory_mb)
    except errors.HostNodeFull as exc:
        yield exc


def _check_nodes(context, instance, memory_mb):
    """Check the nodes of its host that a server is bound to."""
    topology = nodes.topology_of(context, instance)
    if topology is None:
        return
    try:
        node = objects.ComputeNode.get_by_host_and_nodename(
            context, instance.host, instance.node)
    except exception.ComputeHostNotFound:
        # Then placement does not tell of its host, either.
        return
    nodes.check_room(
        node, topology, numa.grown(nodes.cells_mb(topology), memory_mb))


def is_change(document, flavor=None) -> bool:
    """Tell whether a resize would do anything.

    The books may have been left behind by a crash, so that there is
    something to do for a guest that has the total already.

    :param document: a document with a ``plan``
    :param flavor: the flavor to change to; None to keep the server's own
    :returns: whether anything would be done, or tried
    """
    plan = document['plan']
    return bool(plan['devices'] or flavor is not None or
                document['requested_mb'] != plan['memory_mb'])


def _add_plan(document, memory_mb):
    """Plan nothing where a plan was wanted and there is no guest to be seen.
    """
    if memory_mb is not None:
        document.setdefault('plan', {
            'memory_mb': memory_mb, 'possible': False, 'devices': [],
            'reasons': list(document['reasons'])})
