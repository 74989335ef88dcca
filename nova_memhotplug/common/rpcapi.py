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

"""How nova-api and other hosts talk to the endpoint on a compute host."""

from collections.abc import Mapping
from collections.abc import Sequence
import functools
import typing as ty

from nova.compute import rpcapi as compute_rpcapi
from nova.objects import base as objects_base
from nova import rpc
import oslo_messaging as messaging
from oslo_utils import versionutils

NAMESPACE = 'memhotplug'
#: 1.0: get_memory (gone), resize_memory, reconcile_memory
#: 1.1: get_launch
#: 1.2: observe_memory, get_totals; resize_memory of a reserved total
#: 1.3: use_memory
#: 1.4: get_landing, count_shims; resize_memory to less
VERSION = '1.4'
#: What a call needs that does not ask for more.
_BASE_VERSION = '1.0'
#: What a host must speak to be asked for a resize, and to keep notes of its
#: guests.
RESIZE_VERSION = '1.2'
#: What it must speak to look once more what a guest uses, and to take memory
#: away.
USE_VERSION, SHRINK_VERSION = '1.3', '1.4'

#: Where a host says in Nova's record of it (``ComputeNode.stats``) that it
#: runs this extension, and which version of this interface.
STAT = 'memhotplug'


def sign(resources: ty.Any, stats: Mapping[str, int]) -> None:
    """Say that this host runs the extension, and what it can do.

    Nova's resource tracker drops what was said before whenever it asks the
    driver, so a host that goes back to Nova's own driver says it no more.

    :param resources: what ``get_available_resource`` of a driver returns;
        changed
    :param stats: what the scheduler is to know besides
    """
    resources.setdefault('stats', {}).update(stats, **{STAT: VERSION})


def speaks(compute_node: ty.Any, wanted: str) -> bool:
    """Tell whether a host has a version of this interface.

    :param compute_node: the ``nova.objects.ComputeNode`` of the host
    :param wanted: the version
    """
    version = spoken(compute_node)
    return version is not None and versionutils.is_compatible(wanted, version)


def spoken(compute_node: ty.Any) -> str | None:
    """Say which version of this interface a host has.

    :param compute_node: the ``nova.objects.ComputeNode`` of the host
    :returns: the version; None without the extension
    """
    if not compute_node.obj_attr_is_set('stats'):
        return None
    return ty.cast(str | None, compute_node.stats.get(STAT))


@functools.cache
def _router() -> ty.Any:
    """Make the client once; the router finds the cell of each request."""
    target = messaging.Target(
        topic=compute_rpcapi.RPC_TOPIC, namespace=NAMESPACE,
        version=_BASE_VERSION)
    return rpc.ClientRouter(rpc.get_client(
        target, serializer=objects_base.NovaObjectSerializer()))


def _client(
    context: ty.Any, host: str, version: str = _BASE_VERSION,
) -> ty.Any:
    """Return a client of a host; a call needs that version of it."""
    return _router().client(context).prepare(server=host, version=version)


def is_unsupported(exc: BaseException) -> bool:
    """Tell whether a host has not what was called.

    :param exc: what a call has raised
    """
    # Over a broker, the exceptions of oslo.messaging's dispatcher come as
    # RemoteError.
    return (isinstance(exc, messaging.UnsupportedVersion) or
            getattr(exc, 'exc_type', None) == 'UnsupportedVersion')


class MemHotplugAPI:
    """RPC client of ``compute.endpoint.MemHotplugEndpoint``."""

    def observe_memory(
        self, context: ty.Any, instance: ty.Any, ask_guest: bool = False,
    ) -> ty.Any:
        """Ask the instance's host what is known of its guest.

        :param ask_guest: whether to ask the guest's agent, too
        :returns: the document of ``core.observations``; None if the guest
            does not run
        """
        return _client(context, instance.host, '1.2').call(
            context, 'observe_memory', instance=instance,
            ask_guest=ask_guest)

    def get_totals(
        self, context: ty.Any, host: str, uuids: Sequence[str],
    ) -> ty.Any:
        """Ask a host what its guests have.

        :param context: a request context of the host's cell
        :param host: name of the host
        :param uuids: UUIDs of the servers that are asked for
        :returns: RAM of each of those that run, in MiB, by the server's
            UUID; None for a guest that cannot be read
        """
        return _client(context, host, '1.2').call(
            context, 'get_totals', uuids=uuids)

    def count_shims(self, context: ty.Any, host: str) -> ty.Any:
        """Ask a host how many of its guests name the emulator shim.

        :param context: a request context of the host's cell
        :param host: name of the host
        :returns: how many do that are ``running``, that have such a
            ``stored`` definition, that are ``saved``
        """
        return _client(context, host, '1.4').call(context, 'count_shims')

    def resize_memory(
        self, context: ty.Any, instance: ty.Any, memory_mb: ty.Any, flavor:
        ty.Any = None,
    ) -> None:
        """Tell the instance's host to bring it to a wanted total.

        :param memory_mb: RAM it is to have, in MiB
        :param flavor: the flavor it changes to; None to keep its own
        """
        _client(context, instance.host, RESIZE_VERSION).cast(
            context, 'resize_memory', instance=instance, memory_mb=memory_mb,
            flavor=flavor)

    def use_memory(self, context: ty.Any, instance: ty.Any) -> None:
        """Tell the instance's host to have its guest use what it has."""
        _client(context, instance.host, USE_VERSION).cast(
            context, 'use_memory', instance=instance)

    def reconcile_memory(self, context: ty.Any, instance: ty.Any) -> None:
        """Have the instance's host bring the books to what the guest has.

        :raises nova.exception.ResizeError: if it could not be done; its
            ``kwargs`` have the sentence as ``reason`` and the code of
            ``core.errors`` as ``refusal``
        """
        _client(context, instance.host).call(
            context, 'reconcile_memory', instance=instance)

    def get_launch(self, context: ty.Any, instance: ty.Any) -> ty.Any:
        """Ask the instance's host how its guest was started.

        :returns: the document of ``core.strategies.Launch``
        """
        return _client(context, instance.host, '1.1').call(
            context, 'get_launch', instance=instance)

    def get_landing(
        self, context: ty.Any, host: str, launch: ty.Any,
    ) -> ty.Any:
        """Ask the destination of a live migration how a guest goes on there.

        :param host: name of the destination
        :param launch: the document of ``core.strategies.Launch``
        :returns: ``emulator``: the path of the emulator that it is to have
            there; None for that which it has
        """
        return _client(context, host, '1.4').call(
            context, 'get_landing', launch=launch)
