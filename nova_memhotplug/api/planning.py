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

"""What is known of the memory of a server, and all that is against a total.

There is one list of refusals. ``GET os-memory?memory_mb`` shows all of it,
the action answers with the first. Both look at the same thing: the note that
the host has left with the server (``core.notes``), by the functions that the
host itself plans with. The host is asked only where there is no note that can
be believed, or somebody wants to know what the guest has at this moment.
"""

from collections.abc import Iterator
import dataclasses
import functools
import itertools
import typing as ty

from nova.compute import vm_states
from nova import exception
from nova import objects
import oslo_messaging as messaging

from nova_memhotplug.api import quota
from nova_memhotplug.api import room
from nova_memhotplug.common import ahead
from nova_memhotplug.common import exclusions
from nova_memhotplug.common import nodes
from nova_memhotplug.common import rpcapi
from nova_memhotplug.common import specs
from nova_memhotplug.common import states
from nova_memhotplug.core import errors
from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import notes
from nova_memhotplug.core import numa
from nova_memhotplug.core import observations
from nova_memhotplug.core import planner

#: Who has said it: the host, which was asked; its note; or nobody but the
#: flavor, with which a server would boot.
HOST, NOTE, FLAVOR = 'host', 'note', 'flavor'

Refusals = Iterator[errors.MemoryHotplugError]
_FlavorSays = tuple[
    memory_spec.MemorySpec | None, errors.MemoryHotplugError | None]

#: What passes by itself, or by something that users can do without another
#: request: the total can still be had then, so its claim is looked at.
_PASSING = (errors.Locked, errors.NotActive, errors.Busy, errors.HostDown,
            errors.NoFreeSlot)


@dataclasses.dataclass(frozen=True)
class Known:
    """What is known of the guest of a server.

    :param source: who has said it
    :param seen: what is known; None where there is no guest to be seen
    :param against: why there is none to be seen, on a host where one should
        be
    """

    source: str
    seen: observations.Observation | None = None
    against: tuple[errors.Refused, ...] = ()


@dataclasses.dataclass(frozen=True)
class Report:
    """What can be said of the memory of a server.

    :param known: what is known of its guest
    :param spec: what its flavor says; None without a ceiling that can be read
    :param books_mb: RAM in Nova's books (its flavor), in MiB
    :param against_growth: every reason why it cannot grow now
    :param outlook: the way to the wanted total, or every reason against it;
        None where none was asked for
    """

    known: Known
    spec: memory_spec.MemorySpec | None
    books_mb: int
    against_growth: tuple[errors.MemoryHotplugError, ...] = ()
    outlook: planner.Outlook | None = None


def at_hand(instance: ty.Any) -> Report:
    """Say what the record of a server tells of its memory.

    :param instance: a ``nova.objects.Instance``, with flavor and system
        metadata
    :returns: what can be said without asking anybody
    """
    spec, _refusal = _flavor_says(instance)
    seen = None
    if spec and instance.vm_state in states.HAS_LIVE_DOMAIN:
        seen = _noted(instance)
    return Report(Known(NOTE if seen else FLAVOR, seen), spec,
                  instance.flavor.memory_mb)


def _flavor_says(instance: ty.Any) -> _FlavorSays:
    """Read what the flavor says, and what is wrong with that."""
    try:
        spec = specs.spec_of(instance.flavor)
    except errors.InvalidSpec as refusal:
        return None, refusal
    return spec, None if spec else errors.NotElastic()


def _noted(instance: ty.Any) -> observations.Observation | None:
    """Read the note of a server, if it agrees with the books."""
    seen = notes.read(instance.system_metadata.get(notes.KEY))
    if seen and seen.guest.present_mb != instance.flavor.memory_mb:
        return None
    return seen


class Inquiry:
    """Looks at one server for one request. Whoever is asked is asked once.

    :param context: the request context
    :param instance: a ``nova.objects.Instance``, with flavor, services and
        system metadata
    :param hosts: the RPC client of the compute hosts
    :param servicegroup_api: Nova's ``servicegroup.API``
    :param may_resize: whether the user may resize it, by the policy
    :param is_live: whether to ask the host whatever its note says
    :param ask_guest: whether the host may ask the guest's agent
    """

    def __init__(
        self, context: ty.Any, instance: ty.Any,
        hosts: rpcapi.MemHotplugAPI, servicegroup_api: ty.Any,
        may_resize: bool = True, is_live: bool = False,
        ask_guest: bool = True,
    ):
        self._context = context
        self._instance = instance
        self._hosts = hosts
        self._servicegroup_api = servicegroup_api
        self._may_resize = may_resize
        self._is_live = is_live
        self._ask_guest = ask_guest

    def report(self, memory_mb: int | None = None) -> Report:
        """Say all that can be said.

        :param memory_mb: a wanted total to plan for, in MiB; None for none
        :raises HostDown: if the host has to be asked, and does not answer
        :raises GuestUnreadable: if the host cannot say what the guest has
        """
        outlook = None
        if memory_mb is not None:
            outlook = self.outlook(memory_mb)
            outlook = dataclasses.replace(
                outlook, against=tuple(self.refusals(memory_mb)))
        return Report(
            self.known, self._spec, self._instance.flavor.memory_mb,
            tuple(self._against_growth()), outlook)

    def refusals(
        self, memory_mb: int, flavor: ty.Any = None,
    ) -> Refusals:
        """List what keeps a server from a total.

        What Nova's own guards of such actions look at comes first, in their
        order. Whether the total can be claimed is looked at last, and only if
        it could be had otherwise: how full a host is, is not told to whoever
        asks for what is refused anyway.

        :param memory_mb: RAM it is to have, in MiB
        :param flavor: the ``nova.objects.Flavor`` that it is to change to;
            None to keep its own
        :returns: the refusals; each is looked for when it is asked for
        :raises HostDown: if the host has to be asked, and does not answer
        :raises GuestUnreadable: if the host cannot say what the guest has
        """
        can_be_had = True
        for refusal in itertools.chain(
                self.standing(), self._size(memory_mb, flavor)):
            yield refusal
            can_be_had = can_be_had and isinstance(refusal, _PASSING)
        if can_be_had and self.is_change(memory_mb, flavor):
            yield from self._claim(memory_mb, flavor)

    def standing(self) -> Refusals:
        """List what is against any total: policy and state of the server."""
        if not self._may_resize:
            yield errors.NotAllowed()
        yield from self._state()

    def outlook(
        self, memory_mb: int, flavor: ty.Any = None,
    ) -> planner.Outlook:
        """Look for the way to a total, as far as the guest is concerned.

        :param memory_mb: RAM the server is to have, in MiB
        :param flavor: the flavor to change to; None to keep its own
        """
        seen = self.known.seen
        if seen is None or self._spec is None:
            return planner.Outlook(memory_mb)
        return self._explained(planner.outlook(
            seen, specs.changed(self._spec, flavor), memory_mb,
            specs.model_of(self._spec)))

    def _explained(self, found: planner.Outlook) -> planner.Outlook:
        """Say why a guest has no room, where the host has written that."""
        why = self._instance.system_metadata.get(notes.NO_ROOM)
        if why is None:
            return found
        return dataclasses.replace(found, against=tuple(
            errors.StartedWithoutRoom(why=why)
            if isinstance(refusal, errors.BootedInelastic) else refusal
            for refusal in found.against))

    def is_change(self, memory_mb: int, flavor: ty.Any = None) -> bool:
        """Tell whether a resize would do anything.

        The books may have been left behind by a crash, so that there is
        something to do for a guest that has the total already.

        :param memory_mb: RAM the server is to have, in MiB
        :param flavor: the flavor to change to; None to keep its own
        """
        found = self.outlook(memory_mb)
        return bool(flavor is not None or found.changes or
                    self._instance.flavor.memory_mb != memory_mb)

    def can_use_memory(self) -> bool:
        """Tell whether the host can look whether the guest uses all it has.

        It need not if nothing was ever plugged, as far as is known.
        """
        seen = self.known.seen
        return bool(seen and seen.guest.devices and self._node and
                    rpcapi.speaks(self._node, rpcapi.USE_VERSION))

    @functools.cached_property
    def known(self) -> Known:
        """What is known of the guest, from the nearest source."""
        instance = self._instance
        if (instance.vm_state not in states.HAS_LIVE_DOMAIN or
                not instance.host):
            return Known(FLAVOR)
        if self._is_live:
            return self._ask_host()
        if self._node is None or not rpcapi.speaks(
                self._node, rpcapi.RESIZE_VERSION):
            return Known(FLAVOR, against=(errors.HostUnaware(),))
        if self._spec is None:
            return Known(FLAVOR)
        seen = self._noted()
        return Known(NOTE, seen) if seen else self._ask_host()

    @functools.cached_property
    def _node(self) -> ty.Any:
        """The ``nova.objects.ComputeNode`` of the host; None without one."""
        try:
            return objects.ComputeNode.get_by_host_and_nodename(
                self._context, self._instance.host, self._instance.node)
        except exception.ComputeHostNotFound:
            return None

    @functools.cached_property
    def _flavor_says(self) -> _FlavorSays:
        return _flavor_says(self._instance)

    @property
    def _spec(self) -> memory_spec.MemorySpec | None:
        return self._flavor_says[0]

    def _noted(self) -> observations.Observation | None:
        """Read the note of a server.

        :returns: what it says; None if there is none that can be believed
        """
        seen = _noted(self._instance)
        if seen is None or seen.is_hearsay:
            return None
        return dataclasses.replace(seen, excluded=exclusions.excluded(
            self._instance, seen.guest.arch))

    def _ask_host(self) -> Known:
        if not self._is_host_up():
            raise errors.HostDown()
        try:
            answer = self._hosts.observe_memory(
                self._context, self._instance, ask_guest=self._ask_guest)
        except messaging.MessagingTimeout:
            raise errors.HostDown()
        except exception.InstanceNotFound:
            return Known(HOST, against=(errors.GuestMissing(),))
        except exception.InternalError as exc:
            raise errors.GuestUnreadable(reason=exc.format_message())
        except (messaging.UnsupportedVersion, messaging.RemoteError) as exc:
            if not rpcapi.is_unsupported(exc):
                raise
            return Known(FLAVOR, against=(errors.HostUnaware(),))
        if answer is None:
            return Known(HOST, against=(errors.GuestOff(),))
        seen = observations.from_document(answer)
        if seen is None:
            return Known(FLAVOR, against=(errors.HostUnaware(),))
        return Known(HOST, seen)

    def _is_host_up(self) -> bool:
        return any(
            self._servicegroup_api.service_is_up(service)
            for service in self._instance.services
            if service.binary == 'nova-compute')

    def _state(self) -> Refusals:
        instance = self._instance
        if instance.locked and not self._context.is_admin:
            yield errors.Locked()
        if instance.vm_state != vm_states.ACTIVE:
            yield errors.NotActive(vm_state=instance.vm_state)
        elif not (instance.host and instance.launched_at):
            yield errors.NeverStarted()
        if instance.task_state is not None:
            yield errors.Busy(task_state=instance.task_state)
        if instance.host and not self._is_host_up():
            yield errors.HostDown()

    def _flavor(self) -> Refusals:
        refusal = self._flavor_says[1]
        if refusal is not None:
            yield refusal

    def _size(self, memory_mb: int, flavor: ty.Any) -> Refusals:
        """List what host, flavor and guest have against a total."""
        yield from self.known.against
        yield from self._flavor()
        found = self.outlook(memory_mb, flavor)
        yield from found.against
        if found.removed and not rpcapi.speaks(
                self._node, rpcapi.SHRINK_VERSION):
            yield errors.HostUnaware()

    def _against_growth(self) -> Refusals:
        yield from self._state()
        yield from self.known.against
        yield from self._flavor()
        if self.known.seen is not None and self._spec is not None:
            yield from self._explained(planner.next_step(
                self.known.seen, self._spec,
                specs.model_of(self._spec))).against

    def _claim(self, memory_mb: int, flavor: ty.Any) -> Refusals:
        """List what would keep a server from claiming what it needs."""
        has_host = self._instance.host and self._node is not None
        looking = ahead.start(
            self._context, room.check, self._context, self._node,
            self._instance, memory_mb, flavor) if has_host else None
        try:
            quota.check(self._context, self._instance, memory_mb)
        except errors.OverQuota as refusal:
            yield refusal
        if looking is None:
            return
        try:
            looking.result()
        except (errors.HostFull, errors.HostTooSmall,
                errors.AccountingFailed) as refusal:
            yield refusal
        try:
            self._check_nodes(memory_mb)
        except errors.HostNodeFull as refusal:
            yield refusal

    def _check_nodes(self, memory_mb: int) -> None:
        """Check the nodes of its host that a server is bound to."""
        if not self._may_be_bound():
            return
        topology = nodes.topology_of(self._context, self._instance)
        if topology is not None:
            nodes.check_room(self._node, topology, numa.grown(
                nodes.cells_mb(topology), memory_mb))

    def _may_be_bound(self) -> bool:
        """Tell whether flavor and image ask Nova for a NUMA topology; most do
        not, and then the database need not be asked.
        """
        try:
            return nodes.constraints(
                self._instance.flavor,
                self._instance.image_meta) is not None
        except exception.NovaException:
            return True
