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
"""What placement says about a server and its host. Nothing is changed."""

from keystoneauth1 import exceptions as ks_exc
from nova import exception
from nova import objects
from nova.scheduler.client import report
import os_resource_classes as orc

from nova_memhotplug.core import accounting
from nova_memhotplug.core import errors

#: What Nova's placement client raises when placement fails; the last two
#: when something else than placement answers.
FAILURES = (
    exception.NovaException, ks_exc.ClientException, ValueError, KeyError)


class Placement:
    """Reads what placement has on record.

    :param reportclient: Nova's placement client
    """

    def __init__(self, reportclient):
        self._reportclient = reportclient

    @classmethod
    def connect(cls) -> 'Placement':
        """Use the client that all of this process uses.

        :returns: a reader
        :raises AccountingFailed: if placement cannot be reached
        """
        try:
            return cls(report.report_client_singleton())
        except FAILURES as exc:
            raise errors.AccountingFailed(reason=exc)

    def allocated(self, context, instance) -> tuple[str, int]:
        """Find the provider of a server's host, and what the server has there.

        :param context: the request context, of the server's cell
        :param instance: a ``nova.objects.Instance``
        :returns: the UUID of the provider, and RAM in MiB
        :raises NothingAllocated: if it has not even an allocation there
        :raises AccountingFailed: if placement does not say
        """
        try:
            provider = objects.ComputeNode.get_by_host_and_nodename(
                context, instance.host, instance.node).uuid
            allocations = self._reportclient.get_allocs_for_consumer(
                context, instance.uuid)['allocations']
        except FAILURES as exc:
            raise errors.AccountingFailed(reason=exc)
        # After an evacuation the server has a share on its old host, too.
        if provider not in allocations:
            raise errors.NothingAllocated(uuid=instance.uuid)
        resources = allocations[provider]['resources']
        return provider, resources.get(orc.MEMORY_MB, 0)

    def missing(
        self, context, instance, total_mb: int, flavor=None,
    ) -> tuple[str, int]:
        """Say what a server needs more for a total.

        :param context: the request context, of the server's cell
        :param instance: a ``nova.objects.Instance``
        :param total_mb: RAM it is to have, in MiB
        :param flavor: the flavor that counts, if not the instance's own
        :returns: the UUID of the provider, and RAM in MiB; negative where it
            has more than it needs
        :raises AccountingFailed: if placement does not say
        """
        provider, allocated_mb = self.allocated(context, instance)
        expected_mb = accounting.allocation_mb(
            total_mb, (flavor or instance.flavor).extra_specs)
        return provider, expected_mb - allocated_mb

    def free_mb(self, provider) -> int:
        """Say what a host has free.

        :param provider: the UUID of its resource provider
        :returns: RAM, in MiB
        :raises AccountingFailed: if placement does not say
        """
        base = '/resource_providers/%s' % provider
        try:
            inventories = self._reportclient.get(
                base + '/inventories').json()['inventories']
            usages = self._reportclient.get(
                base + '/usages').json()['usages']
            memory = inventories[orc.MEMORY_MB]
            return accounting.free_mb(
                memory['total'], memory['reserved'],
                memory['allocation_ratio'], usages[orc.MEMORY_MB])
        except FAILURES as exc:
            raise errors.AccountingFailed(reason=exc)

    def check_room(
        self, context, instance, total_mb: int, flavor=None,
    ) -> None:
        """Check whether a server's host has room for a total.

        Another may take it before this server does, so the claim on the host
        is what counts.

        :param context: the request context, of the server's cell
        :param instance: a ``nova.objects.Instance``
        :param total_mb: RAM it is to have, in MiB
        :param flavor: the flavor that counts, if not the instance's own
        :raises HostFull: if there is not that much
        :raises AccountingFailed: if placement does not say
        """
        provider, missing_mb = self.missing(
            context, instance, total_mb, flavor)
        if missing_mb <= 0:
            return
        free_mb = self.free_mb(provider)
        if free_mb < missing_mb:
            raise errors.HostFull(asked_mb=missing_mb, free_mb=free_mb)
