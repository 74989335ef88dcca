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

"""Wire what runs in nova-compute beside Nova's own manager."""

from collections.abc import Callable
import typing as ty

from nova_memhotplug.common import placement
from nova_memhotplug.compute import books
from nova_memhotplug.compute import endpoint
from nova_memhotplug.compute import follow
from nova_memhotplug.compute import onlining
from nova_memhotplug.compute import reconcile
from nova_memhotplug.core import strategies


def start(
    manager: ty.Any, guests: ty.Any,
    land: Callable[[strategies.Launch], str | None], host: str,
    onliner: onlining.Onliner,
) -> reconcile.Reconciler:
    """Start to serve requests, and to look after the books of a host.

    :param manager: the ``nova.compute.manager.ComputeManager``
    :param guests: the ``virt.guest.Guests`` of the host
    :param land: says with which emulator a guest of another host can go on
        on this one
    :param host: the name of the host
    :param onliner: has guests use what they were given
    :returns: who is to be told when guests need a look
    """
    ledger = books.Books(manager.reportclient, manager.rt)
    follower = follow.Follower(host, guests)
    reconciler = reconcile.Reconciler(
        host, guests, ledger, placement.Placement(manager.reportclient),
        onliner.remember, follower)
    manager.additional_endpoints.append(
        endpoint.MemHotplugEndpoint(
            manager, guests, ledger, reconciler, onliner, follower, land))
    return reconciler
