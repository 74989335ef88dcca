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
"""The allocation of a server in placement, and what its host has free."""

import dataclasses
import typing as ty

from keystoneauth1 import exceptions as ks_exc
from nova import exception
from nova import objects
from nova.scheduler.client import report
import os_resource_classes as orc
import tenacity

from nova_memhotplug.core import accounting
from nova_memhotplug.core import errors

#: What Nova's placement client raises when placement fails; the last two
#: when something else than placement answers.
FAILURES = (
    exception.NovaException, ks_exc.ClientException, ValueError, KeyError)

#: Consumer generations: a write fails if another was faster (placement,
#: doc/source/rest_api_version_history.rst, 1.28).
_VERSION = report.CONSUMER_GENERATION_VERSION
#: What a write answers when another was faster. All other conflicts, as a
#: host without room, have another code (facts-events.md, 0.10).
_CONCURRENT_UPDATE = 'placement.concurrent_update'
_ATTEMPTS = 4


class _Outdated(Exception):
    """Another has written an allocation since it was read."""


@dataclasses.dataclass(frozen=True)
class Allocation:
    """What a server has allocated, as placement said it.

    :param uuid: the server
    :param provider: UUID of the resource provider of its host
    :param document: what ``GET /allocations/{uuid}`` answered
    """

    uuid: str
    provider: str
    document: dict[str, ty.Any]

    @property
    def memory_mb(self) -> int:
        """RAM on the server's host, in MiB."""
        resources = self.document['allocations'][self.provider]['resources']
        return int(resources.get(orc.MEMORY_MB, 0))

    def resized(self, memory_mb: int) -> dict[str, ty.Any]:
        """Make the document that leads to another amount on its host.

        :param memory_mb: RAM, in MiB; 0 for none
        :returns: what ``PUT /allocations/{uuid}`` takes
        """
        ours = self.document['allocations'][self.provider]
        resources = {name: amount for name, amount
                     in ours['resources'].items() if name != orc.MEMORY_MB}
        if memory_mb:
            resources[orc.MEMORY_MB] = memory_mb
        others = {provider: share for provider, share
                  in self.document['allocations'].items()
                  if provider != self.provider}
        mine = {self.provider: {'resources': resources}} if resources else {}
        return self.document | {'allocations': others | mine}


class Placement:
    """Reads and writes by Nova's placement client.

    :param reportclient: the client
    """

    def __init__(self, reportclient: ty.Any):
        self._reportclient = reportclient

    def allocation(
        self, context: ty.Any, uuid: str, provider: str,
    ) -> Allocation:
        """Read what a server has allocated. This is one request.

        :param context: the request context
        :param uuid: the server
        :param provider: UUID of the resource provider of its host
        :returns: the allocation
        :raises NothingAllocated: if it has not even an allocation there
        :raises AccountingFailed: if placement does not say
        """
        try:
            document = self._reportclient.get_allocs_for_consumer(
                context, uuid)
            # After an evacuation the server has a share on its old host, too.
            if provider not in document['allocations']:
                raise errors.NothingAllocated(uuid=uuid)
        except FAILURES as exc:
            raise errors.AccountingFailed(reason=exc)
        return Allocation(uuid, provider, document)

    def allocated(
        self, context: ty.Any, instance: ty.Any,
    ) -> tuple[str, int]:
        """Find the provider of a server's host, and what the server has there.

        :param context: the request context, of the server's cell
        :param instance: a ``nova.objects.Instance``
        :returns: the UUID of the provider, and RAM in MiB
        :raises NothingAllocated: if it has not even an allocation there
        :raises AccountingFailed: if placement does not say
        """
        provider = self.provider(context, instance)
        found = self.allocation(context, instance.uuid, provider)
        return provider, found.memory_mb

    @staticmethod
    def provider(context: ty.Any, instance: ty.Any) -> str:
        """Find the resource provider of a server's host.

        :param context: the request context, of the server's cell
        :param instance: a ``nova.objects.Instance``
        :returns: its UUID, which is that of Nova's compute node
        :raises AccountingFailed: if Nova does not know the host
        """
        try:
            return str(objects.ComputeNode.get_by_host_and_nodename(
                context, instance.host, instance.node).uuid)
        except FAILURES as exc:
            raise errors.AccountingFailed(reason=exc)

    def set_memory(
        self, context: ty.Any, found: Allocation, memory_mb: int,
    ) -> None:
        """Set the RAM that a server has allocated. This is one request.

        Where another was faster, the allocation is read again. Nova's own
        helpers add or take away a difference, and report success where
        placement refused to take it away (nova/scheduler/client/report.py,
        _remove_resources_from_instance_allocation), so the answer is looked
        at here.

        :param context: the request context
        :param found: what the server has allocated
        :param memory_mb: RAM it is to have, in MiB
        :raises HostFull: if the host has not that much
        :raises AccountingFailed: if placement does not do it
        """
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            wait=tenacity.wait_random(0, 0.1),
            retry=tenacity.retry_if_exception_type(_Outdated), reraise=True)
        known = [found]

        def attempt() -> None:
            current = known.pop() if known else self.allocation(
                context, found.uuid, found.provider)
            if current.memory_mb != memory_mb:
                self._put(context, current, memory_mb)

        try:
            retrying(attempt)
        except _Outdated as exc:
            raise errors.AccountingFailed(reason=exc)

    def _put(
        self, context: ty.Any, found: Allocation, memory_mb: int,
    ) -> None:
        try:
            answer = self._reportclient.put(
                '/allocations/%s' % found.uuid, found.resized(memory_mb),
                version=_VERSION, global_request_id=context.global_id)
            if answer.status_code == 204:
                return
            (error, *_others) = answer.json()['errors']
            code, detail = error.get('code'), error['detail']
        except FAILURES as exc:
            raise errors.AccountingFailed(reason=exc)
        if code == _CONCURRENT_UPDATE:
            raise _Outdated(detail)
        if answer.status_code == 409:
            self._check_free(found, memory_mb)
        raise errors.AccountingFailed(reason=detail)

    def _check_free(self, found: Allocation, memory_mb: int) -> None:
        """Name the numbers if it is the memory that the host has not."""
        asked_mb = memory_mb - found.memory_mb
        free_mb = self.free_mb(found.provider)
        if free_mb < asked_mb:
            raise errors.HostFull(asked_mb=asked_mb, free_mb=free_mb)

    def allocated_on(self, context: ty.Any, provider: str) -> dict[str, int]:
        """Say what everybody has allocated on a host. This is one request.

        :param context: a request context
        :param provider: the UUID of its resource provider
        :returns: RAM, in MiB, by the UUID of the consumer; 0 for one that has
            something else there
        :raises AccountingFailed: if placement does not say
        """
        try:
            found = self._reportclient.get_allocations_for_resource_provider(
                context, provider).allocations
            return {uuid: int(share['resources'].get(orc.MEMORY_MB, 0))
                    for uuid, share in found.items()}
        except FAILURES as exc:
            raise errors.AccountingFailed(reason=exc)

    def free_mb(self, provider: ty.Any) -> int:
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
