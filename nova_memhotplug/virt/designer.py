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

"""Fill Nova's guest config with what an elastic guest boots with."""

from lxml import etree
from nova.virt import hardware
from nova.virt.libvirt import config as vconfig

from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import layouts
from nova_memhotplug.core import memory_spec
from nova_memhotplug.models import base
from nova_memhotplug.virt import config


def set_elastic_memory(
    guest: vconfig.LibvirtConfigGuest,
    spec: memory_spec.MemorySpec,
    strategy: str,
    model: base.MemoryModel,
) -> None:
    """Give a guest room for growth.

    :param guest: the guest config that Nova made; changed in place
    :param spec: what the flavor says
    :param strategy: how the reserved cell is made
    :param model: how the guest is to grow
    :raises MemoryHotplugError: if it cannot have it; nothing is changed then
    """
    wanted = layouts.request(_cells(guest), guest.memory, spec, strategy)
    boot = model.boot(wanted)
    layout = layouts.lay_out(wanted, boot, strategy, _page_kib(guest))
    _set_cells(guest, layout.cells)
    _set_backing(guest, layout.cells)
    if layout.max_kib is not None:
        guest.max_memory_size = layout.max_kib
        guest.max_memory_slots = layout.slots
    guest.memory = sum(cell.memory_kib for cell in layout.cells)
    for element in boot.devices:
        guest.add_device(config.Verbatim(element))
    _keep_ports(guest, boot.devices)


def set_emulator(guest: vconfig.LibvirtConfigGuest, path: str) -> None:
    """Make libvirt start a guest with another emulator binary.

    :param guest: the guest config; changed in place
    :param path: the binary
    """
    guest.add_device(config.Emulator(path))


def _keep_ports(
    guest: vconfig.LibvirtConfigGuest, devices: tuple[etree._Element, ...],
) -> None:
    """Leave a guest the free PCIe ports that ``[libvirt] num_pcie_ports``
    gives it. Without that option libvirt makes a port for each device.
    """
    if not any(isinstance(one, vconfig.LibvirtConfigGuestPCIeRootController)
               for one in guest.devices):
        return
    for element in devices:
        if element.get('model') == device.VIRTIO_MEM:
            guest.add_device(
                vconfig.LibvirtConfigGuestPCIeRootPortController())


def _cells(guest: vconfig.LibvirtConfigGuest) -> list[domain.Cell]:
    if guest.cpu is None or guest.cpu.numa is None:
        return []
    tune = guest.numatune
    bound = {node.cellid: hardware.format_cpu_spec(set(node.nodeset))
             for node in (tune.memnodes if tune else ())}
    return [
        domain.Cell(
            id=cell.id, memory_kib=cell.memory, has_cpus=bool(cell.cpus),
            backing=None if cell.id not in bound else device.Backing(
                bound[cell.id], _page_kib(guest, cell.id), cell.memAccess))
        for cell in guest.cpu.numa.cells]


def _page_kib(guest: vconfig.LibvirtConfigGuest, cell_id: int = 0) -> int:
    """Say what pages back a cell; the reserved one is taken of the first."""
    pages = guest.membacking.hugepages if guest.membacking else []
    return next(
        (page.size_kb for page in pages if cell_id in page.nodeset), 0)


def _set_cells(
    guest: vconfig.LibvirtConfigGuest, cells: tuple[domain.Cell, ...],
) -> None:
    if guest.cpu is None:
        guest.cpu = vconfig.LibvirtConfigGuestCPU()
    if guest.cpu.numa is None:
        guest.cpu.numa = vconfig.LibvirtConfigGuestCPUNUMA()
    present = {cell.id: cell for cell in guest.cpu.numa.cells}
    access = {cell.memAccess for cell in present.values()}
    guest.cpu.numa.cells = [
        _set_cell(present.get(cell.id), cell, guest.vcpus, access)
        for cell in cells]


def _set_backing(
    guest: vconfig.LibvirtConfigGuest, cells: tuple[domain.Cell, ...],
) -> None:
    """Have a reserved cell with memory where the one is it is taken of: in
    such pages, and on such nodes of the host.
    """
    first, reserved = cells[0].id, cells[-1]
    if reserved.has_cpus or not reserved.memory_kib:
        return
    for page in guest.membacking.hugepages if guest.membacking else []:
        if first in page.nodeset:
            page.nodeset = [*page.nodeset, reserved.id]
    tune = guest.numatune
    for bound in tuple(tune.memnodes) if tune else ():
        if bound.cellid == first:
            node = vconfig.LibvirtConfigGuestNUMATuneMemNode()
            node.cellid, node.mode = reserved.id, bound.mode
            node.nodeset = bound.nodeset
            tune.memnodes.append(node)


def _set_cell(
    present: vconfig.LibvirtConfigGuestCPUNUMACell | None,
    cell: domain.Cell, vcpus: int, access: set[str | None],
) -> vconfig.LibvirtConfigGuestCPUNUMACell:
    if present is None:
        present = vconfig.LibvirtConfigGuestCPUNUMACell()
        present.id = cell.id
        # Whether memory is shared is the same for all cells of Nova's.
        present.memAccess = next(iter(access), None)
        if cell.has_cpus:
            present.cpus = set(range(vcpus))
    present.memory = cell.memory_kib
    return present
