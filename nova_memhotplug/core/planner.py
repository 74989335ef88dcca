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

"""From what a guest has and a wanted total to the devices to add."""

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses

from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import spec as spec_mod
from nova_memhotplug.core import units


@dataclasses.dataclass(frozen=True)
class Change:
    """One call to libvirt that gives a guest more memory.

    :param device: what the guest gets
    :param xml: the device for libvirt
    :param update: whether ``xml`` updates a device that the guest has
        (virtio-mem) instead of attaching a new one
    """

    device: device.MemoryDevice
    xml: str
    update: bool = False


#: How a memory model adds an amount (MiB) on a node of a guest.
Grow = Callable[[domain.GuestMemory, int, int], tuple[Change, ...]]


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to bring a guest to a wanted total.

    :param present_mb: RAM the guest has, in MiB
    :param wanted_mb: RAM it is to have, in MiB
    :param changes: what to do, in order; empty where it has that much
    """

    present_mb: int
    wanted_mb: int
    changes: tuple[Change, ...]

    @property
    def delta_mb(self) -> int:
        """RAM to add, in MiB."""
        return self.wanted_mb - self.present_mb


def plan(
    guest: domain.GuestMemory,
    spec: spec_mod.MemorySpec | None,
    wanted_mb: int,
    step_mb: int,
    grow: Grow,
) -> Plan:
    """Plan the way to a wanted total.

    :param guest: what the guest has
    :param spec: what its flavor says; None without a ceiling
    :param wanted_mb: RAM it is to have, in MiB; a total, not an increment
    :param step_mb: in what steps it can take memory, in MiB
    :param grow: the memory model's way of adding memory
    :returns: the plan; without changes if the guest has what is wanted
    :raises Refused: the first reason why it cannot be
    """
    for refusal in refusals(guest, spec, wanted_mb, step_mb):
        raise refusal
    delta_mb = wanted_mb - guest.present_mb
    if not delta_mb:
        return Plan(guest.present_mb, wanted_mb, ())
    node = guest.target_node
    assert node is not None  # refusals() yields NoTargetCell
    return Plan(
        guest.present_mb, wanted_mb, grow(guest, delta_mb, node))


def refusals(
    guest: domain.GuestMemory,
    spec: spec_mod.MemorySpec | None,
    wanted_mb: int,
    step_mb: int,
) -> Iterator[errors.Refused]:
    """Say every reason against a wanted total that holds for any model.

    :param guest: what the guest has
    :param spec: what its flavor says; None without a ceiling
    :param wanted_mb: RAM it is to have, in MiB
    :param step_mb: in what steps it can take memory, in MiB; 0 if it cannot
    :returns: the reasons, the most basic one first
    """
    if spec is None:
        yield errors.NotElastic()
        return
    if wanted_mb == guest.present_mb:
        return
    if wanted_mb < guest.present_mb:
        yield errors.Shrink(
            wanted_mb=wanted_mb, present_mb=guest.present_mb)
        return
    if not step_mb:
        yield errors.NoHotplug(arch=guest.arch)
        return
    yield from _room(guest, spec, wanted_mb)
    yield from _alignment(guest, wanted_mb, step_mb)


def _room(
    guest: domain.GuestMemory, spec: spec_mod.MemorySpec, wanted_mb: int,
) -> Iterator[errors.Refused]:
    if guest.max_mb is None:
        if guest.present_mb >= spec.max_memory_mb:
            yield errors.AtCeiling(
                present_mb=guest.present_mb, max_mb=spec.max_memory_mb)
        else:
            yield errors.BootedInelastic()
    elif wanted_mb > guest.max_mb:
        yield errors.AboveCeiling(wanted_mb=wanted_mb, max_mb=guest.max_mb)
    if guest.target_node is None:
        yield errors.NoTargetCell()
    if guest.is_host_bound or guest.page_kib:
        yield errors.HostBound()


def _alignment(
    guest: domain.GuestMemory, wanted_mb: int, step_mb: int,
) -> Iterator[errors.Refused]:
    yield from misaligned_devices(guest, step_mb)
    delta_mb = wanted_mb - guest.present_mb
    if units.is_multiple(delta_mb, step_mb):
        return
    below_mb = guest.present_mb + units.round_down(delta_mb, step_mb)
    yield errors.Unaligned(
        wanted_mb=wanted_mb, step_mb=step_mb, present_mb=guest.present_mb,
        below_mb=below_mb, above_mb=below_mb + step_mb)


def misaligned_devices(
    guest: domain.GuestMemory, step_mb: int,
) -> Iterator[errors.Refused]:
    """Find memory that was attached by hand without regard to blocks.

    QEMU puts the next device right behind it, at an address that the guest
    refuses (facts-qemu-libvirt.md, section 3).

    :param guest: what the guest has
    :param step_mb: in what steps it can take memory, in MiB; not 0
    :returns: a reason for each such device
    """
    for dev in guest.devices:
        base_mb, rest = divmod(dev.base or 0, units.BYTES_PER_MIB)
        if rest or base_mb % step_mb or dev.size_mb % step_mb:
            yield errors.Misaligned(
                size_mb=dev.size_mb, address=hex(dev.base or 0),
                step_mb=step_mb)
