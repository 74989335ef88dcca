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

"""Check a project's quota for what a server is to have more."""

from nova.compute import api as compute_api
from nova import exception
from nova.limit import placement as placement_limits
from nova.limit import utils as limit_utils
from nova.objects import quotas as quotas_obj
import os_resource_classes as orc
from oslo_limit import exception as limit_exceptions

from nova_memhotplug.core import accounting
from nova_memhotplug.core import errors


def check(context, instance, wanted_mb: int) -> None:
    """Check the quota, with whichever driver Nova uses.

    Nova's own check of a cold resize is reused for legacy quotas. For unified
    limits it would count a whole second server, as a cold resize claims one;
    memory that is added claims nothing but itself.

    :param context: the request context
    :param instance: a ``nova.objects.Instance``
    :param wanted_mb: RAM it is to have, in MiB
    :raises OverQuota: with the limit, the used and the asked amount
    """
    try:
        _check_legacy(context, instance, wanted_mb)
        if limit_utils.use_unified_limits():
            _check_unified(context, instance, wanted_mb)
    except exception.OverQuota as exc:
        raise errors.OverQuota(reason=exc.format_message())
    except limit_exceptions.ProjectOverLimit as exc:
        if limit_utils.should_enforce(exc):
            raise errors.OverQuota(reason=exc)


def _check_legacy(context, instance, wanted_mb: int) -> None:
    new_flavor = instance.flavor.obj_clone()
    new_flavor.memory_mb = wanted_mb
    # With is_revert the method leaves unified limits alone.
    compute_api.API._check_quota_for_upsize(
        context, instance, instance.flavor, new_flavor, is_bfv=False,
        is_revert=True)


def _check_unified(context, instance, wanted_mb: int) -> None:
    def allocation_mb(total_mb):
        return accounting.allocation_mb(
            total_mb, instance.flavor.extra_specs)

    project_id, _ = quotas_obj.ids_from_instance(context, instance)
    delta_mb = (allocation_mb(wanted_mb) -
                allocation_mb(instance.flavor.memory_mb))
    if delta_mb > 0:
        placement_limits._get_enforcer(context, project_id).enforce(
            project_id, {'class:' + orc.MEMORY_MB: delta_mb})
