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

"""The NUMA cells, ceiling and slots that an elastic guest boots with."""

from collections.abc import Sequence
import dataclasses

from lxml import etree

from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import strategies
from nova_memhotplug.core import units

#: The smallest cell libvirt renders: it rounds 1..1024 KiB up to 1 MiB
#: (facts-qemu-libvirt.md, headline 3b).
TINY_KIB = units.KIB_PER_MIB


@dataclasses.dataclass(frozen=True)
class BootRequest:
    """What a server is to have when its guest boots.

    :param cells: its own NUMA cells, with all of its RAM, and where on the
        host they have that
    :param nodes: for each of them, the node that what is added for it goes
        into
    :param max_mb: its ceiling, in MiB
    :param slots: memory slots that its flavor names
    :param first_mb: what it booted with at first, in MiB; None for all of
        its RAM
    """

    cells: tuple[domain.Cell, ...]
    nodes: tuple[int, ...]
    max_mb: int
    slots: int
    first_mb: int | None = None

    @property
    def total_kib(self) -> int:
        """RAM of the server, in KiB."""
        return sum(cell.memory_kib for cell in self.cells)


@dataclasses.dataclass(frozen=True)
class BootMemory:
    """What a memory model has a guest boot with.

    :param cells_kib: boot memory of each own cell, in KiB
    :param slots: memory slots
    :param devices: elements for the domain's ``<devices>``; they have the
        rest of the server's RAM
    """

    cells_kib: tuple[int, ...]
    slots: int
    devices: tuple[etree._Element, ...] = ()

    @property
    def total_mb(self) -> int:
        """Boot memory, in MiB."""
        return units.kib_to_mb(sum(self.cells_kib))


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a guest's memory is laid out when it boots.

    :param cells: all its NUMA cells; the reserved one is the last
    :param max_kib: its ceiling, in KiB; None where it boots with all of it:
        QEMU refuses slots when the ceiling equals the memory
        (facts-qemu-libvirt.md, section 2)
    :param slots: its memory slots; 0 without a ceiling
    """

    cells: tuple[domain.Cell, ...]
    max_kib: int | None
    slots: int


def request(
    cells: Sequence[domain.Cell],
    memory_kib: int,
    spec: memory_spec.MemorySpec,
    strategy: str,
) -> BootRequest:
    """Say what a server is to have when its guest boots.

    :param cells: the cells Nova made; may be empty
    :param memory_kib: RAM of the server, in KiB
    :param spec: what the flavor says
    :param strategy: one of ``core.strategies``'s names, not ``auto``
    :returns: what a memory model is asked
    """
    own = tuple(cells) or (
        domain.Cell(id=0, memory_kib=memory_kib, has_cpus=True),)
    reserved = own[-1].id + 1
    return BootRequest(
        cells=own, nodes=tuple(
            cell.id if strategy == strategies.EXISTING else reserved
            for cell in own),
        max_mb=spec.max_memory_mb, slots=spec.slots,
        first_mb=spec.boot_memory_mb)


def lay_out(
    wanted: BootRequest, boot: BootMemory, strategy: str, page_kib: int = 0,
) -> Layout:
    """Lay out the memory of an elastic guest.

    The cells together always have its boot memory, whatever the strategy.

    :param wanted: what the server is to have
    :param boot: what of it is boot memory
    :param strategy: one of ``core.strategies``'s names, not ``auto``
    :param page_kib: huge page that backs the first cell, in KiB; 0 for none
    :returns: the layout
    :raises CellTooSmall: if the first cell has no memory to give away
    :raises EmptyNode: if another cell than the last would have no memory
    """
    laid_out = _with_reserved(tuple(
        dataclasses.replace(cell, memory_kib=size_kib)
        for cell, size_kib in zip(wanted.cells, boot.cells_kib, strict=True)
    ), strategy, page_kib)
    node = domain.empty_before_last(laid_out)
    if node is not None:
        raise errors.EmptyNode(node=node)
    max_kib = units.mb_to_kib(wanted.max_mb)
    can_grow = boot.slots and max_kib > sum(boot.cells_kib)
    return Layout(
        cells=laid_out,
        max_kib=max_kib if can_grow else None,
        slots=boot.slots if can_grow else 0)


def _with_reserved(
    cells: tuple[domain.Cell, ...], strategy: str, page_kib: int,
) -> tuple[domain.Cell, ...]:
    if strategy == strategies.EXISTING:
        return cells
    size_kib = 0
    if strategy == strategies.TINY:
        size_kib = max(TINY_KIB, page_kib)
    if size_kib and size_kib >= cells[0].memory_kib:
        raise errors.CellTooSmall(
            size_kib=size_kib, memory_kib=cells[0].memory_kib)
    first = dataclasses.replace(
        cells[0], memory_kib=cells[0].memory_kib - size_kib)
    reserved = domain.Cell(
        id=cells[-1].id + 1, memory_kib=size_kib, has_cpus=False)
    return (first,) + cells[1:] + (reserved,)
