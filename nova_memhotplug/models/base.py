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

"""What a memory model has to provide."""

import abc
from collections.abc import Sequence

from lxml import etree

from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import layouts
from nova_memhotplug.core import planner


class MemoryModel(abc.ABC):
    """A way in which a running guest gets more memory.

    A package adds one by naming a subclass in the entry-point namespace
    ``nova_memhotplug.memory_models``; the entry point's name is the value of
    the extra spec ``memhotplug:model``. It is made without arguments, once
    per process, and holds no state.
    """

    @abc.abstractmethod
    def boot_devices(
        self, layout: layouts.Layout,
    ) -> tuple[etree._Element, ...]:
        """Say what a guest must boot with, besides the layout itself.

        :param layout: cells, ceiling and slots the guest boots with
        :returns: elements for the domain's ``<devices>``; often none
        """

    @abc.abstractmethod
    def grow(
        self, guest: domain.GuestMemory, shares: Sequence[planner.Share],
    ) -> tuple[planner.Change, ...]:
        """Say how to add memory to a running guest.

        Alignment and ceiling have been checked. Nothing is touched here. A
        device to attach has an alias from ``core.device.new_alias()``.

        Where a guest cannot take all at once (``core.page_map``), this is
        called for each part, with the guest as the parts before leave it.

        nova-api plans from a note of the guest (``core.notes``). There the
        devices that it has are without alias, address and backing, and only
        size, node and model of the changes matter.

        :param guest: what the guest has
        :param shares: RAM to add, one share for each NUMA node of the
            flavor, each a whole number of memory blocks, with an address
            where that is known
        :returns: the changes, in the order in which to make them
        :raises Refused: if this guest cannot take it, for example for want
            of a slot
        """

    @abc.abstractmethod
    def read(self, element: etree._Element) -> device.MemoryDevice:
        """Read back a device of this model.

        :param element: a ``<memory>`` element of a domain whose ``model``
            is this model's name
        :returns: the device, with the size that the guest has of it
        :raises UnreadableDomain: if the element is not as it should be
        """
