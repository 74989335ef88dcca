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

from nova import conf as nova_conf
from nova import exception
from nova.limit import placement as placement_limits
from nova.limit import utils as limit_utils
from nova import objects
from nova.objects import quotas as quotas_obj
import os_resource_classes as orc
from oslo_limit import exception as limit_exceptions

from nova_memhotplug.core import accounting
from nova_memhotplug.core import errors

CONF = nova_conf.CONF

RAM = 'ram'
MEMORY_LIMIT = 'class:' + orc.MEMORY_MB


def check(context, instance, wanted_mb: int) -> None:
    """Check the quota, with whichever driver Nova uses.

    Nova's own check of a cold resize asks for more than memory: with unified
    limits for a whole second server, as a cold resize claims one; with legacy
    quotas it looks at the cores, too, and ends in a KeyError where a project
    has more of those than it may have, but is to have no more of them
    (``compute.utils.get_over_quota_detail``). So what that check calls is
    called here for memory alone.

    :param context: the request context
    :param instance: a ``nova.objects.Instance``
    :param wanted_mb: RAM it is to have, in MiB
    :raises OverQuota: with the limit, the used and the asked amount
    """
    if limit_utils.use_unified_limits():
        _check_unified(context, instance, wanted_mb)
    else:
        _check_legacy(context, instance, wanted_mb)


def _check_legacy(context, instance, wanted_mb: int) -> None:
    delta_mb = wanted_mb - instance.flavor.memory_mb
    if CONF.quota.count_usage_from_placement:
        delta_mb = _added_allocation_mb(instance, wanted_mb)
    if delta_mb <= 0:
        return
    project_id, user_id = quotas_obj.ids_from_instance(context, instance)
    try:
        objects.Quotas.check_deltas(
            context, {RAM: delta_mb}, project_id, user_id=user_id,
            check_project_id=project_id, check_user_id=user_id)
    except exception.OverQuota as exc:
        raise errors.OverQuota(
            limit_mb=exc.kwargs['quotas'][RAM],
            used_mb=exc.kwargs['usages'][RAM], asked_mb=delta_mb)


def _check_unified(context, instance, wanted_mb: int) -> None:
    delta_mb = _added_allocation_mb(instance, wanted_mb)
    if delta_mb <= 0:
        return
    project_id, _ = quotas_obj.ids_from_instance(context, instance)
    try:
        placement_limits._get_enforcer(context, project_id).enforce(
            project_id, {MEMORY_LIMIT: delta_mb})
    except limit_exceptions.ProjectOverLimit as exc:
        if not limit_utils.should_enforce(exc):
            return
        (over,) = exc.over_limit_info_list
        raise errors.OverQuota(limit_mb=over.limit, asked_mb=over.delta,
                               used_mb=over.current_usage)


def _added_allocation_mb(instance, wanted_mb: int) -> int:
    """Say what a total adds to the usage that placement counts."""
    extra_specs = instance.flavor.extra_specs
    return (accounting.allocation_mb(wanted_mb, extra_specs) -
            accounting.allocation_mb(instance.flavor.memory_mb, extra_specs))
