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

"""To which smaller totals a running guest can be brought that has DIMMs.

It gives back whole ones. The last one goes first: the map of the pages
of a later DIMM is in the memory of an earlier one where both are in a node
that was empty, so a guest rejects the earlier one even if nobody else uses it
(facts-events.md, 0.2).
"""

from collections.abc import Iterator
import itertools

from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors

Devices = tuple[device.MemoryDevice, ...]


def reachable(guest: domain.GuestMemory) -> dict[int, Devices]:
    """Say to which totals a guest can be brought by taking devices away.

    Only what this package has attached is taken. Each NUMA node of the flavor
    gives the same amount, as each got it (``planner.shares``).

    :param guest: what it has, with the aliases of its devices
    :returns: what to take away, in that order, by the total in MiB, the
        largest total first; with nothing to take for the one that it has
    """
    stacks = [_amounts(_stack(guest, place))
              for place in range(len(guest.own_cells))] or [{0: ()}]
    common = set(stacks[0]).intersection(*stacks[1:])
    return {
        guest.present_mb - amount_mb * len(stacks): tuple(sorted(
            itertools.chain.from_iterable(
                stack[amount_mb] for stack in stacks),
            key=_address, reverse=True))
        for amount_mb in sorted(common)}


def refusals(
    guest: domain.GuestMemory, wanted_mb: int,
) -> Iterator[errors.Refused]:
    """Say why a guest cannot be brought to a smaller total.

    :param guest: what it has
    :param wanted_mb: RAM it is to have, in MiB, less than it has
    """
    totals = reachable(guest)
    if wanted_mb not in totals:
        others = [str(total_mb) for total_mb in totals
                  if total_mb != guest.present_mb]
        yield errors.Shrink(
            wanted_mb=wanted_mb, present_mb=guest.present_mb,
            reach='to ' + ' or '.join(others) + ' MiB' if others
            else 'to nothing less')


def _stack(guest: domain.GuestMemory, place: int) -> list[device.MemoryDevice]:
    """List what can be taken from an own cell, the last one first."""
    return sorted(
        (dev for dev in guest.devices
         if dev.model == device.DIMM and dev.is_ours and
         guest.own_cell_of(dev) == place),
        key=_address, reverse=True)


def _address(dev: device.MemoryDevice) -> int:
    """Order devices as they came: each is put behind the others."""
    return dev.base or 0


def _amounts(stack: list[device.MemoryDevice]) -> dict[int, Devices]:
    """Say what is gone when so many of a stack are taken, in MiB."""
    return {sum(dev.size_mb for dev in stack[:count]): tuple(stack[:count])
            for count in range(len(stack) + 1)}
