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

"""A guest on its way to another host."""

import typing as ty

from nova import exception
from nova.virt import hardware
from oslo_log import log as logging
import oslo_messaging as messaging

from nova_memhotplug.common import rpcapi
from nova_memhotplug.core import domain
from nova_memhotplug.core import strategies
from nova_memhotplug.models import registry

LOG = logging.getLogger(__name__)


def emulator_there(
    context: ty.Any, instance: ty.Any, host: str, guest: domain.GuestMemory,
) -> str | None:
    """Ask the destination which emulator a guest is to have there.

    It has agreed to the guest before. Whatever goes wrong now, the guest is
    tried as it is: an exception would put the server into ``ERROR``, as the
    refusal of libvirt would, which is all that can come of it.

    :param context: a request context
    :param instance: the guest's ``nova.objects.Instance``
    :param host: the destination
    :param guest: what the live domain has
    :returns: its path; None for that which the guest has
    """
    launch = strategies.Launch.of(guest, registry.elements())
    if not launch.has_empty_cell:
        return None
    try:
        landing = rpcapi.MemHotplugAPI().get_landing(
            context, host, launch.document())
    except (exception.NovaException, messaging.MessagingException) as exc:
        # An earlier version has agreed to the guest as it is.
        if not rpcapi.is_unsupported(exc):
            LOG.warning('Host %(host)s names no emulator for the guest that '
                        'moves there: %(reason)s',
                        {'host': host, 'reason': exc}, instance=instance)
        return None
    path: str | None = landing['emulator']
    if path is not None and not strategies.is_emulator(path):
        LOG.warning('Host %(host)s names an emulator that is no absolute '
                    'path: %(path)r', {'host': host, 'path': path},
                    instance=instance)
        return None
    return path


class MovingGuest:
    """Nova's handle on a guest that is to be another one on another host.

    Nova makes the XML for the destination of what this says is the guest's.
    In all else it is the handle itself.

    :param guest: a ``nova.virt.libvirt.guest.Guest``
    :param host_nodes: nodes of the destination that its devices go to, as
        libvirt writes them, by the place of the guest's own cell; empty if
        it is bound to none
    :param emulator: path of its emulator on the destination; None to leave
        it as it is
    """

    def __init__(
        self, guest: ty.Any, host_nodes: dict[int, str],
        emulator: str | None,
    ):
        self._guest = guest
        self._host_nodes = host_nodes
        self._emulator = emulator

    @classmethod
    def of(
        cls, guest: ty.Any, migrate_data: ty.Any, emulator: str | None,
    ) -> ty.Any:
        """Wrap a guest, if anything of it is another there.

        :param guest: a ``nova.virt.libvirt.guest.Guest``
        :param migrate_data: the ``nova.objects.LibvirtLiveMigrateData`` that
            the destination has filled in
        :param emulator: what ``emulator_there`` returned
        :returns: the guest itself if all stays as it is
        """
        host_nodes = _host_nodes(migrate_data)
        if not host_nodes and emulator is None:
            return guest
        return cls(guest, host_nodes, emulator)

    def get_xml_desc(self, *args: ty.Any, **kwargs: ty.Any) -> str:
        """Return the guest's XML as it is to be on the destination.

        :raises UnreadableDomain: if the guest's XML lacks what is needed
        """
        xml: str = self._guest.get_xml_desc(*args, **kwargs)
        if self._host_nodes:
            xml = domain.rebind(xml, self._host_nodes)
        if self._emulator is not None:
            xml = domain.with_emulator(xml, self._emulator)
        return xml

    def __getattr__(self, name: str) -> ty.Any:
        return getattr(self._guest, name)


def _host_nodes(migrate_data: ty.Any) -> dict[int, str]:
    """Say to which nodes the destination binds the cells of a guest."""
    if ('dst_numa_info' not in migrate_data or
            'cell_pins' not in migrate_data.dst_numa_info):
        return {}
    return {int(cell): hardware.format_cpu_spec(nodes) for cell, nodes in
            migrate_data.dst_numa_info.cell_pins.items()}
