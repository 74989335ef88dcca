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

import collections
from collections.abc import Iterable
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
from nova_memhotplug.compute import books
from nova_memhotplug.core import balloon
from nova_memhotplug.core import blocklist
from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import notes
from nova_memhotplug.core import observations
from nova_memhotplug.core import outcome
from nova_memhotplug.core import planner
from nova_memhotplug.core import strategies
from nova_memhotplug.core import units
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
#: How much a guest can take in one time-out; it has more time for more. A
#: block of 128 MiB has been seen to take 31 ms, and it is more the larger the
#: guest is (facts-events.md, 0.7).
MB_IN_TIME = 32 * units.MIB_PER_GIB


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
    told = told_by_balloon(live) if guest.plugged_mb else None
    return dataclasses.replace(
        seen(guest, instance, heard_mb), is_silent=is_silent,
        answer=_answer(guest, blocks) if blocks else None,
        offline_mb=balloon.offline_mb(
            told, guest.boot_mb, guest.taken_mb - guest.boot_mb,
            reserve_kib(guest.boot_mb, instance)),
        told_at=told.told_at if told else 0)


def told_by_balloon(live: ty.Any) -> balloon.Figures | None:
    """Read what a guest tells without an agent.

    :param live: the ``virt.guest.LiveGuest``
    :returns: that; None if it has told nothing of late
    """
    told = live.balloon()
    if told is None or told.is_late(
            time.time(), CONF.libvirt.mem_stats_period_seconds):
        return None
    return ty.cast(balloon.Figures, told)


def reserve_kib(boot_mb: int, instance: ty.Any) -> int | None:
    """Say what a guest was seen to set aside of its boot memory.

    :param boot_mb: RAM that it booted with, in MiB
    :param instance: a ``nova.objects.Instance``
    :returns: that, in KiB; None if it was never seen
    """
    return _kib_for(_reserve(instance), boot_mb, instance)


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
        told = self.live.balloon()
        self._reserve = _reserve(instance)
        if guest.taken_mb == guest.boot_mb:
            self._reserve = balloon.Reserve.seen(
                told, guest.boot_mb, _image(instance), self._reserve)
        #: What it sets aside of its boot memory, in KiB; None if not known.
        self.reserve_kib = _kib_for(self._reserve, guest.boot_mb, instance)
        plugged_mb = guest.taken_mb - guest.boot_mb
        #: What was plugged before and may be offline, in MiB.
        self.others_mb = 0 if balloon.offline_mb(
            told, guest.boot_mb, plugged_mb, self.reserve_kib
        ) == 0 else plugged_mb
        # How many blocks the guest did not know, by look.
        self._missing: list[int] = []
        # Blocks that it does not use, with the error of the guest's kernel.
        self._errors: dict[int, int | None] = {}

    def ask_what_is_used(self) -> None:
        """Ask the agent what of its memory the guest uses."""
        block_mb, blocks = self.before.heard_mb, None
        if (block_mb and self.before.guest.is_agent_there and
                not self.live.is_paused()):
            blocks = self._agent.blocks(block_mb)
        self.before = dataclasses.replace(
            self.before, is_silent=blocks is None,
            answer=blocks and _answer(self.before.guest, blocks))

    def confirm(
        self, changes: Sequence[planner.Change],
    ) -> outcome.Outcome:
        """Look inside the guest for memory that it was just given.

        Only an agent can tell at once whether it is used. What the balloon
        tells comes later (``compute.follow``).

        :param changes: what was done; other devices do not count
        :returns: what the guest is seen to make of it
        :raises GuestRefused: if the agent answers, but the memory is not
            there
        """
        asked = _Asked(changes, self.before.guest)
        devices = asked.devices(self.look_again())
        block_mb, blocks = self.before.heard_mb, None
        if block_mb and self.after.is_agent_there:
            self._check_whole_blocks(devices, block_mb)
            blocks = self._wait(asked, block_mb)
        return self._judge(blocks, asked)

    def look_again(self) -> domain.GuestMemory:
        """Read what the guest has after a change.

        :returns: that
        :raises UnreadableDomain: if its domain cannot be read
        :raises HypervisorRefused: if libvirt does not tell
        """
        guest: domain.GuestMemory = self.live.read()
        self._after = dataclasses.replace(self.before, guest=guest)
        return guest

    @property
    def after(self) -> domain.GuestMemory:
        """What the guest has, as far as this has looked."""
        return (self._after or self.before).guest

    def annotate(self, metadata: books.Metadata) -> books.Metadata:
        """Note what the guest has, and what it has set aside.

        :param metadata: the system metadata of the instance, as they were
            read just now
        :returns: the system metadata to be saved
        """
        found = books.annotated(
            metadata, notes.write(self._after or self.before))
        return found if self._reserve is None else found | {
            balloon.KEY: str(self._reserve)}

    def _ask_block(self, guest: domain.GuestMemory) -> int:
        """Ask for the guest's memory block."""
        now_mb = None
        if guest.is_agent_there and not self.live.is_paused():
            now_mb = self._agent.block_mb()
        return _heard_mb(self._instance, now_mb or 0)

    def _check_whole_blocks(
        self, devices: Sequence[device.MemoryDevice], block_mb: int,
    ) -> None:
        for dev in devices:
            if not blocklist.BlockList(block_mb, {}).divides(dev):
                raise errors.BlockTooLarge(
                    block_mb=block_mb, size_mb=dev.size_mb,
                    address=hex(dev.base or 0))

    def _wait(
        self, asked: '_Asked', block_mb: int,
    ) -> blocklist.BlockList | None:
        """Wait until the guest uses the new memory, or for the time-out."""
        if self.live.is_paused():
            return None
        time.sleep(FIRST_LOOK)
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_delay(asked.seconds),
            wait=tenacity.wait_exponential(
                multiplier=SHORTEST_WAIT, exp_base=1.5, max=LONGEST_WAIT),
            retry=tenacity.retry_if_result(
                lambda blocks: blocks is not None and
                asked.used_mb(self.after, blocks) < asked.of_mb),
            retry_error_callback=lambda state: ty.cast(
                ty.Any, state).outcome.result())
        return retrying(self._look_inside, asked, block_mb)

    def _look_inside(
        self, asked: '_Asked', block_mb: int,
    ) -> blocklist.BlockList | None:
        """Look once, and have used what is not.

        What a guest takes bit by bit it goes on taking when it uses what it
        has (facts-guests.md, 0.1), and its domain tells how far it is.
        """
        if asked.is_gradual:
            self.look_again()
        blocks = self._agent.blocks(block_mb)
        if blocks is None:
            return None
        devices = asked.devices(self.after)
        self._missing.append(len(blocks.missing(devices)))
        offline = blocks.offline(devices)
        if offline and CONF.memhotplug.online_guest_memory:
            self._errors = self._agent.bring_online(offline)
        return ty.cast(blocklist.BlockList, blocks)

    def _judge(
        self, blocks: blocklist.BlockList | None, asked: '_Asked',
    ) -> outcome.Outcome:
        devices = asked.devices(self.after)
        taken_mb = asked.taken_mb(self.after)
        if taken_mb < asked.of_mb:
            return outcome.pending(asked.of_mb, taken_mb)
        if blocks is None or any(dev.base is None for dev in devices):
            LOG.info('Memory is attached, not confirmed: no guest agent '
                     'tells.', instance=self._instance)
            return outcome.unknown(asked.of_mb, is_open=(
                CONF.libvirt.mem_stats_period_seconds > 0))
        missing = blocks.missing(devices)
        # Fewer than before: the guest is about to take the rest.
        if missing and len(missing) == max(self._missing):
            raise errors.GuestRefused(
                seconds=asked.seconds, missing=len(missing),
                total=sum(len(blocks.of(dev)) for dev in devices))
        unused_mb = asked.of_mb - asked.used_mb(self.after, blocks)
        if unused_mb:
            LOG.warning('Memory is attached, but the guest leaves %(mb)d MiB '
                        'of it unused. Errors of its kernel, with the number '
                        'of blocks: %(errors)s', {
                            'mb': unused_mb, 'errors': dict(
                                collections.Counter(self._errors.values()))},
                        instance=self._instance)
        return outcome.used(asked.of_mb, unused_mb, outcome.AGENT)


class _Asked:
    """What a guest is to have, and how far it is with it.

    :param changes: what was done to its devices
    :param before: what it had
    """

    def __init__(
        self, changes: Sequence[planner.Change], before: domain.GuestMemory,
    ):
        self._aliases = {change.device.alias for change in changes}
        self._had_mb = sum(dev.taken_mb for dev in self.devices(before))
        #: In MiB.
        self.of_mb = max(0, sum(
            change.device.asked_mb for change in changes) - self._had_mb)
        #: Whether it takes it bit by bit.
        self.is_gradual = any(
            change.action == planner.UPDATE for change in changes)

    @property
    def seconds(self) -> float:
        """How long it is waited for."""
        return float(CONF.memhotplug.confirm_timeout * max(
            1, self.of_mb / MB_IN_TIME))

    def devices(
        self, guest: domain.GuestMemory,
    ) -> list[device.MemoryDevice]:
        """List the devices of this, as a guest has them."""
        return [dev for dev in guest.devices if dev.alias in self._aliases]

    def taken_mb(self, guest: domain.GuestMemory) -> int:
        """Say how much of it a guest has taken, used or not, in MiB."""
        return self._gained_mb(
            dev.taken_mb for dev in self.devices(guest))

    def used_mb(
        self, guest: domain.GuestMemory, blocks: blocklist.BlockList,
    ) -> int:
        """Say how much of it a guest uses, in MiB."""
        return self._gained_mb(
            blocks.used_mb(dev) for dev in self.devices(guest))

    def _gained_mb(self, amounts_mb: Iterable[int]) -> int:
        return min(self.of_mb, max(0, sum(amounts_mb) - self._had_mb))


def _image(instance: ty.Any) -> str:
    return instance.image_ref or ''


def _reserve(instance: ty.Any) -> balloon.Reserve | None:
    return balloon.Reserve.parse(instance.system_metadata.get(balloon.KEY))


def _kib_for(
    found: balloon.Reserve | None, boot_mb: int, instance: ty.Any,
) -> int | None:
    return found.kib if found and found.fits(
        boot_mb, _image(instance)) else None


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
