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


"""Keep the RequestSpec of a server at its real size (design T5).

The scheduler claims what ``RequestSpec.flavor`` says for the next live
migration, cold migration, evacuation or unshelve, and looks for NUMA nodes as
``RequestSpec.numa_topology`` says. It lives in the API
database, which nova-compute cannot reach. So nova-api brings it up to date
before it lets such a request through (``api.moves``), and an operator can
(``nova-memhotplug-manage audit --fix``). This is the only place that writes
it, by the rule of ``may_write``.
"""

import typing as ty

from nova.compute import task_states
from nova.compute import vm_states
from nova import exception
from nova import objects
from oslo_log import log as logging

from nova_memhotplug.common import history
from nova_memhotplug.common import nodes
from nova_memhotplug.common import states

LOG = logging.getLogger(__name__)

#: States in which Nova itself keeps the RequestSpec in transit: it already
#: has the flavor that a resize leads to, or leads back to.
_IN_TRANSIT = frozenset((
    vm_states.BUILDING, vm_states.RESIZED, vm_states.DELETED,
    vm_states.SOFT_DELETED))
#: The same of task states. ``resize_prep`` is one only where it is Nova's.
_RESIZING = frozenset((
    task_states.RESIZE_MIGRATING, task_states.RESIZE_MIGRATED,
    task_states.RESIZE_FINISH, task_states.RESIZE_REVERTING,
    task_states.RESIZE_CONFIRMING))


def sync(
    context: ty.Any, instance: ty.Any, is_host_down: bool = False,
) -> None:
    """Bring a server's RequestSpec to the flavor it has, if it may be.

    The caller asks for somebody who may move the server: a user whom Nova's
    policy lets do so, or the operator.

    :param context: the request context
    :param instance: a ``nova.objects.Instance``, just read
    :param is_host_down: whether it is to be evacuated from a host that is
        down
    """
    if not may_write(context, instance, is_host_down):
        return
    try:
        request_spec = objects.RequestSpec.get_by_instance_uuid(
            context, instance.uuid)
    except exception.RequestSpecNotFound:
        return
    if _key(request_spec.flavor) == _key(instance.flavor):
        return
    try:
        request_spec.numa_topology = nodes.constraints(
            instance.flavor, instance.image_meta)
    except exception.NovaException:
        LOG.warning('The NUMA topology of the RequestSpec stays as it is.',
                    instance=instance, exc_info=True)
    LOG.info('RequestSpec corrected from %(before)d to %(after)d MiB.',
             {'before': request_spec.flavor.memory_mb,
              'after': instance.flavor.memory_mb}, instance=instance)
    request_spec.flavor = instance.flavor
    request_spec.save()


def may_write(
    context: ty.Any, instance: ty.Any, is_host_down: bool,
) -> bool:
    """Tell whether the RequestSpec of a server is to say what its flavor says.

    * Never for a server that cannot grow, and never while Nova itself keeps
      the RequestSpec in transit: its flavor is then not yet, or no longer,
      the server's.
    * Otherwise if nothing goes on with the server.
    * If something does, only for an evacuation from a host that is down: it
      will not end. In ``resize_prep``, only if that is ours.

    :param context: the request context
    :param instance: a ``nova.objects.Instance``
    :param is_host_down: whether it is to be evacuated from a host that is
        down
    """
    if (not states.is_elastic(instance.flavor) or
            instance.vm_state in _IN_TRANSIT or
            instance.task_state in _RESIZING):
        return False
    if instance.task_state is None:
        return True
    return is_host_down and (
        instance.task_state != task_states.RESIZE_PREP or
        history.is_resize_of_memory(context, instance))


def _key(flavor: ty.Any) -> ty.Any:
    """Take from a flavor what a move claims."""
    return flavor.flavorid, flavor.memory_mb, flavor.extra_specs
