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

"""The NUMA topology of servers and hosts, as Nova keeps it.

Nova has the RAM of each NUMA node of a server in ``instance.numa_topology``
(MiB), with the node of the host that it is on, and what is used of those in
``compute_nodes.numa_topology``.
"""

from collections.abc import Sequence
import typing as ty

from nova import exception
from nova import objects
from nova.objects import fields
from nova.virt import hardware
from oslo_log import log as logging

from nova_memhotplug.core import errors
from nova_memhotplug.core import numa

LOG = logging.getLogger(__name__)

_PINNED = (fields.CPUAllocationPolicy.DEDICATED,
           fields.CPUAllocationPolicy.MIXED)


def topology_of(context: ty.Any, instance: ty.Any) -> ty.Any:
    """Read the NUMA topology of a server apart from the server.

    Nova takes a topology that it has read for a change of the instance and
    writes it with the next save. So where the host may change it meanwhile,
    it must not be loaded into the instance.

    :param context: a request context
    :param instance: a ``nova.objects.Instance``
    :returns: a ``nova.objects.InstanceNUMATopology``; None if it has none
    """
    try:
        return objects.InstanceNUMATopology.get_by_instance_uuid(
            context, instance.uuid)
    except exception.NumaTopologyNotFound:
        return None


def cells_mb(topology: ty.Any) -> tuple[int, ...]:
    """Say what the NUMA cells of a server have.

    :param topology: a ``nova.objects.InstanceNUMATopology``; None for a
        server without
    :returns: RAM of each, in MiB
    """
    return tuple(cell.memory for cell in topology.cells) if topology else ()


def resized(topology: ty.Any, wanted_mb: Sequence[int]) -> ty.Any:
    """Give the NUMA cells of a server other sizes.

    :param topology: a ``nova.objects.InstanceNUMATopology``
    :param wanted_mb: RAM that each cell is to have, in MiB
    :returns: a new topology, which is not taken for changed when it is read
        back from the database
    """
    new = topology.obj_clone()
    for cell, cell_mb in zip(new.cells, wanted_mb, strict=True):
        cell.memory = cell_mb
    new.obj_reset_changes(recursive=True)
    return new


def check_cells(topology: ty.Any, wanted_mb: Sequence[int]) -> None:
    """Check that a guest has the cells that Nova has on record.

    :param topology: a ``nova.objects.InstanceNUMATopology``
    :param wanted_mb: RAM of each own cell of the guest, in MiB
    :raises AccountingFailed: if the guest has another number of cells
    """
    if len(topology.cells) != len(wanted_mb):
        raise errors.AccountingFailed(
            reason='the guest has %d NUMA nodes, Nova has %d on record' % (
                len(wanted_mb), len(topology.cells)))


def check_room(
    compute_node: ty.Any, topology: ty.Any, wanted_mb: Sequence[int],
) -> None:
    """Check that the nodes of a host have room for a server's cells.

    :param compute_node: the ``nova.objects.ComputeNode`` of the host
    :param topology: the ``nova.objects.InstanceNUMATopology`` of a server
        that is there
    :param wanted_mb: RAM that each of its cells is to have, in MiB
    :raises HostNodeFull: if a node has not that much
    """
    if not compute_node.numa_topology:
        return
    host = objects.NUMATopology.obj_from_db_obj(compute_node.numa_topology)
    numa.check_room(
        map(_host_node, host.cells),
        map(_claim, topology.cells, wanted_mb),
        compute_node.ram_allocation_ratio)


def constraints(flavor: ty.Any, image_meta: ty.Any) -> ty.Any:
    """Say what the scheduler has to find for the next move of a server.

    :param flavor: the server's ``nova.objects.Flavor``
    :param image_meta: its ``nova.objects.ImageMeta``
    :returns: a ``nova.objects.InstanceNUMATopology``; None for a server
        without
    :raises nova.exception.NovaException: if flavor and image contradict each
        other
    """
    return hardware.numa_get_constraints(flavor, image_meta)


def restore(instance: ty.Any) -> None:
    """Bring the NUMA cells of a guest that starts to its flavor.

    A resize that was cut short after its claim leaves cells that are larger
    than the flavor, and the guest would get that.

    :param instance: a ``nova.objects.Instance``; not saved
    """
    topology = instance.numa_topology
    total_mb = instance.flavor.memory_mb
    if topology is None or sum(cells_mb(topology)) == total_mb:
        return
    wanted_mb = settled_cells_mb(instance)
    LOG.warning('NUMA cells brought from %(before)s to %(after)s MiB.',
                {'before': cells_mb(topology), 'after': wanted_mb},
                instance=instance)
    instance.numa_topology = resized(topology, wanted_mb)


def settled_cells_mb(instance: ty.Any) -> tuple[int, ...]:
    """Say what the NUMA cells of a server without a running guest have.

    :param instance: a ``nova.objects.Instance``
    :returns: RAM of each, in MiB; it adds up to that of the flavor
    """
    present_mb = cells_mb(instance.numa_topology)
    total_mb = instance.flavor.memory_mb
    if not present_mb or sum(present_mb) == total_mb:
        return present_mb
    return numa.cells_of(
        len(present_mb), total_mb, instance.flavor.extra_specs)


def _host_node(cell: ty.Any) -> numa.HostNode:
    return numa.HostNode(
        id=cell.id, memory_mb=cell.memory, used_mb=cell.memory_usage,
        pages=tuple(
            numa.Pages(pages.size_kb, pages.total_kb, int(pages.free_kb))
            for pages in cell.mempages))


def _claim(cell: ty.Any, wanted_mb: int) -> numa.Claim:
    return numa.Claim(
        node=cell.id, present_mb=cell.memory, wanted_mb=wanted_mb,
        page_kib=max(0, cell.pagesize or 0),
        is_pinned=cell.cpu_policy in _PINNED,
        is_mixed=cell.cpu_policy == fields.CPUAllocationPolicy.MIXED)
