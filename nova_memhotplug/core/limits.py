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

"""How many memory devices a guest can have on its host.

Each is a region of memory, and whoever serves the guest has to be told of each
region. QEMU asks them all before it takes a device (hw/mem/memory-device.c,
memory_device_check_addable()), and refuses the one too many.
"""

from collections.abc import Collection
from collections.abc import Iterable
import dataclasses

from nova_memhotplug.core import errors

#: Who serves a guest: the kernel's modules kvm and vhost, which Nova's bridges
#: and taps use, and a process, for example Open vSwitch with DPDK.
KVM, VHOST, VHOST_USER = 'kvm', 'vhost', 'vhost-user'

#: Regions of a guest beside one for each NUMA node that has boot memory: RAM
#: is cut at the window of VGA, and at 4 GiB. Seen with QEMU 10.0, q35 and pc,
#: 512 to 8192 MiB, a backend of 8 regions: 5 to 7 DIMMs were taken.
HOLES = 2
#: What else needs a slot of KVM: firmware, option ROMs, video memory.
KVM_OTHERS = 32


@dataclasses.dataclass(frozen=True)
class Regions:
    """How many regions those know at the most who serve the guests of a host.

    :param vhost: the kernel's module vhost; its parameter max_mem_regions
        (Linux, drivers/vhost/vhost.c)
    :param vhost_user: a process that does not say that it knows more (QEMU,
        hw/virtio/vhost-user.c, VHOST_MEMORY_BASELINE_NREGIONS)
    :param kvm: KVM (KVM_CAP_NR_MEMSLOTS); None if it does not say
    """

    vhost: int = 64
    vhost_user: int = 8
    kvm: int | None = None

    def devices(self, server: str, cells: int = 1) -> int | None:
        """Say how many memory devices leave room for the boot memory.

        :param server: one of ``KVM``, ``VHOST`` and ``VHOST_USER``
        :param cells: NUMA nodes of the guest that have boot memory
        :returns: the number; None if it is not known
        """
        most = {KVM: self.kvm, VHOST: self.vhost,
                VHOST_USER: self.vhost_user}[server]
        if most is None:
            return None
        others = KVM_OTHERS if server == KVM else 0
        return max(0, most - max(1, cells) - HOLES - others)


def most_devices(
    regions: Regions, servers: Collection[str], cells: int, wanted: int,
) -> int | None:
    """Say how many memory devices a guest can have.

    :param regions: what its host allows
    :param servers: who serves it
    :param cells: its NUMA nodes that have boot memory
    :param wanted: how many it could have otherwise
    :returns: the number; None if it can have that many
    """
    numbers = (regions.devices(server, cells) for server in servers)
    most = min((one for one in numbers if one is not None), default=wanted)
    return most if most < wanted else None


def check_devices(
    most: int | None, present: int, are_new: Iterable[bool],
) -> None:
    """Check that a guest can have more memory devices.

    :param most: how many it can have; None for as many as it has slots
    :param present: how many it has
    :param are_new: of each change, whether it is one more device
    :raises NoFreeRegion: if it cannot
    """
    if most is None:
        return
    needed = sum(are_new)
    if needed and present + needed > most:
        raise errors.NoFreeRegion(most=most, present=present, needed=needed)
