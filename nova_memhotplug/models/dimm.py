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

from lxml import etree

from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import layout as layout_mod
from nova_memhotplug.core import planner
from nova_memhotplug.models import base


class DimmModel(base.MemoryModel):
    """Plug one DIMM for the whole amount.

    Few large DIMMs beat many small ones: slots are few, and each costs the
    host a memory region (peers.md, section D1).
    """

    def boot_devices(
        self, layout: layout_mod.Layout,
    ) -> tuple[etree._Element, ...]:
        """Add nothing: ceiling and slots are all that DIMMs need."""
        return ()

    def grow(
        self, guest: domain.GuestMemory, delta_mb: int, node: int,
    ) -> tuple[planner.Change, ...]:
        """Plan one DIMM.

        :param guest: what the guest has
        :param delta_mb: RAM to add, in MiB
        :param node: the guest NUMA node that is to have it
        :returns: one change
        :raises NoFreeSlot: if every slot is taken
        """
        if not guest.free_slots:
            raise errors.NoFreeSlot(used=guest.used_slots, total=guest.slots)
        dimm = device.MemoryDevice(
            model=device.DIMM, size_mb=delta_mb, node=node,
            alias=device.new_alias())
        xml = etree.tostring(device.build(dimm), encoding='unicode')
        return (planner.Change(device=dimm, xml=xml),)

    def read(self, element: etree._Element) -> device.MemoryDevice:
        """Read a DIMM back.

        :param element: a ``<memory model='dimm'>`` element
        :returns: the DIMM
        :raises UnreadableDomain: if it has no size
        """
        return device.read(element)
