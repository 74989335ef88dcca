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

"""Whether the host of a server has room for it, as placement sees it.

Another server may take the room before this one does, so the claim on the
host is what counts.
"""

import typing as ty

from nova.scheduler.client import report
import os_resource_classes as orc

from nova_memhotplug.common import placement
from nova_memhotplug.core import accounting
from nova_memhotplug.core import errors

#: Microversion of placement in which a list of providers can be narrowed to
#: those that have resources free.
_RESOURCES_VERSION = '1.4'


def check(
    context: ty.Any, node: ty.Any, instance: ty.Any, total_mb: int,
    flavor: ty.Any = None,
) -> None:
    """Check whether the host of a server has room for a total.

    Placement is asked once whether there is as much as is to be added. Only
    if not, what it has on record is read: for the numbers, and because the
    books of this server may have been left behind.

    A class of which the host has given away too much (VCPU after its
    allocation ratio was lowered) is left to the claim: some versions of
    placement refuse a claim for it, later ones accept all that takes no more
    of that class.

    :param context: the request context
    :param node: the ``nova.objects.ComputeNode`` of its host
    :param instance: a ``nova.objects.Instance``
    :param total_mb: RAM it is to have, in MiB
    :param flavor: the flavor that counts, if not the instance's own
    :raises HostFull: if there is not that much
    :raises HostTooSmall: if the host takes no server of that size
    :raises AccountingFailed: if placement does not say
    """
    wanted_mb = accounting.allocation_mb(
        total_mb, (flavor or instance.flavor).extra_specs)
    added_mb = wanted_mb - accounting.allocation_mb(
        instance.flavor.memory_mb, instance.flavor.extra_specs)
    try:
        client = report.report_client_singleton()
        # Nova writes its RAM into placement as the largest share of one
        # server, whatever the allocation ratio.
        if wanted_mb > node.memory_mb or not _has_free(
                client, node.uuid, added_mb):
            _check_exactly(client, context, node.uuid, instance, wanted_mb)
    except placement.FAILURES as exc:
        raise errors.AccountingFailed(reason=exc)


def _has_free(client: ty.Any, provider: str, added_mb: int) -> bool:
    """Ask placement for one answer, which is most often all that it takes."""
    if added_mb <= 0:
        return True
    return bool(_get(
        client, '/resource_providers?uuid=%s&resources=%s:%d' % (
            provider, orc.MEMORY_MB, added_mb))['resource_providers'])


def _check_exactly(
    client: ty.Any, context: ty.Any, provider: str, instance: ty.Any,
    wanted_mb: int,
) -> None:
    allocations = client.get_allocs_for_consumer(
        context, instance.uuid)['allocations']
    # After an evacuation the server has a share on its old host, too.
    if provider not in allocations:
        raise errors.NothingAllocated(uuid=instance.uuid)
    missing_mb = wanted_mb - allocations[provider]['resources'].get(
        orc.MEMORY_MB, 0)
    if missing_mb <= 0:
        return
    base = '/resource_providers/%s' % provider
    memory = _get(client, base + '/inventories')['inventories'][orc.MEMORY_MB]
    if wanted_mb > memory['max_unit']:
        raise errors.HostTooSmall(
            wanted_mb=wanted_mb, max_mb=memory['max_unit'])
    free_mb = accounting.free_mb(
        memory['total'], memory['reserved'], memory['allocation_ratio'],
        _get(client, base + '/usages')['usages'][orc.MEMORY_MB])
    if free_mb < missing_mb:
        raise errors.HostFull(asked_mb=missing_mb, free_mb=free_mb)


def _get(client: ty.Any, url: str) -> ty.Any:
    response = client.get(url, version=_RESOURCES_VERSION)
    if response.status_code != 200:
        raise errors.AccountingFailed(
            reason='placement answers %d' % response.status_code)
    return response.json()
