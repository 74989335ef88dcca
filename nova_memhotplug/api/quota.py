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

"""Check a project's quota for what a server is to have more.

The usage must count what has been accepted, or requests one after the other
could pass together. Nova's own count adds up ``instances.memory_mb``, which
``api.resize`` raises as it accepts a request. Placement counts it only when
the host has claimed it, so what is on the way there is added here.
"""

import typing as ty

from nova.compute import instance_list
from nova.compute import task_states
from nova import conf as nova_conf
from nova import exception
from nova.limit import placement as placement_limits
from nova.limit import utils as limit_utils
from nova import objects
from nova.objects import quotas as quotas_obj
from nova.scheduler.client import report
import os_resource_classes as orc
from oslo_limit import exception as limit_exceptions
from oslo_log import log as logging

from nova_memhotplug.common import placement
from nova_memhotplug.core import accounting
from nova_memhotplug.core import errors

CONF = nova_conf.CONF
LOG = logging.getLogger(__name__)

RAM = 'ram'
MEMORY_LIMIT = 'class:' + orc.MEMORY_MB


class _Excess(ty.NamedTuple):
    """What a project has too much of, in MiB.

    :param limit_mb: what it may have
    :param used_mb: what is counted
    """

    limit_mb: int
    used_mb: int


def check(context: ty.Any, instance: ty.Any, wanted_mb: int) -> None:
    """Check the quota, with whichever driver Nova uses.

    It holds before a request is accepted and, what the server has been given
    then being counted already, again afterwards.

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
    asked_mb = wanted_mb - instance.flavor.memory_mb
    uncounted_mb = wanted_mb - instance.memory_mb
    if _is_counted_by_placement():
        asked_mb = _allocation_mb(instance, wanted_mb) - _allocation_mb(
            instance, instance.flavor.memory_mb)
        uncounted_mb = asked_mb
    if asked_mb <= 0:
        return
    if _is_counted_by_placement():
        uncounted_mb += _on_the_way_mb(context, instance)
    excess = _excess(context, instance, uncounted_mb)
    if excess:
        raise errors.OverQuota(
            limit_mb=excess.limit_mb, asked_mb=asked_mb,
            used_mb=excess.used_mb + uncounted_mb - asked_mb)


def recheck(context: ty.Any, instance: ty.Any, wanted_mb: int) -> None:
    """Check the quota again when a request has been accepted, as Nova does
    for new servers (``[quota] recheck_quota``): two requests at the same
    moment do not see each other before that.

    :param context: the request context
    :param instance: a ``nova.objects.Instance`` that counts with that total
    :param wanted_mb: RAM it is to have, in MiB
    :raises OverQuota: with the limit, the used and the asked amount
    """
    if CONF.quota.recheck_quota:
        check(context, instance, wanted_mb)


def _is_counted_by_placement() -> bool:
    return bool(limit_utils.use_unified_limits() or
                CONF.quota.count_usage_from_placement)


def _allocation_mb(instance: ty.Any, total_mb: int) -> int:
    return accounting.allocation_mb(total_mb, instance.flavor.extra_specs)


def _excess(
    context: ty.Any, instance: ty.Any, uncounted_mb: int,
) -> _Excess | None:
    """Find out whether a project would have too much.

    :param uncounted_mb: what it is to have beyond what is counted, in MiB
    """
    if limit_utils.use_unified_limits():
        return _unified_excess(context, instance, uncounted_mb)
    project_id, user_id = quotas_obj.ids_from_instance(context, instance)
    try:
        objects.Quotas.check_deltas(
            context, {RAM: uncounted_mb}, project_id, user_id=user_id,
            check_project_id=project_id, check_user_id=user_id)
    except exception.OverQuota as exc:
        return _Excess(exc.kwargs['quotas'][RAM], exc.kwargs['usages'][RAM])
    return None


def _unified_excess(
    context: ty.Any, instance: ty.Any, uncounted_mb: int,
) -> _Excess | None:
    project_id, _ = quotas_obj.ids_from_instance(context, instance)
    try:
        placement_limits._get_enforcer(context, project_id).enforce(
            project_id, {MEMORY_LIMIT: uncounted_mb})
    except limit_exceptions.ProjectOverLimit as exc:
        if limit_utils.should_enforce(exc):
            (over,) = exc.over_limit_info_list
            return _Excess(over.limit, over.current_usage)
    return None


def _on_the_way_mb(context: ty.Any, instance: ty.Any) -> int:
    """Add up what other servers of a project get that is not yet claimed.

    It is read before the usage, so that a claim in between counts twice
    rather than not at all. A quota of a user is compared with that of the
    whole project, too.
    """
    project_id, _ = quotas_obj.ids_from_instance(context, instance)
    others, _cells = instance_list.get_instance_objects_sorted(
        context, {'project_id': project_id, 'deleted': False,
                  'task_state': task_states.RESIZE_PREP},
        None, None, ['flavor'], None, None)
    return sum(_unclaimed_mb(context, other) for other in others
               if other.uuid != instance.uuid and
               other.memory_mb > other.flavor.memory_mb)


def _unclaimed_mb(context: ty.Any, instance: ty.Any) -> int:
    """Say what of an accepted total is not allocated yet, in MiB."""
    claimed_mb = _allocation_mb(instance, instance.flavor.memory_mb)
    try:
        allocations = report.report_client_singleton(
        ).get_allocs_for_consumer(context, instance.uuid)['allocations']
        claimed_mb = sum(one['resources'].get(orc.MEMORY_MB, 0)
                         for one in allocations.values())
    except placement.FAILURES as exc:
        LOG.warning('All that this server gets is counted, since placement '
                    'does not say what it has: %s', exc, instance=instance)
    return max(0, _allocation_mb(instance, instance.memory_mb) - claimed_mb)
