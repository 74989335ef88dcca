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

"""Look at a running guest: its live domain, and what its agent says.

The live domain is the truth of what a guest has (design T2), its agent the
truth of what it uses (T7). A resize looks once before and once after, by one
``Look``; whoever only wants to know asks ``observe``.
"""

from collections.abc import Sequence
import dataclasses
import time
import typing as ty

from oslo_concurrency import lockutils
from oslo_log import log as logging
import tenacity

from nova_memhotplug.common import exclusions
from nova_memhotplug.common import options
from nova_memhotplug.common import specs
from nova_memhotplug.common import states
from nova_memhotplug.core import blocklist
from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import notes
from nova_memhotplug.core import observations
from nova_memhotplug.core import strategies
from nova_memhotplug.models import base

CONF = options.CONF
LOG = logging.getLogger(__name__)

#: Whoever asks the agent of a server beside a resize has this lock.
AGENT_LOCK = 'memhotplug-agent-%s'
#: Seconds that a guest has to take memory before its agent is asked for the
#: first time: a quick guest is done by then, and is asked once. Each question
#: takes time of the guest, too.
FIRST_LOOK = 0.045
#: Seconds between two looks at the guest's memory blocks: at first, and at
#: the most.
SHORTEST_WAIT, LONGEST_WAIT = 0.03, 0.5


def observe(
    guests: ty.Any, instance: ty.Any, ask_guest: bool = False,
) -> observations.Observation:
    """Look at a running server for somebody who only wants to know.

    :param guests: the ``virt.guest.Guests`` of this host
    :param instance: a ``nova.objects.Instance``
    :param ask_guest: whether to ask the guest, too, if it has an agent
    :returns: what is known of it
    :raises nova.exception.InstanceNotFound: if it has no domain
    :raises GuestOff: if its guest does not run
    :raises UnreadableDomain: if its domain cannot be read
    :raises HypervisorRefused: if libvirt does not tell
    """
    live = guests.of(instance)
    guest = _read(live)
    blocks, is_silent = None, not guest.has_agent
    if ask_guest and not is_silent:
        blocks, is_silent = _ask(live, guest, instance)
    heard_mb = _heard_mb(instance, blocks.block_mb if blocks else 0)
    return dataclasses.replace(
        seen(guest, instance, heard_mb), is_silent=is_silent,
        answer=_answer(guest, blocks) if blocks else None)


def take_note(guests: ty.Any, instance: ty.Any) -> str | None:
    """Make a note of what a guest has that was just started.

    Its kernel may be another one than before, so nothing is heard of its
    agent yet. Without a note, plans ask the host. So whatever goes wrong
    here must not undo what it is a note of.

    :param guests: the ``virt.guest.Guests`` of this host
    :param instance: a ``nova.objects.Instance``
    :returns: the note; None if none can be made
    """
    try:
        return notes.write(
            seen(_read(guests.of(instance)), instance, heard_mb=0))
    except errors.GuestOff:
        return None
    except Exception:
        LOG.warning('No note can be made of the memory of this server; plans '
                    'will ask its host.', instance=instance, exc_info=True)
        return None


def note_of(guest: domain.GuestMemory | None, instance: ty.Any) -> str | None:
    """Make the note of a guest whose domain was read just now.

    What its agent has said cannot be seen from the domain, so the note that
    it has is believed in that.

    :param guest: what its live domain has; None if it does not run
    :param instance: a ``nova.objects.Instance``
    :returns: the note; None if none can be made
    """
    if guest is None:
        return None
    return notes.write(seen(guest, instance, _heard_mb(instance, 0)))


class Look:
    """The look of one resize at its guest: once before, once after.

    :param guests: the ``virt.guest.Guests`` of this host
    :param instance: a ``nova.objects.Instance``
    :raises nova.exception.InstanceNotFound: if it has no domain
    :raises GuestOff: if its guest does not run
    :raises UnreadableDomain: if its domain cannot be read
    :raises HypervisorRefused: if libvirt does not tell
    """

    def __init__(self, guests: ty.Any, instance: ty.Any):
        #: The ``virt.guest.LiveGuest``.
        self.live = guests.of(instance)
        self._instance = instance
        self._agent = self.live.agent(is_patient=True)
        guest = _read(self.live)
        self.before = seen(guest, instance, self._ask_block(guest))
        self._after: observations.Observation | None = None

    def ask_what_is_used(self) -> None:
        """Ask the agent what of its memory the guest uses."""
        block_mb, blocks = self.before.heard_mb, None
        if (block_mb and self.before.guest.is_agent_there and
                not self.live.is_paused()):
            blocks = self._agent.blocks(block_mb)
        self.before = dataclasses.replace(
            self.before, is_silent=blocks is None,
            answer=blocks and _answer(self.before.guest, blocks))

    def confirm(self) -> bool:
        """Look inside the guest for memory that was just attached.

        A guest without an agent, or one whose agent does not answer, has it
        for all that is known.

        :returns: whether the guest is seen to use it
        :raises GuestRefused: if the agent answers, but the memory is not
            there
        """
        guest = self.look_again()
        had = {dev.alias for dev in self.before.guest.devices}
        added = [dev for dev in guest.devices
                 if dev.is_ram and dev.alias not in had]
        block_mb = self.before.heard_mb
        if not added or not block_mb or not guest.is_agent_there:
            LOG.info('Memory is attached, not confirmed: no guest agent.',
                     instance=self._instance)
            return False
        self._check_whole_blocks(added, block_mb)
        return self._judge(self._wait(added, block_mb), added)

    def look_again(self) -> domain.GuestMemory:
        """Read what the guest has after a change.

        :returns: that
        :raises UnreadableDomain: if its domain cannot be read
        :raises HypervisorRefused: if libvirt does not tell
        """
        guest: domain.GuestMemory = self.live.read()
        self._after = dataclasses.replace(self.before, guest=guest)
        return guest

    def note(self) -> str | None:
        """Make a note of what the guest has.

        :returns: the note; None if none can be made
        """
        return notes.write(self._after or self.before)

    def _ask_block(self, guest: domain.GuestMemory) -> int:
        """Ask for the guest's memory block."""
        now_mb = None
        if guest.is_agent_there and not self.live.is_paused():
            now_mb = self._agent.block_mb()
        return _heard_mb(self._instance, now_mb or 0)

    def _check_whole_blocks(
        self, added: Sequence[device.MemoryDevice], block_mb: int,
    ) -> None:
        for dev in added:
            if not blocklist.BlockList(block_mb, {}).divides(dev):
                raise errors.BlockTooLarge(
                    block_mb=block_mb, size_mb=dev.size_mb,
                    address=hex(dev.base or 0))

    def _wait(
        self, added: Sequence[device.MemoryDevice], block_mb: int,
    ) -> blocklist.BlockList | None:
        """Wait until the guest uses the new memory, or for the time-out."""
        if self.live.is_paused():
            return None
        time.sleep(FIRST_LOOK)
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_delay(CONF.memhotplug.confirm_timeout),
            wait=tenacity.wait_exponential(
                multiplier=SHORTEST_WAIT, exp_base=1.5, max=LONGEST_WAIT),
            retry=tenacity.retry_if_result(
                lambda blocks: blocks is not None and
                not blocks.has_online(added)),
            retry_error_callback=lambda state: ty.cast(
                ty.Any, state).outcome.result())
        return retrying(self._look_inside, added, block_mb)

    def _look_inside(
        self, added: Sequence[device.MemoryDevice], block_mb: int,
    ) -> blocklist.BlockList | None:
        blocks = self._agent.blocks(block_mb)
        if blocks is None:
            return None
        offline = blocks.offline(added)
        if offline and CONF.memhotplug.online_guest_memory:
            self._agent.bring_online(offline)
        return ty.cast(blocklist.BlockList, blocks)

    def _judge(
        self, blocks: blocklist.BlockList | None,
        added: Sequence[device.MemoryDevice],
    ) -> bool:
        if blocks is None:
            LOG.warning('Memory is attached, not confirmed: the guest agent '
                        'does not answer.', instance=self._instance)
            return False
        missing, offline = blocks.missing(added), blocks.offline(added)
        if missing:
            raise errors.GuestRefused(
                seconds=CONF.memhotplug.confirm_timeout, missing=len(missing),
                total=sum(len(blocks.of(dev)) for dev in added))
        if offline:
            LOG.warning('Memory is attached, but the guest leaves %d MiB of '
                        'it offline.', len(offline) * blocks.block_mb,
                        instance=self._instance)
        return blocks.has_online(added)


def _heard_mb(instance: ty.Any, now_mb: int) -> int:
    """Say which memory block a guest has named since it was started.

    It does not shrink: a guest refuses for ever what is less than its block
    (facts-qemu-libvirt.md, section 3), and an agent may fall silent.

    :param now_mb: the block that it names now, in MiB; 0 if it names none
    """
    note = notes.read(instance.system_metadata.get(notes.KEY))
    return max(now_mb, note.heard_mb if note else 0)


def _read(live: ty.Any) -> domain.GuestMemory:
    if not live.is_running():
        raise errors.GuestOff()
    return ty.cast(domain.GuestMemory, live.read())


def seen(
    guest: domain.GuestMemory, instance: ty.Any, heard_mb: int,
) -> observations.Observation:
    """Say what is known of a guest whose domain was read just now.

    :param guest: what its live domain has
    :param instance: a ``nova.objects.Instance``
    :param heard_mb: the memory block that its agent has named, in MiB; 0 if
        it never did
    """
    is_elastic = states.is_elastic(instance.flavor)
    excluded = None
    if is_elastic:
        excluded = exclusions.excluded(
            instance, guest.arch, CONF.libvirt.cpu_model_extra_flags)
    return observations.Observation(
        guest=guest,
        step_mb=_model_of(instance).step_mb(guest, base.Blocks(
            CONF.memhotplug.aarch64_memory_block_mb,
            specs.block_mb_of(instance), heard_mb)),
        strategy=strategies.of(
            guest, is_elastic, CONF.memhotplug.shim_directory),
        heard_mb=heard_mb, excluded=excluded)


def _model_of(instance: ty.Any) -> base.MemoryModel:
    """Get the memory model of a server whose flavor may make no sense."""
    try:
        return specs.model_of(specs.spec_of(instance.flavor))
    except errors.InvalidSpec:
        return specs.model_of(None)


def _ask(
    live: ty.Any, guest: domain.GuestMemory, instance: ty.Any,
) -> tuple[blocklist.BlockList | None, bool]:
    """Ask the guest agent, unless somebody is asking it already.

    An agent may take its time to answer, and each question keeps a worker of
    nova-compute busy: a second one does not queue behind the first.

    :returns: what it says, and whether it is silent
    """
    if not guest.is_agent_there or live.is_paused():
        return None, True
    try:
        with lockutils.lock(AGENT_LOCK % instance.uuid, blocking=False):
            agent = live.agent(is_patient=False)
            block_mb = agent.block_mb()
            blocks = block_mb and agent.blocks(block_mb)
            return blocks or None, not blocks
    except lockutils.AcquireLockFailedException:
        return None, False


def _answer(
    guest: domain.GuestMemory, blocks: blocklist.BlockList,
) -> observations.Answer:
    return observations.Answer(
        block_mb=blocks.block_mb, online_mb=blocks.online_mb,
        has_all=blocks.has_online(
            [dev for dev in guest.devices if dev.is_ram]))
