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

"""On the destination of a live migration: can the guest go on here, and how?

The host that it runs on is asked how it was started, for the live domain is
the truth (design T2); what this host can start, it tries (virt.probe). Before
the guest leaves, its host asks in turn how it is to be started here.
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


def land(
    launch: strategies.Launch, prober: probe.Prober, bits: int | None,
) -> str | None:
    """Check that a guest of another host can go on on this one.

    :param launch: how it was started
    :param prober: says what this host can start
    :param bits: address bits of its processors; None if no guest depends on
        them
    :returns: path of the emulator that it is to have here; None for that
        which it has
    :raises CannotCarry: if it cannot
    """
    support = prober.support(
        launch.arch, strategies.carriers(
            launch, CONF.memhotplug.zero_cell_strategy),
        is_one_enough=launch.can_cross)
    shim = None if support is None else support.shim_path(
        CONF.memhotplug.shim_directory)
    return strategies.check_destination(
        launch, support, shim, registry.elements(), bits)


def launch_of(context: ty.Any, instance: ty.Any) -> strategies.Launch:
    """Ask the host of a server how its guest was started.

    :param context: a request context
    :param instance: a ``nova.objects.Instance`` on another host
    :raises LaunchUnknown: if its host does not say it
    """
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
