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

from nova import exception
from oslo_log import log as logging
import oslo_messaging as messaging

from nova_memhotplug.common import rpcapi
from nova_memhotplug.common import states
from nova_memhotplug.core import errors
from nova_memhotplug.core import memory_spec

LOG = logging.getLogger(__name__)


class MoveRefused(Exception):
    """A server cannot move, because its books cannot be settled.

    :param code: a slug of ``core.errors``
    :param sentence: what is in the way, for people
    """

    def __init__(self, code: str, sentence: str):
        super().__init__(sentence)
        self.code = code


def is_wanted(instance) -> bool:
    """Tell whether the books of a server are to be compared.

    While something goes on with it, they may be in transit.

    :param instance: a ``nova.objects.Instance``
    """
    return (instance.task_state is None and
            instance.vm_state in states.SETTLED and
            memory_spec.MAX_MEMORY_MB in instance.flavor.extra_specs)


def settle(hosts, context, instance) -> None:
    """Have the host of a server bring its books to what its guest has.

    :param hosts: the ``rpcapi.MemHotplugAPI``
    :param context: the request context
    :param instance: a ``nova.objects.Instance``, with a host that is up
    :raises MoveRefused: if the host must not or cannot do it
    """
    try:
        hosts.reconcile_memory(context, instance)
    except exception.InstanceNotFound:
        LOG.debug('The server is gone.', instance=instance)
    except exception.ResizeError as exc:
        _judge(context, instance, exc.kwargs.get('refusal'),
               exc.kwargs['reason'])
    except (exception.NovaException, messaging.MessagingException) as exc:
        if not rpcapi.is_unsupported(exc):
            raise _not_settled(context, instance, exc) from exc
        LOG.info('The host of this server does not have the memory hot-plug '
                 'extension; its books are taken as they are.',
                 instance=instance)


def _judge(context, instance, code, sentence):
    """Decide what to do about a host's refusal."""
    if code == errors.HostFull.code:
        # The flavor follows the guest even then, so the next host claims
        # what arrives; and this one is relieved.
        LOG.warning('%s The server moves at its real size.', sentence,
                    instance=instance)
    elif code == errors.ForeignDevices.code:
        raise MoveRefused(code, sentence)
    else:
        raise _not_settled(context, instance, sentence)


def _not_settled(context, instance, reason):
    refusal = errors.NotSettled(reason=reason)
    LOG.warning('%s', refusal, instance=instance)
    return MoveRefused(
        refusal.code,
        str(refusal) if context.is_admin else refusal.tenant_msg)
