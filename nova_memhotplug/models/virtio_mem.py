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

from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import typing as ty

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
#: Guests with pages of 4 or 16 KiB take whole MiB of any kind in these steps,
#: those with 64 KiB in larger ones (facts-guests.md, 0.5).
STEP_MB, LARGEST_STEP_MB = 128, 512


class VirtioMemModel(base.MemoryModel):
    """Ask a device that the guest has booted with for more, or for less.

    The guest takes it, or gives it back, when it can: a request is an
    amount, and what the guest has of it is another.
    """

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

    def read(self, element: etree._Element) -> device.MemoryDevice:
        """Read a device, with what libvirt wants to see again to change it.

        It finds the device by alias and address, and compares all but what
        is requested (libvirt, src/qemu/qemu_hotplug.c,
        qemuDomainChangeMemoryLiveValidateChange()).
        """
        return dataclasses.replace(
            super().read(element), definition=etree.tostring(
                element, encoding='unicode', with_tail=False))

    def step_mb(self, guest: domain.GuestMemory, blocks: base.Blocks) -> int:
        """Add what each kernel can take apart: it drops silently what not."""
        if guest.arch not in (addresses.X86_64, addresses.AARCH64):
            return 0
        kernel_mb = 0
        if guest.arch == addresses.AARCH64:
            kernel_mb = blocks.heard_mb or blocks.named_mb or min(
                blocks.default_mb, LARGEST_STEP_MB)
        return max(STEP_MB, kernel_mb, blocks.named_mb,
                   units.kib_to_mb(guest.page_kib))

    def base_mb(self, guest: domain.GuestMemory) -> int:
        """Count from what is not of our devices."""
        return guest.present_mb - sum(
            dev.size_mb for dev in _devices(guest))

    def floor_mb(self, guest: domain.GuestMemory) -> int:
        """Keep what is not of our devices."""
        return self.base_mb(guest)

    def refusals(
        self, guest: domain.GuestMemory, target: planner.Target,
    ) -> Iterator[errors.Refused]:
        """Refuse what the devices do not hold, or the guest does not take."""
        devices, base_mb = _devices(guest), self.base_mb(guest)
        if not devices:
            yield errors.NoMemoryDevice()
            return
        if target.total_mb < base_mb:
            yield errors.BelowBootMemory(
                wanted_mb=target.total_mb, floor_mb=base_mb)
            return
        most_mb = base_mb + len(devices) * min(
            dev.extent_mb for dev in devices)
        if most_mb < target.total_mb <= target.max_mb:
            yield errors.AboveCeiling(
                wanted_mb=target.total_mb, max_mb=most_mb, reach='')
        yield from planner.unaligned(
            guest, target, base_mb, errors.UnalignedRequest)

    def plan(
        self, guest: domain.GuestMemory, target: planner.Target,
    ) -> planner.Rounds:
        """Ask each device for the same, as each NUMA node gets the same."""
        devices = _devices(guest)
        each_mb = (target.total_mb - self.base_mb(guest)) // len(devices)
        return _one_round(_request(dev, each_mb) for dev in devices)

    def settle(self, guest: domain.GuestMemory) -> planner.Rounds:
        """Ask for what the guest has kept.

        It may give that back at any moment else, when nobody wants it to.
        """
        return _one_round(_request(dev, dev.size_mb)
                          for dev in _devices(guest))

    def progress(
        self, guest: domain.GuestMemory, change: planner.Change,
    ) -> base.Progress:
        """Compare what the guest has of the device with what it had."""
        wanted_mb = change.device.asked_mb
        found = next((dev for dev in _devices(guest)
                      if dev.alias == change.device.alias), None)
        if found is None or found.asked_mb != wanted_mb:
            return base.Progress(base.REFUSED, 0)
        left_mb = found.taken_mb - wanted_mb
        if change.delta_mb >= 0:
            left_mb = -left_mb
        amount_mb = abs(change.delta_mb)
        return base.Progress(
            base.PENDING if left_mb > 0 else base.DONE,
            max(0, amount_mb - max(0, left_mb)))


def _devices(guest: domain.GuestMemory) -> list[device.MemoryDevice]:
    """List what of a guest's devices is asked for memory."""
    return [dev for dev in guest.devices
            if dev.model == device.VIRTIO_MEM and dev.is_ours]


def _one_round(
    changes: Iterable[planner.Change | None],
) -> planner.Rounds:
    found = tuple(one for one in changes if one is not None)
    return (found,) if found else ()


def _request(
    dev: device.MemoryDevice, wanted_mb: int,
) -> planner.Change | None:
    """Plan to ask for so much of a device; None if that was asked for."""
    if dev.asked_mb == wanted_mb:
        return None
    asked = dataclasses.replace(
        dev, size_mb=wanted_mb, requested_mb=wanted_mb, current_mb=None)
    delta_mb = wanted_mb - dev.asked_mb
    return planner.Change(
        asked, delta_mb, planner.UPDATE, _xml(dev, wanted_mb),
        undo=planner.Change(dev, -delta_mb, planner.UPDATE,
                            _xml(dev, dev.asked_mb)))


def _xml(dev: device.MemoryDevice, wanted_mb: int) -> str:
    """Write what libvirt has shown, with another amount."""
    if dev.definition is None:
        # nova-api plans from a note, and changes nothing.
        return ''
    element = domain.parse(dev.definition)
    requested = ty.cast(
        etree._Element, element.find('target/requested'))
    requested.set('unit', 'KiB')
    requested.text = str(units.mb_to_kib(wanted_mb))
    return etree.tostring(element, encoding='unicode')


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
