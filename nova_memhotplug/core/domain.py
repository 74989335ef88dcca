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

"""What a domain's XML says about the guest's memory."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

from lxml import etree

from nova_memhotplug.core import addresses
from nova_memhotplug.core import device
from nova_memhotplug.core import errors
from nova_memhotplug.core import limits
from nova_memhotplug.core import processors
from nova_memhotplug.core import units

#: Types of network ports that the kernel's module vhost can serve.
_TAPS = frozenset(('bridge', 'network', 'ethernet', 'direct'))
AGENT_CHANNEL = 'org.qemu.guest_agent.0'

Reader = Callable[[etree._Element], device.MemoryDevice]


@dataclasses.dataclass(frozen=True)
class Cell:
    """A guest NUMA cell.

    :param id: its number; the guest's node has the same
    :param memory_kib: boot memory of the cell, in KiB
    :param has_cpus: whether any vCPU is in it
    :param backing: where on the host it has its memory; None where the host
        is free to choose
    """

    id: int
    memory_kib: int
    has_cpus: bool
    backing: device.Backing | None = None


@dataclasses.dataclass(frozen=True)
class GuestMemory:
    """The memory of a guest, as its domain has it.

    :param arch: guest architecture
    :param emulator: path of the emulator
    :param boot_kib: memory the guest booted with, in KiB
    :param max_kib: the ceiling it booted with, in KiB; None without one
    :param slots: memory slots it booted with
    :param cells: its NUMA cells, by number
    :param devices: its memory devices, in the order of the domain
    :param page_kib: largest huge page that backs it, in KiB; 0 for none
    :param has_agent: whether it has a channel for the guest agent
    :param is_agent_there: whether an agent listens at that channel, as far
        as libvirt knows
    :param machine: its machine type; empty if not known
    :param is_amd: whether its vCPUs are AMD's; None if not known
    :param servers: who serves it, see ``core.limits``
    :param most_devices: how many memory devices those let it have; None for
        as many as it has slots
    """

    arch: str
    emulator: str
    boot_kib: int
    max_kib: int | None
    slots: int
    cells: tuple[Cell, ...]
    devices: tuple[device.MemoryDevice, ...]
    page_kib: int
    has_agent: bool
    is_agent_there: bool = True
    machine: str = ''
    is_amd: bool | None = None
    servers: tuple[str, ...] = ()
    most_devices: int | None = None

    @property
    def boot_mb(self) -> int:
        """Memory the guest booted with, in MiB."""
        return units.kib_to_mb(self.boot_kib)

    @property
    def max_mb(self) -> int | None:
        """The most that the guest may have, in MiB; None without a ceiling.

        What devices by hand hold and do not give cannot be had otherwise.
        """
        if self.max_kib is None:
            return None
        return units.kib_to_mb(self.max_kib) - sum(
            dev.extent_mb - dev.size_mb for dev in self.devices
            if not dev.is_ours)

    @property
    def plugged_mb(self) -> int:
        """RAM that was plugged since, in MiB."""
        return sum(dev.size_mb for dev in self.devices if dev.is_ram)

    @property
    def present_mb(self) -> int:
        """RAM that the books count, in MiB: see ``device.MemoryDevice``."""
        return self.boot_mb + self.plugged_mb

    @property
    def asked_mb(self) -> int:
        """RAM that the guest is asked to have, in MiB."""
        return self.boot_mb + sum(
            dev.asked_mb for dev in self.devices if dev.is_ram)

    @property
    def taken_mb(self) -> int:
        """RAM that the guest has, in MiB, whether or not it uses it."""
        return self.boot_mb + sum(
            dev.taken_mb for dev in self.devices if dev.is_ram)

    @property
    def kept_boot_mb(self) -> int | None:
        """Boot memory that a fresh domain has again, in MiB; None if that
        has all of the server's RAM (design T4).
        """
        is_kept = any(dev.is_ours and dev.capacity_mb is not None
                      for dev in self.devices)
        return self.boot_mb if is_kept else None

    @property
    def is_giving_back(self) -> bool:
        """Whether it has more of a device of ours than it was asked to."""
        return any(dev.is_ours and dev.taken_mb > dev.asked_mb
                   for dev in self.devices)

    @property
    def used_slots(self) -> int:
        """Slots in use. A device without a slot uses none."""
        return sum(1 for dev in self.devices if dev.slot is not None)

    @property
    def free_slots(self) -> int:
        """Slots that are free."""
        return max(0, self.slots - self.used_slots)

    def within(self, regions: limits.Regions) -> 'GuestMemory':
        """Add what the host allows.

        :param regions: what those know who serve the guests of the host
        """
        return dataclasses.replace(self, most_devices=limits.most_devices(
            regions, self.servers,
            sum(1 for cell in self.cells if cell.memory_kib),
            self.free_slots + len(self.devices)))

    @property
    def next_slots(self) -> list[int]:
        """The free slots, those behind the last used one first.

        The persistent domain may number slots otherwise than the live one,
        from 0 on (facts-qemu-libvirt.md, section 8): behind the last one a
        slot is free in both.
        """
        used = {dev.slot for dev in self.devices if dev.slot is not None}
        return sorted(
            set(range(self.slots)) - used,
            key=lambda slot: (slot < max(used, default=-1), slot))

    @property
    def address_map(self) -> addresses.AddressMap | None:
        """Where it has its memory; None for an unknown machine type."""
        return addresses.map_of(
            self.arch, self.machine, self.is_amd, self.boot_mb, self.max_mb,
            self.slots)

    @property
    def block_mb(self) -> int:
        """The block of its kernel, as far as addresses tell, in MiB."""
        known = self.address_map
        return known.block_mb if known else addresses.SMALLEST_BLOCK_MB

    @property
    def bounce_buffer_mb(self) -> int | None:
        """What Linux sets aside because memory may be added, in MiB.

        Of a guest without room for growth, or of another architecture, it is
        0; None if it is not known.
        """
        if self.arch != addresses.X86_64 or self.max_kib is None:
            return 0
        return addresses.bounce_buffer_mb(self.machine, self.boot_mb)

    @property
    def foreign_mb(self) -> int:
        """RAM that somebody plugged by other means, in MiB."""
        return sum(dev.size_mb for dev in self.devices
                   if dev.is_ram and not dev.is_ours)

    @property
    def target_node(self) -> int | None:
        """The cell that new memory goes into; None without any cell.

        It is the last one: the guest's firmware table (SRAT) gives the
        hot-plug range to the highest node, and an empty cell anywhere else is
        misplaced by the guest (facts-qemu-libvirt.md, headline 4).
        """
        return self.cells[-1].id if self.cells else None

    @property
    def misplaced_node(self) -> int | None:
        """The first cell without memory that is not the last, or None."""
        return empty_before_last(self.cells)

    @property
    def reserved_cell(self) -> Cell | None:
        """The cell reserved for growth, or None."""
        if len(self.cells) > 1 and not self.cells[-1].has_cpus:
            return self.cells[-1]
        return None

    @property
    def own_cells(self) -> tuple[Cell, ...]:
        """The cells of the flavor: all but the reserved one.

        They are the cells of Nova's ``instance.numa_topology``, in its
        order, where the server has one.
        """
        return self.cells[:-1] if self.reserved_cell else self.cells

    @property
    def own_cells_mb(self) -> tuple[int, ...]:
        """RAM of each own cell, with what was plugged, in MiB.

        What is in the reserved cell counts for the own cell that it was
        taken from or is bound to the same nodes of the host with.
        """
        sizes_kib = [cell.memory_kib for cell in self.own_cells]
        if self.reserved_cell:
            # core.layouts takes it out of the first one.
            sizes_kib[0] += self.reserved_cell.memory_kib
        for dev in self.devices:
            if dev.is_ram and sizes_kib:
                sizes_kib[self.own_cell_of(dev)] += units.mb_to_kib(
                    dev.size_mb)
        return tuple(units.kib_to_mb(size_kib) for size_kib in sizes_kib)

    def own_cell_of(self, dev: device.MemoryDevice) -> int:
        """Say for which own cell a device was plugged.

        Nova puts each cell of a guest on another node of the host
        (nova/virt/hardware.py, numa_fit_instance_to_host), so that tells
        them apart in the reserved cell.

        :param dev: one of ``devices``
        :returns: the cell's place in ``own_cells``; the first one for a
            device that was attached by hand to none of them
        """
        for place, cell in enumerate(self.own_cells):
            if dev.node == cell.id:
                return place
        nodes = dev.backing and dev.backing.host_nodes
        for place, cell in enumerate(self.own_cells):
            if nodes and cell.backing and nodes == cell.backing.host_nodes:
                return place
        return 0


def empty_before_last(cells: Sequence[Cell]) -> int | None:
    """Look for an empty cell where none may be.

    libvirt 12.9 starts any layout. A guest with an empty cell before the last
    one finds what is added in another node: two empty cells swap their
    memory, and one that is the first is no node at all (facts-native.md,
    section 3).

    :param cells: all cells of a guest, by number
    :returns: the number of the first such cell; None if there is none
    """
    return next((cell.id for cell in cells[:-1] if not cell.memory_kib), None)


def parse(xml: str) -> etree._Element:
    """Parse XML that somebody else wrote: no entities, no network.

    :param xml: the XML, as libvirt returned it
    :returns: its root element
    :raises UnreadableDomain: if it is not well formed
    """
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False)
    try:
        return etree.fromstring(xml.encode(), parser)
    except etree.XMLSyntaxError as exc:
        raise errors.UnreadableDomain(reason=str(exc))


def read(xml: str, reader: Reader = device.read) -> GuestMemory:
    """Read a guest's memory out of its domain XML.

    :param xml: a domain's XML, live or persistent
    :param reader: how to read a memory device
    :returns: the guest's memory
    :raises UnreadableDomain: if something needed is missing
    """
    root = parse(xml)
    pages = _pages(root)
    cells = _cells(root, _host_nodes(root), pages)
    devices = tuple(map(reader, root.iterfind('devices/memory')))
    maximum = root.find('maxMemory')
    agent = _agent(root)
    return GuestMemory(
        arch=_type(root).get('arch', ''),
        emulator=root.findtext('devices/emulator', default=''),
        boot_kib=_boot_kib(root, cells, devices),
        max_kib=None if maximum is None else device.size_kib(maximum),
        slots=0 if maximum is None else _integer(maximum.get('slots', '0')),
        cells=cells,
        devices=devices,
        page_kib=max(pages.values(), default=0),
        has_agent=agent is not None,
        is_agent_there=(agent is not None and
                        agent.get('state') != 'disconnected'),
        machine=_type(root).get('machine', ''),
        is_amd=_processor(root).is_amd,
        servers=tuple(sorted(set(_servers(root)))))


def rebind(xml: str, host_nodes: Mapping[int, str]) -> str:
    """Bind devices and reserved cell of a guest to nodes of another host.

    Nova does that for its own cells (nova/virt/libvirt/migration.py,
    _update_numa_xml), and knows nothing of others, or of devices. A reserved
    cell with memory is on the nodes of the first one.

    :param xml: a domain's live XML, before Nova has changed its cells
    :param host_nodes: nodes of the other host, as libvirt writes them, by
        the place of the own cell
    :returns: the XML for that host
    :raises UnreadableDomain: if something needed is missing
    """
    guest = read(xml)
    root = parse(xml)
    elements = root.findall('devices/memory')
    for element, dev in zip(elements, guest.devices, strict=True):
        nodemask = element.find('source/nodemask')
        nodes = host_nodes.get(guest.own_cell_of(dev))
        if nodemask is not None and nodes is not None:
            nodemask.text = nodes
    for memnode in root.iterfind('numatune/memnode'):
        reserved = guest.reserved_cell
        if reserved and memnode.get('cellid') == str(reserved.id):
            memnode.set('nodeset', host_nodes.get(
                0, memnode.get('nodeset', '')))
    return etree.tostring(root, encoding='unicode')


def with_emulator(xml: str, path: str) -> str:
    """Give a guest another emulator.

    :param xml: a domain's XML
    :param path: of the emulator
    :returns: the XML with that emulator
    :raises UnreadableDomain: if it has none
    """
    root = parse(xml)
    emulator = root.find('devices/emulator')
    if emulator is None:
        raise errors.UnreadableDomain(reason='<emulator> is missing')
    emulator.text = path
    return etree.tostring(root, encoding='unicode')


def _type(root: etree._Element) -> etree._Element:
    element = root.find('os/type')
    if element is None or element.get('arch') is None:
        raise errors.UnreadableDomain(reason='<os/type> has no arch')
    return element


def _servers(root: etree._Element) -> Iterator[str]:
    """Find out who has to know where the guest has its memory.

    libvirt serves a virtio port by the kernel where it can, unless another
    driver is named, or QEMU runs the guest without KVM (src/qemu/
    qemu_interface.c, qemuInterfaceOpenVhostNet()).
    """
    has_kvm = root.get('type') == 'kvm'
    if has_kvm:
        yield limits.KVM
    for port in root.iterfind('devices/interface'):
        driver, model = port.find('driver'), port.find('model')
        name = None if driver is None else driver.get('name')
        if port.get('type') == 'vhostuser':
            yield limits.VHOST_USER
        elif (port.get('type') in _TAPS and name != 'qemu' and has_kvm and
              model is not None and
              model.get('type', '').startswith('virtio')):
            yield limits.VHOST


def _processor(root: etree._Element) -> processors.Processor:
    return processors.Processor(
        arch=_type(root).get('arch', ''),
        is_emulated=root.get('type') == 'qemu',
        model=root.findtext('cpu/model'), vendor=root.findtext('cpu/vendor'))


def _cells(
    root: etree._Element, host_nodes: Mapping[int, str],
    pages: Mapping[int, int],
) -> tuple[Cell, ...]:
    cells = []
    for element in root.iterfind('cpu/numa/cell'):
        cell = _cell(element)
        if cell.id in host_nodes:
            cell = dataclasses.replace(cell, backing=device.Backing(
                host_nodes[cell.id], pages.get(cell.id, 0),
                element.get('memAccess')))
        cells.append(cell)
    return tuple(sorted(cells, key=lambda cell: cell.id))


def _host_nodes(root: etree._Element) -> dict[int, str]:
    """Read to which nodes of the host each cell is bound."""
    return {
        _integer(memnode.get('cellid')): memnode.get('nodeset', '')
        for memnode in root.iterfind('numatune/memnode')}


def _pages(root: etree._Element) -> dict[int, int]:
    """Read which huge pages back each cell, in KiB.

    Nova names the cell of each size (nova/virt/libvirt/driver.py,
    _get_memory_backing_hugepages_support). Where somebody else did not, the
    size counts for the first.
    """
    return {
        node: _page_size_kib(page)
        for page in root.iterfind('memoryBacking/hugepages/page')
        for node in _nodes(page.get('nodeset', '0'))}


def _nodes(text: str) -> Iterator[int]:
    """Read a set of nodes as libvirt writes it, for example ``0-1,3``."""
    for part in text.split(','):
        first, _dash, last = part.partition('-')
        if not (first.isdecimal() and (last or first).isdecimal()):
            raise errors.UnreadableDomain(
                reason="'%s' is no set of nodes" % text)
        # QEMU, include/system/numa.h: MAX_NODES is 128.
        yield from range(int(first), min(int(last or first), 127) + 1)


def _integer(text: str | None) -> int:
    if text is None or not text.isdecimal():
        raise errors.UnreadableDomain(reason="'%s' is no number" % text)
    return int(text)


def _cell(element: etree._Element) -> Cell:
    number, memory = element.get('id', ''), element.get('memory', '')
    if not (number.isdecimal() and memory.isdecimal()):
        raise errors.UnreadableDomain(
            reason='a NUMA <cell> has no id or no memory')
    size = etree.Element('memory', unit=element.get('unit', 'KiB'))
    size.text = memory
    return Cell(
        id=int(number), memory_kib=device.size_kib(size),
        has_cpus=bool(element.get('cpus')))


def _boot_kib(
    root: etree._Element, cells: tuple[Cell, ...],
    devices: tuple[device.MemoryDevice, ...],
) -> int:
    if cells:
        return sum(cell.memory_kib for cell in cells)
    memory = root.find('memory')
    if memory is None:
        raise errors.UnreadableDomain(reason='<memory> is missing')
    # libvirt's <memory> is the sum of cells and devices.
    return device.size_kib(memory) - sum(
        units.mb_to_kib(dev.extent_mb) for dev in devices)


def _page_size_kib(page: etree._Element) -> int:
    size = etree.Element('page', unit=page.get('unit', 'KiB'))
    size.text = page.get('size')
    return device.size_kib(size)


def _agent(root: etree._Element) -> etree._Element | None:
    """Find the channel of the agent; a live one has a state."""
    return next((
        target for target in root.iterfind('devices/channel/target')
        if target.get('name') == AGENT_CHANNEL), None)
