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

"""Before a server moves, its books are brought to what its guest has.

A resize that failed or was cut short may have left them behind, and then the
scheduler would claim something else than what arrives (design T2 and T5).
"""

import typing as ty

from nova.compute import api as compute_api
from nova import exception
from oslo_log import log as logging
import oslo_messaging as messaging

from nova_memhotplug.common import rpcapi
from nova_memhotplug.core import errors

LOG = logging.getLogger(__name__)


class MoveRefused(Exception):
    """A server cannot move, because its books cannot be settled.

    :param code: a slug of ``core.errors``
    :param sentence: what is in the way, for people
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class Settler:
    """Asks hosts.

    :param servicegroup_api: Nova's ``servicegroup.API``
    """

    def __init__(self, servicegroup_api: ty.Any) -> None:
        self._hosts = rpcapi.MemHotplugAPI()
        # Nova's decorator looks for it here.
        self.servicegroup_api = servicegroup_api

    @compute_api.check_instance_host(check_is_up=True)
    def settle(self, context: ty.Any, instance: ty.Any) -> None:
        """Have the host of a server bring its books to what its guest has.

        :param context: the request context
        :param instance: a ``nova.objects.Instance``, with its ``services``
        :raises nova.exception.InstanceNotReady: if it has no host
        :raises nova.exception.ServiceUnavailable: if its host is down
        :raises MoveRefused: if its host must not or cannot do it
        """
        try:
            self._hosts.reconcile_memory(context, instance)
        except exception.InstanceNotFound:
            LOG.debug('The server is gone.', instance=instance)
        except exception.ResizeError as exc:
            _judge(context, instance, exc.kwargs.get('refusal'),
                   exc.kwargs['reason'])
        except (exception.NovaException, messaging.MessagingException) as exc:
            if not rpcapi.is_unsupported(exc):
                raise _not_settled(context, instance, exc) from exc
            LOG.info('The host of this server does not have the memory '
                     'hot-plug extension; its books are taken as they are.',
                     instance=instance)


def _judge(
    context: ty.Any, instance: ty.Any, code: str | None, sentence: str,
) -> None:
    """Decide what to do about a host's refusal."""
    if code == errors.HostFull.code:
        # The flavor follows the guest even then, so the next host claims
        # what arrives; and this one is relieved.
        LOG.warning('%s The server moves at its real size.', sentence,
                    instance=instance)
    elif code in (errors.ForeignDevices.code, errors.Busy.code):
        raise MoveRefused(code, sentence)
    else:
        raise _not_settled(context, instance, sentence)


def _not_settled(
    context: ty.Any, instance: ty.Any, reason: ty.Any,
) -> MoveRefused:
    refusal = errors.NotSettled(reason=reason)
    LOG.warning('%s', refusal, instance=instance)
    return MoveRefused(
        refusal.code,
        str(refusal) if context.is_admin else str(refusal.tenant_msg))
