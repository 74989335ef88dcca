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

"""The model ``dimm``: one ACPI memory device per growth."""

from collections.abc import Sequence

from lxml import etree

from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import layouts
from nova_memhotplug.core import planner
from nova_memhotplug.models import base


class DimmModel(base.MemoryModel):
    """Plug one DIMM for all that a NUMA node of the flavor gets.

    Few large DIMMs beat many small ones: slots are few, and each costs the
    host a memory region (peers.md, section D1).
    """

    def boot_devices(
        self, layout: layouts.Layout,
    ) -> tuple[etree._Element, ...]:
        """Add nothing: ceiling and slots are all that DIMMs need."""
        return ()

    def grow(
        self, guest: domain.GuestMemory, shares: Sequence[planner.Share],
    ) -> tuple[planner.Change, ...]:
        """Plan one DIMM for each share.

        :param guest: what the guest has
        :param shares: RAM to add
        :returns: the changes
        :raises NoFreeSlot: if there are not enough slots
        """
        if guest.free_slots < len(shares):
            raise errors.NoFreeSlot(
                needed=len(shares), used=guest.used_slots, total=guest.slots)
        return tuple(_plug(share, slot) for share, slot in zip(
            shares, guest.next_slots))

    def read(self, element: etree._Element) -> device.MemoryDevice:
        """Read a DIMM back.

        :param element: a ``<memory model='dimm'>`` element
        :returns: the DIMM
        :raises UnreadableDomain: if it has no size
        """
        return device.read(element)


def _plug(share: planner.Share, slot: int) -> planner.Change:
    dimm = device.MemoryDevice(
        model=device.DIMM, size_mb=share.size_mb, node=share.node,
        slot=slot, alias=device.new_alias(), base=share.base,
        backing=share.backing)
    return planner.Change(
        device=dimm,
        xml=etree.tostring(device.build(dimm), encoding='unicode'))
