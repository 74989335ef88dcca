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
database, which nova-compute cannot reach, so nova-api brings it up to date
before it lets such a request through, and whenever the memory of a server is
looked at.
"""

from nova.compute import vm_states
from nova import exception
from nova import objects
from oslo_log import log as logging

from nova_memhotplug.common import nodes
from nova_memhotplug.core import memory_spec

LOG = logging.getLogger(__name__)

#: States in which Nova itself keeps the RequestSpec in transit: it already
#: has the flavor that a resize leads to, or leads back to.
_IN_TRANSIT = (vm_states.BUILDING, vm_states.RESIZED, vm_states.DELETED,
               vm_states.SOFT_DELETED)


def sync(context, instance, any_task: bool = False) -> None:
    """Bring a server's RequestSpec to the flavor it has.

    :param context: the request context
    :param instance: a ``nova.objects.Instance``
    :param any_task: also when something goes on with the server, which does
        not keep Nova from evacuating it
    """
    if not _is_settled(instance, any_task):
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


def _key(flavor):
    return flavor.memory_mb, flavor.flavorid


def _is_settled(instance, any_task) -> bool:
    return ((any_task or instance.task_state is None) and
            instance.vm_state not in _IN_TRANSIT and
            memory_spec.MAX_MEMORY_MB in instance.flavor.extra_specs)
