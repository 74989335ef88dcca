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

"""Before a live migration, on the destination: can the guest go on here?

The host that it runs on is asked how it was started, for the live domain is
the truth (design T2); what this host can start, it tries (virt.probe).
"""

import typing as ty

from nova import exception
import oslo_messaging as messaging

from nova_memhotplug.common import options
from nova_memhotplug.common import rpcapi
from nova_memhotplug.core import errors
from nova_memhotplug.core import strategies
from nova_memhotplug.models import registry
from nova_memhotplug.virt import probe

CONF = options.CONF


def check(
    context: ty.Any, instance: ty.Any, prober: probe.Prober,
    bits: int | None,
) -> None:
    """Check that the guest of a server can go on on this host.

    :param context: a request context
    :param instance: a ``nova.objects.Instance`` on another host
    :param prober: says what this host can start
    :param bits: address bits of its processors; None if no guest depends on
        them
    :raises CannotCarry: if it cannot
    :raises LaunchUnknown: if its host does not say how it was started
    """
    launch = _launch(context, instance)
    support = prober.support(
        launch.arch, strategies.carriers(launch), is_one_enough=False)
    shim = None if support is None else support.shim_path(
        CONF.memhotplug.shim_directory)
    strategies.check_destination(
        launch, support, shim, registry.models(), bits)


def _launch(context: ty.Any, instance: ty.Any) -> strategies.Launch:
    try:
        return strategies.Launch.from_document(
            rpcapi.MemHotplugAPI().get_launch(context, instance))
    except (exception.NovaException, messaging.MessagingException) as exc:
        if rpcapi.is_unsupported(exc):
            raise errors.LaunchUnknown(
                reason='host %s has not the memory hot-plug extension, or an '
                'older version of it' % instance.host)
        raise errors.LaunchUnknown(
            reason='host %s says: %s' % (instance.host, exc))
