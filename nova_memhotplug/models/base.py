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
from collections.abc import Iterator
import dataclasses
import typing as ty

from lxml import etree

from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import layouts
from nova_memhotplug.core import planner

#: How far a guest has come with a change.
DONE, PENDING, REFUSED = 'done', 'pending', 'refused'


@dataclasses.dataclass(frozen=True)
class Blocks:
    """What is known of the memory block of a guest's kernel.

    :param default_mb: block of aarch64 guests of which nothing is known, in
        MiB
    :param named_mb: block that flavor and image name, in MiB; 0 for none
    :param heard_mb: block that the guest itself has named, in MiB; 0 if it
        never did
    """

    default_mb: int
    named_mb: int = 0
    heard_mb: int = 0


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a guest has come with a change.

    :param state: ``DONE``, ``PENDING`` or ``REFUSED``
    :param done_mb: what it has taken, or given back, in MiB
    """

    state: str
    done_mb: int


class MemoryModel(abc.ABC):
    """A way in which a running guest gets more memory, or gives it back.

    A package adds one by naming a subclass in the entry-point namespace
    ``nova_memhotplug.memory_models``; the entry point's name is the value of
    the extra spec ``memhotplug:model``. It is made without arguments, once
    per process, and holds no state.

    nova-api plans from a note of the guest (``core.notes``). There devices
    have no address and no backing, and only size, node and model of the
    changes matter.
    """

    #: libvirt's name of its devices: the attribute ``model`` of ``<memory>``.
    element: ty.ClassVar[str]

    @abc.abstractmethod
    def boot(self, request: layouts.BootRequest) -> layouts.BootMemory:
        """Say what a guest boots with.

        This is asked for every domain that Nova writes afresh: all of the
        server's RAM is to be in boot memory and devices together.

        :param request: what the server is to have
        :returns: boot memory, slots and devices
        :raises MemoryHotplugError: if it cannot be had so; a server that has
            run is then started without room for growth
        """

    def read(self, element: etree._Element) -> device.MemoryDevice:
        """Read back a device of this model.

        :param element: a ``<memory>`` element of a domain whose ``model``
            is ``element``; where other models have that name, too, one whose
            alias is that of ``core.device.new_alias`` for this model
        :returns: the device
        :raises UnreadableDomain: if the element is not as it should be
        """
        return dataclasses.replace(device.read(element), is_ram=True)

    @abc.abstractmethod
    def step_mb(self, guest: domain.GuestMemory, blocks: Blocks) -> int:
        """Say in what steps a NUMA node of a guest takes memory.

        :param guest: what the guest has
        :param blocks: what is known of its memory block
        :returns: the step, in MiB; 0 if it cannot take any
        """

    def base_mb(self, guest: domain.GuestMemory) -> int:
        """Say from which total on memory is added in steps, in MiB.

        :param guest: what the guest has
        """
        return guest.present_mb

    def floor_mb(self, guest: domain.GuestMemory) -> int:
        """Say what a guest keeps while it runs, in MiB.

        :param guest: what its live domain has
        """
        return guest.present_mb

    def depends_on_use(
        self, guest: domain.GuestMemory, total_mb: int,
    ) -> bool:
        """Tell whether a plan depends on what of its memory a guest uses.

        :param guest: what the guest has
        :param total_mb: RAM it is to have, in MiB
        """
        return False

    @abc.abstractmethod
    def refusals(
        self, guest: domain.GuestMemory, target: planner.Target,
    ) -> Iterator[errors.Refused]:
        """Say every reason of this model against a total.

        The ceiling has been looked at (``core.planner``), the step has not:
        see ``core.planner.unaligned``.

        :param guest: what the guest has
        :param target: what it is to have, more or less than it has
        :returns: the reasons, the most basic one first
        """

    @abc.abstractmethod
    def plan(
        self, guest: domain.GuestMemory, target: planner.Target,
    ) -> planner.Rounds:
        """Say how to bring a guest to a total.

        Nothing is touched here. A device to attach has an alias from
        ``core.device.new_alias``.

        :param guest: what the guest has
        :param target: what it is to have; nothing is against it
        :returns: the changes, in the order in which to make them
        :raises Refused: if this guest cannot take it, for example for want
            of a slot
        """

    def settle(self, guest: domain.GuestMemory) -> planner.Rounds:
        """Say how to have a guest keep what it does not give back.

        :param guest: what its live domain has, more than it was asked to
        :returns: the changes; none where it was asked only once
        """
        return ()

    @abc.abstractmethod
    def progress(
        self, guest: domain.GuestMemory, change: planner.Change,
    ) -> Progress:
        """Say how far a guest has come with a change that libvirt has taken.

        :param guest: what its live domain has now
        :param change: of this model's plan
        :returns: what the domain tells of it
        """


def progress_of_whole(
    guest: domain.GuestMemory, change: planner.Change,
) -> Progress:
    """Say how far a guest has come with a device that comes or goes whole.

    :param guest: what its live domain has now
    :param change: an ``ATTACH`` or a ``DETACH``
    :returns: done or pending; that a guest refuses is not in its domain
    """
    is_there = any(dev.alias == change.device.alias for dev in guest.devices)
    if is_there == (change.action == planner.ATTACH):
        return Progress(DONE, abs(change.delta_mb))
    return Progress(PENDING, 0)
