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

"""What a guest agent says about memory blocks, and what that means.

The agent runs in the guest, so nothing it says is trusted: numbers are
checked, and an answer that makes no sense is no answer.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import typing as ty

from nova_memhotplug.core import device
from nova_memhotplug.core import units

#: Block sizes Linux has on any architecture: 16 MiB (ppc64, small machines)
#: to 64 GiB (x86, MAX_BLOCK_SIZE of large bare-metal systems).
MIN_BLOCK_MB = 16
MAX_BLOCK_MB = 64 * units.MIB_PER_GIB


@dataclasses.dataclass(frozen=True)
class BlockList:
    """The memory blocks of a guest.

    :param block_mb: size of each, in MiB
    :param online: whether it is in use, by number (address / size)
    """

    block_mb: int
    online: Mapping[int, bool]

    @property
    def online_mb(self) -> int:
        """Memory in use, in MiB, counted in whole blocks."""
        return self.block_mb * sum(self.online.values())

    def of(self, dev: device.MemoryDevice) -> tuple[int, ...]:
        """Say which blocks a plugged device consists of.

        Of one that gives the guest a part of what it has, those count that
        the guest knows.

        :param dev: a device with a base address
        :returns: the numbers of its blocks; none if its address is unknown
        """
        if dev.base is None:
            return ()
        block_bytes = self.block_mb * units.BYTES_PER_MIB
        first = dev.base // block_bytes
        numbers = range(first, first + dev.extent_mb // self.block_mb)
        if dev.capacity_mb is None:
            return tuple(numbers)
        return tuple(number for number in numbers if number in self.online)

    def used_mb(self, dev: device.MemoryDevice) -> int:
        """Say how much of a device the guest uses, in MiB.

        A guest may have only a part of a block, so what the device gives is
        the most (facts-guests.md, section 3).

        :param dev: a device with a base address
        """
        return min(dev.taken_mb, self.block_mb * sum(
            self.online.get(number, False) for number in self.of(dev)))

    def divides(self, dev: device.MemoryDevice) -> bool:
        """Tell whether a plugged device is whole blocks of the guest.

        A guest does not take one that is not, nor any that comes later
        (facts-qemu-libvirt.md, section 3). One that is asked for a part of
        what it has gives what the guest can take.

        :param dev: a device; one without a base address is believed
        """
        return dev.capacity_mb is not None or not (
            dev.size_mb % self.block_mb or
            (dev.base or 0) % (self.block_mb * units.BYTES_PER_MIB))

    def has_online(self, devices: Sequence[device.MemoryDevice]) -> bool:
        """Tell whether the guest uses all of the given devices.

        A device whose blocks cannot be told (no address, or smaller than a
        block that the guest claims to have) is not known to be used.
        """
        return all(dev.base is not None and
                   self.used_mb(dev) == dev.asked_mb for dev in devices)

    def missing(self, devices: Sequence[device.MemoryDevice]) -> list[int]:
        """List the blocks of devices that the guest does not know."""
        return [number for dev in devices for number in self.of(dev)
                if number not in self.online]

    def offline(self, devices: Sequence[device.MemoryDevice]) -> list[int]:
        """List the blocks of devices that the guest has but does not use."""
        return [number for dev in devices for number in self.of(dev)
                if self.online.get(number) is False]


def parse(block_mb: int, blocks: ty.Any) -> BlockList | None:
    """Read the agent's answer.

    :param block_mb: the size of a block that it has named, in MiB
    :param blocks: what ``guest-get-memory-blocks`` returned
    :returns: the blocks; None if the answer makes no sense (QEMU,
        qga/qapi-schema.json)
    """
    if not isinstance(blocks, list):
        return None
    online = {}
    for block in blocks:
        if not isinstance(block, dict):
            return None
        number, state = block.get('phys-index'), block.get('online')
        if type(number) is not int or not isinstance(state, bool):
            return None
        online[number] = state
    return BlockList(block_mb=block_mb, online=online)


def refused(answers: ty.Any) -> dict[int, int | None]:
    """Read what a guest does not do of what it was asked.

    :param answers: what ``guest-set-memory-blocks`` returned: one for each
        block, and an error of one does not concern the others
    :returns: the blocks of which it says so, with the error of its kernel;
        None where it names none
    """
    found = {}
    for answer in answers if isinstance(answers, list) else ():
        if not isinstance(answer, dict):
            continue
        number, error = answer.get('phys-index'), answer.get('error-code')
        if type(number) is int and answer.get('response') != 'success':
            found[number] = error if type(error) is int else None
    return found


def block_size_mb(info: ty.Any) -> int | None:
    """Read the block size out of the agent's answer.

    :param info: what ``guest-get-memory-block-info`` returned
    :returns: the size in MiB; None if it is no possible block size
    """
    size = info.get('size') if isinstance(info, dict) else None
    if type(size) is not int or size % units.BYTES_PER_MIB:
        return None
    block_mb = size // units.BYTES_PER_MIB
    is_power_of_two = block_mb > 0 and block_mb & (block_mb - 1) == 0
    if not is_power_of_two or not MIN_BLOCK_MB <= block_mb <= MAX_BLOCK_MB:
        return None
    return block_mb
