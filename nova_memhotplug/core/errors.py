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

"""Everything that can be refused, as types that carry their numbers.

``code`` is a stable slug for programs; ``str()`` is one sentence for people
that names the rule and the numbers. What HTTP status a refusal has is decided
at the edge (``nova_memhotplug.api``), not here.
"""

from collections.abc import Mapping
import typing as ty


class MemoryHotplugError(Exception):
    """Base of this package's errors.

    ``tenant_msg`` is what users are told who do not run the cloud, where
    ``msg_fmt`` tells of its inside; None where all may read the sentence.

    :param kwargs: the numbers and names that ``msg_fmt`` mentions; they stay
        readable as attributes of the error
    """

    code = 'error'
    msg_fmt = 'Memory hot-plug failed.'
    tenant_msg: str | None = None

    def __init__(self, **kwargs: ty.Any) -> None:
        self.facts: Mapping[str, ty.Any] = kwargs
        super().__init__(self.msg_fmt % kwargs)

    def sentence(self, is_admin: bool) -> str:
        """Say it to a user.

        :param is_admin: whether the user runs the cloud
        :returns: the sentence that concerns this user
        """
        return str(self) if is_admin else self.tenant_msg or str(self)

    def __getattr__(self, name: str) -> ty.Any:
        try:
            return self.__dict__['facts'][name]
        except KeyError:
            raise AttributeError(name)


class InvalidSpec(MemoryHotplugError):
    """A flavor's extra specs contradict each other or cannot be read."""

    code = 'invalid_extra_spec'
    msg_fmt = "Flavor extra spec %(key)s is '%(value)s': %(rule)s."


class CeilingTooHigh(MemoryHotplugError):
    """A guest's processor cannot address what the guest may get."""

    code = 'ceiling_too_high'
    msg_fmt = ('A ceiling of %(max_mb)d MiB with %(slots)d slots needs '
               '%(needed_mb)d MiB of addresses, %(excess_mb)d MiB more than '
               '%(bits)d bits are: %(fits)s.')


class CeilingTooHighHere(CeilingTooHigh):
    """The same of a processor that may have more bits on another host."""


class InvalidImage(InvalidSpec):
    """A property of an image cannot be read."""

    code = 'invalid_image_property'
    msg_fmt = "Image property %(key)s is '%(value)s': %(rule)s."


class ExcludedComposition(MemoryHotplugError):
    """A server is to have what does not go together with growth.

    Nova keeps 255 characters of a fault, and needs 88 of them to say that
    the build of an instance was aborted for invalid input.
    """

    code = 'excluded_composition'
    msg_fmt = ('memhotplug:max_memory_mb cannot be combined with %(what)s: '
               '%(why)s.')


class StrategyUnavailable(MemoryHotplugError):
    """The host cannot start a guest with the wanted kind of reserved cell."""

    code = 'strategy_unavailable'
    msg_fmt = ('This host cannot reserve an empty NUMA cell for %(arch)s '
               "guests with the strategy '%(strategy)s': %(reason)s.")


class CellTooSmall(StrategyUnavailable):
    """The reserved cell would get all the memory of the first one."""

    msg_fmt = ("The strategy 'tiny' takes %(size_kib)d KiB of NUMA node 0 for "
               'the reserved cell, and that node has %(memory_kib)d KiB.')


class EmulatorGone(MemoryHotplugError):
    """A suspended guest could not be started from what was saved of it."""

    code = 'emulator_gone'
    msg_fmt = ('This server is not resumed, and stays suspended: libvirt '
               'cannot use the emulator %(path)s that it was started with'
               '%(reason)s. Put that back first.')


class CannotCarry(MemoryHotplugError):
    """A running guest would not go on after a live migration to a host.

    Nova keeps 255 characters of the details of an event, and needs 27 of
    them to say that a check before the migration has failed.
    """

    code = 'cannot_carry'
    msg_fmt = 'The destination cannot carry on this guest: %(reason)s.'


class LaunchUnknown(MemoryHotplugError):
    """The host of a running guest does not say how it was started."""

    code = 'launch_unknown'
    msg_fmt = ('It is not known how this guest was started, so it is not '
               'migrated live: %(reason)s.')


class UnreadableDomain(MemoryHotplugError):
    """A domain's XML lacks what is needed, or is not XML."""

    code = 'unreadable_domain'
    msg_fmt = 'The domain XML cannot be read: %(reason)s.'


class Refused(MemoryHotplugError):
    """A wanted total that cannot be had; nothing was touched."""

    code = 'refused'


class NotElastic(Refused):
    """The flavor has no ceiling, so the guest has no room for growth."""

    code = 'not_elastic'
    msg_fmt = ('The flavor of this server has no extra spec '
               'memhotplug:max_memory_mb, so its memory cannot grow while it '
               'runs.')


class AtCeiling(Refused):
    """The guest booted with all the memory that its flavor allows."""

    code = 'at_ceiling'
    msg_fmt = ('This server booted with %(present_mb)d MiB and its flavor '
               'allows %(max_mb)d MiB, so no more memory can be added.')


class BootedInelastic(Refused):
    """The flavor allows growth, but the running guest booted without it."""

    code = 'booted_inelastic'
    msg_fmt = ('The running guest was started without room for growth '
               '(its domain has no maxMemory). Hard reboot the server to give '
               'it the ceiling of its flavor.')


class StartedWithoutRoom(BootedInelastic):
    """A server that has run before was started without room, as a refusal
    would have kept it from being started (design T9).
    """

    msg_fmt = ('The running guest was started without room for growth: '
               '%(why)s Hard reboot the server when that is mended.')
    tenant_msg = ('The running guest was started without room for growth, '
                  'which its host could not give it then.')


class Shrink(Refused):
    """No devices of the guest can be taken away to bring it to the total."""

    code = 'below_present_size'
    msg_fmt = ('%(wanted_mb)d MiB is less than the %(present_mb)d MiB this '
               'server has. A running server gives back what was added while '
               'it ran, in whole devices and the last one first: it can be '
               'brought %(reach)s.')


class BelowBootMemory(Shrink):
    """The wanted total is less than what the guest has booted with."""

    msg_fmt = ('%(wanted_mb)d MiB is less than the %(floor_mb)d MiB that this '
               'server keeps while it runs, which is what it booted with.')


class Unaligned(Refused):
    """The wanted total is not present size plus whole memory blocks."""

    code = 'unaligned'
    msg_fmt = ('%(wanted_mb)d MiB is not possible: memory is added in steps '
               'of %(step_mb)d MiB to the %(present_mb)d MiB this server has. '
               '%(nearest)s')


class UnalignedRequest(Unaligned):
    """The wanted total is not what the guest keeps plus whole steps."""

    msg_fmt = ('%(wanted_mb)d MiB is not possible: this server keeps '
               '%(present_mb)d MiB while it runs, and has more in steps of '
               '%(step_mb)d MiB. %(nearest)s')


class AboveCeiling(Refused):
    """The wanted total is above the ceiling the guest booted with."""

    code = 'above_ceiling'
    msg_fmt = ('%(wanted_mb)d MiB is above the ceiling of %(max_mb)d MiB this '
               'server booted with.%(reach)s')


class AboveFlavorCeiling(AboveCeiling):
    """The guest has room for the wanted total, but its flavor allows less.

    A server of that total could not get room for growth at its next start.
    """

    msg_fmt = ('%(wanted_mb)d MiB is above the ceiling of %(max_mb)d MiB of '
               'the flavor that this server has.%(reach)s')


class NoStepLeft(Refused):
    """Less than one step is left below the ceiling the guest booted with."""

    code = 'no_step_left'
    msg_fmt = ('This server has %(present_mb)d MiB; %(step_mb)d MiB more, the '
               'least that can be added, are above its ceiling of '
               '%(max_mb)d MiB.')


class NoFreeSlot(Refused):
    """The guest has not enough free memory slots."""

    code = 'no_free_slot'
    msg_fmt = ('Not enough memory slots of this server are free: '
               '%(needed)d needed (one for each NUMA node of the flavor), '
               '%(used)d of %(total)d in use. A hard reboot turns the added '
               'memory into boot memory and frees the slots.')


class PageMapTooLarge(Refused):
    """The guest has not the memory for the page map of what is added."""

    code = 'page_map_too_large'
    msg_fmt = ('The guest keeps a map of the pages of new memory, 1/64 of its '
               'size, in memory that it has already. It booted with '
               '%(boot_mb)d MiB and is known to use %(used_mb)d MiB, so it '
               'can be brought to %(max_mb)d MiB now.')


class NoTargetCell(Refused):
    """The guest has no NUMA cell to plug memory into."""

    code = 'no_target_cell'
    msg_fmt = ('The running guest has no NUMA cell, so there is nowhere to '
               'add memory. Hard reboot the server.')


class EmptyNode(Refused):
    """A NUMA cell before the last has no memory."""

    code = 'empty_node'
    msg_fmt = ('NUMA node %(node)d has no memory. Only the last node of a '
               'server that can grow may be empty: its guest would have the '
               'memory that is added in another node.')


class NoHotplug(Refused):
    """Guests of this architecture cannot take memory while they run."""

    code = 'no_hotplug'
    msg_fmt = 'Memory cannot be added to running %(arch)s guests.'


class Misaligned(Refused):
    """The guest has memory that it does not use."""

    code = 'misaligned'
    msg_fmt = ('This server has a memory device of %(size_mb)d MiB at '
               '%(address)s that is not made of whole blocks of %(block_mb)d '
               'MiB, so its guest does not use all of it. Hard reboot the '
               'server first: that turns it into boot memory.')


class GuestOff(Refused):
    """The server is active for Nova, but its guest does not run."""

    code = 'guest_off'
    msg_fmt = 'The guest of this server is switched off.'


class GuestMissing(Refused):
    """The server is active for Nova, but its host has no guest of it."""

    code = 'guest_missing'
    msg_fmt = ('The host of this server has no guest of it. Hard reboot the '
               'server to have it made anew.')


class GuestUnreadable(Refused):
    """The host answers, but cannot say what the guest has."""

    code = 'guest_unreadable'
    msg_fmt = ('The host of this server cannot say what its guest has: '
               '%(reason)s')
    tenant_msg = ('The host of this server cannot say right now what its '
                  'guest has.')


class UnknownModel(Refused):
    """The flavor names a memory model that this host has not installed."""

    code = 'unknown_model'
    msg_fmt = ("Memory model '%(model)s' is not installed here; installed: "
               '%(known)s.')


class NotActive(Refused):
    """Memory is added to running servers only."""

    code = 'not_active'
    msg_fmt = ("Memory is added to a running server; this one is "
               "'%(vm_state)s'.")


class NeverStarted(Refused):
    """The server is active for Nova, but has never run on a host."""

    code = 'never_started'
    msg_fmt = ('This server has never been started, so there is nothing to '
               'add memory to.')


class Busy(Refused):
    """Something else is going on with the server."""

    code = 'busy'
    msg_fmt = "The server is busy ('%(task_state)s')."


class Locked(Refused):
    """The server is locked."""

    code = 'locked'
    msg_fmt = 'The server is locked.'


class NotAllowed(Refused):
    """The policy lets somebody look at a server, but not change it."""

    code = 'not_allowed'
    msg_fmt = ('The policy does not allow you to change the memory of this '
               'server.')


class HostDown(Refused):
    """Nobody answers on the server's host."""

    code = 'host_down'
    msg_fmt = ('The compute service of the host of this server is down or '
               'does not answer.')


class HostUnaware(Refused):
    """The server's host runs without this extension, or an older one."""

    code = 'host_unaware'
    msg_fmt = ('The host of this server does not have the memory hot-plug '
               'extension, or an older version of it than this API needs.')


class HypervisorRefused(MemoryHotplugError):
    """libvirt or QEMU did not take a device, or did not give it back."""

    code = 'hypervisor_refused'
    msg_fmt = 'The hypervisor refused: %(reason)s.'
    tenant_msg = 'The hypervisor did not take the memory.'


class GuestKeeps(HypervisorRefused):
    """The guest did not let go of a device in time, and may do so later."""

    code = 'guest_keeps_memory'
    msg_fmt = ('The guest keeps %(devices)s: it uses that memory, or did not '
               'answer. What it has let go of is taken away.')
    tenant_msg = ('The guest keeps memory that was to be taken away: it uses '
                  'that, or did not answer. What it has let go of is taken '
                  'away.')


class HypervisorGone(HypervisorRefused):
    """libvirt's daemon went away: what it was doing may be half done."""


class LostDevice(MemoryHotplugError):
    """QEMU has a device that libvirt does not know, and the guest keeps it."""

    code = 'lost_device'
    msg_fmt = ('The guest has memory that libvirt has lost sight of, since it '
               'was cut short while it added it, and keeps it. Hard reboot '
               'the server to be able to add memory again.')


class GuestRefused(MemoryHotplugError):
    """The guest answers, but does not show the new memory."""

    code = 'guest_refused'
    msg_fmt = ('The guest did not take the memory: after %(seconds)d seconds '
               'its agent still misses %(missing)d of %(total)d new memory '
               'blocks. Kernels without ACPI memory hot-plug, such as the '
               'ordinary one of Debian for arm64, take no DIMM, but memory of '
               'the model virtio-mem.')


class FirstPartNotUsed(GuestRefused):
    """The guest has a first part of the memory, and leaves it offline."""

    code = 'first_part_not_used'
    msg_fmt = ('The guest was not seen to use the first part of the memory, '
               'which it needs for the page map of the rest.')


class BlockTooLarge(GuestRefused):
    """The guest manages memory in larger blocks than was known before."""

    code = 'block_too_large'
    msg_fmt = ('The guest does not take the memory: its memory block is '
               '%(block_mb)d MiB, and %(size_mb)d MiB at %(address)s are no '
               'whole number of blocks.')


class HostFull(MemoryHotplugError):
    """The server's host has not enough memory left."""

    code = 'host_full'
    msg_fmt = ('The host of this server has %(free_mb)d MiB of memory free; '
               '%(asked_mb)d MiB more were asked for.')
    tenant_msg = 'The host of this server has not enough memory free.'


class HostTooSmall(MemoryHotplugError):
    """The server's host takes no server that is so large."""

    code = 'host_too_small'
    msg_fmt = ('The host of this server takes no server of more than '
               '%(max_mb)d MiB; %(wanted_mb)d MiB were asked for.')
    tenant_msg = 'The host of this server takes no server that is so large.'


class HostNodeFull(MemoryHotplugError):
    """A node of the host has not enough memory, or huge pages, left."""

    code = 'host_node_full'
    msg_fmt = ('Memory of this server is bound to NUMA node %(node)d of its '
               'host, which has %(free_mb)d MiB%(pages)s free; %(asked_mb)d '
               'MiB more were asked for there.')
    tenant_msg = ('The NUMA nodes of the host that this server is bound to '
                  'have not enough memory free.')


class AccountingFailed(MemoryHotplugError):
    """Placement or the database did not do what it was asked for."""

    code = 'accounting_failed'
    msg_fmt = "The server's memory could not be accounted for: %(reason)s"
    tenant_msg = "The server's memory could not be accounted for."


class NothingAllocated(AccountingFailed):
    """Placement has nothing for the server to begin with."""

    code = 'nothing_allocated'
    msg_fmt = ('Server %(uuid)s has nothing allocated on its host; it gets '
               'what its flavor stands for by "nova-manage placement '
               'heal_allocations --instance %(uuid)s".')


class ForeignDevices(Refused):
    """Somebody attached memory by other means, and that is not accepted."""

    code = 'foreign_devices'
    msg_fmt = ('%(foreign_mb)d MiB were attached to this server by other '
               'means than this API, and [memhotplug] '
               'adopt_foreign_devices is off.')


class RequestLost(MemoryHotplugError):
    """A request was accepted, and did not reach the host."""

    code = 'request_lost'
    msg_fmt = ('The request has not reached the host of this server within '
               '%(seconds)d seconds, so it was given up; the server is as it '
               'was.')


class NotSettled(MemoryHotplugError):
    """A server cannot move: nobody can say right now what it has."""

    code = 'not_settled'
    msg_fmt = ('The memory of this server cannot be compared with the books '
               'right now, so it is not moved: %(reason)s')
    tenant_msg = ('The memory of this server cannot be accounted for right '
                  'now, so it is not moved.')


class FlavorNotFound(Refused):
    """A new flavor does not exist, or not for this user."""

    code = 'flavor_not_found'
    msg_fmt = 'Flavor %(flavor_id)s could not be found.'


class FlavorInelastic(Refused):
    """A new flavor has no ceiling."""

    code = 'flavor_inelastic'
    msg_fmt = ("Flavor '%(name)s' has no extra spec memhotplug:max_memory_mb, "
               'so a running server cannot change to it.')


class FlavorInvalid(Refused):
    """The extra specs of a new flavor keep servers from booting."""

    code = 'flavor_invalid'
    msg_fmt = "No server can boot from flavor '%(name)s'. %(reason)s"


class FlavorDiffers(Refused):
    """A new flavor differs in more than memory."""

    code = 'flavor_differs'
    msg_fmt = ("Flavor '%(name)s' differs from the server's own in more than "
               'memory, which takes a cold resize: %(differences)s.')


class OverQuota(Refused):
    """The project may not have that much memory."""

    code = 'over_quota'
    msg_fmt = ('Quota exceeded for ram: %(asked_mb)d MiB more were asked for, '
               'but %(used_mb)d of %(limit_mb)d MiB are in use already.')


class NoAddress(Refused):
    """The guest has no addresses left for so large a device."""

    code = 'no_address'
    msg_fmt = ('The guest of this server has no free addresses for a memory '
               'device of %(size_mb)d MiB at a multiple of %(step_mb)d MiB. '
               'A hard reboot turns the added memory into boot memory and '
               'frees them.')


class NoFreeRegion(Refused):
    """Who serves the guest can be told of no more memory devices."""

    code = 'no_free_region'
    msg_fmt = ('This server can have %(most)d memory devices, as its network '
               'ports know no more regions of memory: it has %(present)d, and '
               '%(needed)d more are needed. A hard reboot turns the added '
               'memory into boot memory.')


class GivingBack(Refused):
    """The guest does not give anything back while it is migrated live."""

    code = 'giving_back'
    msg_fmt = ('The guest of this server is giving back %(left_mb)d MiB, and '
               'would stop to do so on the way to another host. Wait until it '
               'has, or ask for %(taken_mb)d MiB again.')


class NoMemoryDevice(Refused):
    """The guest has no device that could be asked for memory."""

    code = 'no_memory_device'
    msg_fmt = ('The running guest was started without the memory device that '
               'the memory model of its flavor asks for more, or for less. '
               'Hard reboot the server to give it that device.')


def by_code(code: str) -> type[MemoryHotplugError] | None:
    """Find an error by its code.

    :param code: a slug
    :returns: the class; None if there is none
    """
    pending = [MemoryHotplugError]
    while pending:
        kind = pending.pop()
        if kind.code == code:
            return kind
        pending += kind.__subclasses__()
    return None
