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

import functools

from nova.compute import rpcapi as compute_rpcapi
from nova.objects import base as objects_base
from nova import rpc
import oslo_messaging as messaging

NAMESPACE = 'memhotplug'
#: 1.0: get_memory, resize_memory, reconcile_memory
#: 1.1: get_launch
VERSION = '1.1'
#: What a call needs that does not ask for more.
_BASE_VERSION = '1.0'


@functools.cache
def _router():
    """Make the client once; the router finds the cell of each request."""
    target = messaging.Target(
        topic=compute_rpcapi.RPC_TOPIC, namespace=NAMESPACE,
        version=_BASE_VERSION)
    return rpc.ClientRouter(rpc.get_client(
        target, serializer=objects_base.NovaObjectSerializer()))


def is_unsupported(exc) -> bool:
    """Tell whether a host has not what was called.

    :param exc: what a call has raised
    """
    # Over a broker, the exceptions of oslo.messaging's dispatcher come as
    # RemoteError.
    return (isinstance(exc, messaging.UnsupportedVersion) or
            getattr(exc, 'exc_type', None) == 'UnsupportedVersion')


class MemHotplugAPI:
    """RPC client of ``compute.endpoint.MemHotplugEndpoint``."""

    def get_memory(self, context, instance, memory_mb=None):
        """Ask the instance's host to describe its memory.

        :param memory_mb: a wanted total to plan for, in MiB; None for none
        :returns: the document
        """
        return self._client(context, instance).call(
            context, 'get_memory', instance=instance, memory_mb=memory_mb)

    def resize_memory(self, context, instance, memory_mb, flavor=None):
        """Tell the instance's host to bring it to a wanted total.

        :param memory_mb: RAM it is to have, in MiB
        :param flavor: the flavor it changes to; None to keep its own
        """
        self._client(context, instance).cast(
            context, 'resize_memory', instance=instance, memory_mb=memory_mb,
            flavor=flavor)

    def reconcile_memory(self, context, instance):
        """Have the instance's host bring the books to what the guest has.

        :raises nova.exception.ResizeError: if it could not be done; its
            ``kwargs`` have the sentence as ``reason`` and the code of
            ``core.errors`` as ``refusal``
        """
        self._client(context, instance).call(
            context, 'reconcile_memory', instance=instance)

    def get_launch(self, context, instance):
        """Ask the instance's host how its guest was started.

        :returns: the document of ``core.strategy.Launch``
        """
        return self._client(context, instance, '1.1').call(
            context, 'get_launch', instance=instance)

    def _client(self, context, instance, version=_BASE_VERSION):
        return _router().client(context).prepare(
            server=instance.host, version=version)
