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

"""Memory that is bound to NUMA nodes and huge pages of a host."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

from nova_memhotplug.core import errors
from nova_memhotplug.core import units

#: Memory of one NUMA node of the flavor, in MiB (Nova,
#: nova/api/validation/extra_specs/hw.py).
CELL_MEMORY = 'hw:numa_mem.%d'


@dataclasses.dataclass(frozen=True)
class Pages:
    """Pages of one size on a node of a host.

    :param size_kib: the size of a page, in KiB
    :param total_kib: all of them, in KiB
    :param free_kib: those that no server has claimed and nobody has
        reserved, in KiB
    """

    size_kib: int
    total_kib: int
    free_kib: int


@dataclasses.dataclass(frozen=True)
class HostNode:
    """A NUMA node of a host, as Nova accounts for it.

    :param id: its number
    :param memory_mb: its memory, in MiB
    :param used_mb: what servers have claimed of it, in MiB
    :param pages: its pages, by size; empty where the host does not tell
    """

    id: int
    memory_mb: int
    used_mb: int
    pages: tuple[Pages, ...] = ()


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a server wants to have on a node of its host.

    :param node: the number of the node
    :param present_mb: what it has claimed there, in MiB
    :param wanted_mb: what it is to have there, in MiB
    :param page_kib: the pages that it asks for, in KiB; 0 if it does not ask
        for any
    :param is_pinned: whether its vCPUs have CPUs of their own
    :param is_mixed: whether only some of them have
    """

    node: int
    present_mb: int
    wanted_mb: int
    page_kib: int = 0
    is_pinned: bool = False
    is_mixed: bool = False

    @property
    def added_mb(self) -> int:
        """What it wants more, in MiB."""
        return self.wanted_mb - self.present_mb


def check_room(
    nodes: Iterable[HostNode], claims: Iterable[Claim], ram_ratio: float,
) -> None:
    """Check that the nodes of a host have room for what a server wants.

    These are Nova's own conditions (nova/virt/hardware.py,
    _numa_fit_instance_cell), for a server that is there already: pages of
    the size it asks for must be free; without such a size a server with CPUs
    of its own needs free memory, another must not be larger than the node;
    one that shares CPUs must not take the node beyond the ratio.

    :param nodes: the nodes of the host
    :param claims: what the server wants on each node
    :param ram_ratio: how often the host gives its memory away
    :raises HostNodeFull: if a node has not that much, or is gone
    """
    by_id = {node.id: node for node in nodes}
    for claim in claims:
        if claim.added_mb <= 0:
            continue
        node = by_id.get(claim.node, HostNode(claim.node, 0, 0))
        free_mb = _free_mb(node, claim, ram_ratio)
        if free_mb < claim.added_mb:
            raise errors.HostNodeFull(
                node=claim.node, free_mb=max(0, free_mb),
                asked_mb=claim.added_mb,
                pages=' in pages of %d KiB' % claim.page_kib
                if claim.page_kib else '')


def _free_mb(node: HostNode, claim: Claim, ram_ratio: float) -> int:
    """Say how much a server can still get on a node, in MiB."""
    if claim.page_kib:
        sizes = [pages.free_kib for pages in node.pages
                 if pages.size_kib == claim.page_kib]
        free_mb = units.kib_to_mb(sum(sizes))
    elif claim.is_pinned:
        free_mb = _unclaimed_mb(node)
    else:
        # A server may be as large as the node, whatever others have.
        free_mb = _size_mb(node) - claim.present_mb
    if claim.is_pinned and not claim.is_mixed:
        return free_mb
    return min(free_mb, int(node.memory_mb * ram_ratio) - node.used_mb)


def _unclaimed_mb(node: HostNode) -> int:
    if node.pages:
        return units.kib_to_mb(_smallest(node).free_kib)
    return node.memory_mb - node.used_mb


def _size_mb(node: HostNode) -> int:
    if node.pages:
        return units.kib_to_mb(_smallest(node).total_kib)
    return node.memory_mb


def _smallest(node: HostNode) -> Pages:
    return min(node.pages, key=lambda pages: pages.size_kib)


def grown(cells_mb: Sequence[int], total_mb: int) -> tuple[int, ...]:
    """Divide what is added to the cells of a server evenly among them.

    :param cells_mb: RAM of each cell, in MiB
    :param total_mb: RAM that all of them are to have, in MiB
    :returns: RAM that each is to have, in MiB, rounded down
    """
    share_mb = (total_mb - sum(cells_mb)) // len(cells_mb)
    return tuple(cell_mb + share_mb for cell_mb in cells_mb)


def cells_of(
    count: int, total_mb: int, extra_specs: Mapping[str, str],
) -> tuple[int, ...]:
    """Divide the RAM of a server among its cells as Nova does.

    :param count: how many cells it has
    :param total_mb: its RAM, in MiB
    :param extra_specs: its flavor's extra specs
    :returns: RAM of each cell, in MiB
    """
    explicit = explicit_cells(extra_specs)
    if len(explicit) == count and sum(explicit) == total_mb:
        return explicit
    return grown((0,) * count, total_mb)


def explicit_cells(extra_specs: Mapping[str, str]) -> tuple[int, ...]:
    """Read the sizes of the cells that a flavor names.

    :param extra_specs: a flavor's extra specs
    :returns: RAM of each cell, in MiB, up to the first that is not named, or
        is no number
    """
    sizes: list[int] = []
    while True:
        value = str(extra_specs.get(CELL_MEMORY % len(sizes), '')).strip()
        if not value.isdecimal():
            return tuple(sizes)
        sizes.append(int(value))


def with_cells(
    extra_specs: Mapping[str, str], cells_mb: Sequence[int],
) -> dict[str, str]:
    """Bring the sizes that a flavor names to those that a server has.

    Where they do not add up to its RAM, Nova does not move a server
    (nova/virt/hardware.py, _get_numa_topology_manual).

    :param extra_specs: the extra specs of the server's own flavor
    :param cells_mb: RAM of each cell, in MiB
    :returns: the extra specs; nothing is added that the flavor does not name
    """
    sizes = {CELL_MEMORY % number: str(cell_mb)
             for number, cell_mb in enumerate(cells_mb)}
    return {key: sizes.get(key, value) for key, value in extra_specs.items()}
