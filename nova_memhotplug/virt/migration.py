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

from nova.virt import hardware

from nova_memhotplug.core import domain


class MovingGuest:
    """Nova's handle on a guest whose devices go to nodes of another host.

    Nova makes the XML for the destination of what this says is the guest's.
    In all else it is the handle itself.

    :param guest: a ``nova.virt.libvirt.guest.Guest``
    :param host_nodes: nodes of the destination, as libvirt writes them, by
        the place of the guest's own cell
    """

    def __init__(self, guest: ty.Any, host_nodes: dict[int, str]):
        self._guest = guest
        self._host_nodes = host_nodes

    @classmethod
    def of(cls, guest: ty.Any, migrate_data: ty.Any) -> ty.Any:
        """Wrap a guest, if the destination binds it to nodes.

        :param guest: a ``nova.virt.libvirt.guest.Guest``
        :param migrate_data: the ``nova.objects.LibvirtLiveMigrateData`` that
            the destination has filled in
        :returns: the guest itself if it is bound to no nodes
        """
        if 'dst_numa_info' not in migrate_data:
            return guest
        info = migrate_data.dst_numa_info
        if 'cell_pins' not in info:
            return guest
        return cls(guest, {
            int(cell): hardware.format_cpu_spec(nodes)
            for cell, nodes in info.cell_pins.items()})

    def get_xml_desc(self, *args: ty.Any, **kwargs: ty.Any) -> str:
        """Return the guest's XML with its devices on the destination.

        :raises UnreadableDomain: if the guest's XML lacks what is needed
        """
        return domain.rebind(
            self._guest.get_xml_desc(*args, **kwargs), self._host_nodes)

    def __getattr__(self, name: str) -> ty.Any:
        return getattr(self._guest, name)
