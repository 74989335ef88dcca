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

"""Nova's books of one server: the placement allocation and the flavor."""

import dataclasses

from nova import exception
from nova.scheduler.client import report as report_client
import os_resource_classes as orc
from oslo_log import log as logging

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Claim:
    """What was claimed in placement for one resize.

    :param provider: UUID of the resource provider
    :param before_mb: what the instance had allocated before, in MiB
    :param amount_mb: what was claimed on top, in MiB
    """

    provider: str
    before_mb: int
    amount_mb: int


class Books:
    """Where Nova accounts for the memory of the servers of a host.

    :param reportclient: Nova's placement client
    """

    def __init__(self, reportclient: report_client.SchedulerReportClient):
        self._reportclient = reportclient

    def claim(self, context, instance, wanted_mb: int) -> Claim:
        """Claim what a wanted total takes on top of what is allocated.

        An operator may have the ceiling allocated in advance
        (``resources:MEMORY_MB``); then nothing is left to claim.

        :param context: the request context
        :param instance: a ``nova.objects.Instance``
        :param wanted_mb: RAM it is to have, in MiB
        :returns: what was claimed
        :raises nova.exception.ResizeError: if placement has not that much
        """
        provider, before_mb = self._allocated(context, instance)
        claim = Claim(
            provider, before_mb, max(0, wanted_mb - before_mb))
        try:
            self._add(context, instance, claim, claim.amount_mb)
        except exception.AllocationUpdateFailed as exc:
            raise exception.ResizeError(reason=exc.format_message())
        return claim

    def settle(self, context, instance, claim: Claim, present_mb: int):
        """After a failure, bring the books to what the guest has.

        :param context: the request context
        :param instance: a ``nova.objects.Instance``
        :param claim: what was claimed
        :param present_mb: RAM the guest has now, in MiB
        """
        kept_mb = max(0, present_mb - claim.before_mb)
        self._add(context, instance, claim, kept_mb - claim.amount_mb)
        if present_mb != instance.flavor.memory_mb:
            LOG.warning(
                'The books follow the guest: %(before)d to %(after)d MiB.',
                {'before': instance.flavor.memory_mb, 'after': present_mb},
                instance=instance)
            self.commit(context, instance, present_mb)

    def commit(self, context, instance, total_mb: int):
        """Write a new total into the instance.

        :param context: the request context
        :param instance: a ``nova.objects.Instance``; saved
        :param total_mb: RAM it has, in MiB
        """
        flavor = instance.flavor.obj_clone()
        flavor.memory_mb = total_mb
        instance.flavor = flavor
        instance.memory_mb = total_mb
        instance.save()

    def _allocated(self, context, instance) -> tuple[str, int]:
        allocations = self._reportclient.get_allocs_for_consumer(
            context, instance.uuid)['allocations']
        for provider, allocation in allocations.items():
            amount_mb = allocation['resources'].get(orc.MEMORY_MB)
            if amount_mb is not None:
                return provider, amount_mb
        raise exception.ResizeError(
            reason='the server has no memory allocated in placement')

    def _add(self, context, instance, claim: Claim, amount_mb: int):
        """Add to the allocation, or take from it if negative."""
        change = {claim.provider: {'resources': {
            orc.MEMORY_MB: abs(amount_mb)}}}
        if amount_mb > 0:
            self._reportclient.add_resources_to_instance_allocation(
                context, instance.uuid, change)
        elif amount_mb < 0:
            self._reportclient.remove_resources_from_instance_allocation(
                context, instance.uuid, change)
