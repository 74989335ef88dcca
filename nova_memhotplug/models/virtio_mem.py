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

"""The model ``virtio-mem``: one device per NUMA node, made at boot."""

from collections.abc import Iterator

from lxml import etree

from nova_memhotplug.core import addresses
from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import layouts
from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import planner
from nova_memhotplug.core import units
from nova_memhotplug.models import base

#: Names of the devices, by the place of the own cell: without a name of ours
#: libvirt does not find them in the persistent domain (facts-guests.md, 0.4).
_ALIAS = device.ALIAS_PREFIX + 'vmem-%d'


class VirtioMemModel(base.MemoryModel):
    """Ask a device that the guest has booted with for more, or for less."""

    element = device.VIRTIO_MEM

    def boot(self, request: layouts.BootRequest) -> layouts.BootMemory:
        """Boot with what the server booted with at first, and with a device
        for each own cell that has the rest, up to the ceiling.

        A device takes no slot, but libvirt 9 counts one for each, and QEMU
        keeps 1 GiB of addresses for a slot, in which a device is aligned
        (facts-qemu-libvirt.md, section 7).

        :param request: what the server is to have
        :returns: boot memory, slots and devices
        :raises InvalidSpec: if a node would have no boot memory
        """
        asked_kib = _asked_kib(request)
        cells_kib = tuple(
            cell.memory_kib - asked_kib for cell in request.cells)
        if asked_kib and min(cells_kib) <= 0:
            raise errors.InvalidSpec(
                key=memory_spec.BOOT_MEMORY_MB, value=request.first_mb,
                rule='it leaves a NUMA node without memory')
        count = len(request.cells)
        capacity_kib = _capacity_kib(request, (
            units.mb_to_kib(request.max_mb) - sum(cells_kib)) // count,
            asked_kib)
        if not capacity_kib:
            return layouts.BootMemory(cells_kib, slots=0)
        return layouts.BootMemory(
            cells_kib, slots=count, devices=tuple(
                _device(place, cell, node, capacity_kib, asked_kib)
                for place, (cell, node) in enumerate(
                    zip(request.cells, request.nodes, strict=True))))

    def step_mb(self, guest: domain.GuestMemory, blocks: base.Blocks) -> int:
        """Give what kernels of any page size take, and whole pages."""
        return max(addresses.SMALLEST_BLOCK_MB, blocks.named_mb,
                   units.kib_to_mb(guest.page_kib))

    def refusals(
        self, guest: domain.GuestMemory, target: planner.Target,
    ) -> Iterator[errors.Refused]:
        """Refuse to change the device of a running guest."""
        yield errors.NoHotplug(arch=guest.arch)

    def plan(
        self, guest: domain.GuestMemory, target: planner.Target,
    ) -> planner.Rounds:
        """Plan nothing."""
        return ()

    def progress(
        self, guest: domain.GuestMemory, change: planner.Change,
    ) -> base.Progress:
        """Say that nothing is under way."""
        return base.Progress(base.DONE, 0)


def _asked_kib(request: layouts.BootRequest) -> int:
    """Say what each device is asked for when the guest boots, in KiB.

    A part of a block cannot be asked for, and stays boot memory.
    """
    if request.first_mb is None:
        return 0
    added_kib = request.total_kib - units.mb_to_kib(request.first_mb)
    return units.round_down(
        max(0, added_kib) // len(request.cells), _block_kib(request))


def _capacity_kib(
    request: layouts.BootRequest, room_kib: int, asked_kib: int,
) -> int:
    """Say what each device has, in KiB.

    Linux uses no part of a memory block at either end of a device (drivers/
    virtio/virtio_mem.c, virtio_mem_init_hotplug()), and one device begins
    where another ends.
    """
    block_kib = _block_kib(request)
    whole_kib = units.round_down(max(0, room_kib), max(
        block_kib, units.mb_to_kib(addresses.SMALLEST_BLOCK_MB)))
    return max(whole_kib, asked_kib)


def _block_kib(request: layouts.BootRequest) -> int:
    """Say what the size of each device is a multiple of, in KiB."""
    return max(device.block_kib(cell.backing) for cell in request.cells)


def _device(
    place: int, cell: domain.Cell, node: int, capacity_kib: int,
    asked_kib: int,
) -> etree._Element:
    return device.build(device.MemoryDevice(
        model=device.VIRTIO_MEM, size_mb=units.kib_to_mb(asked_kib),
        node=node, alias=_ALIAS % place, backing=cell.backing,
        capacity_mb=units.kib_to_mb(capacity_kib)))
