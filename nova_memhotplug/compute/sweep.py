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

"""Look at the servers of a host that need it, all of them together."""

from collections.abc import Callable
from collections.abc import Mapping
import typing as ty

from nova.compute import vm_states
from nova import exception
from nova import objects
from nova import utils
from oslo_log import log as logging
from oslo_utils import timeutils

from nova_memhotplug.common import placement
from nova_memhotplug.common import states
from nova_memhotplug.compute import books
from nova_memhotplug.compute import due
from nova_memhotplug.compute import follow
from nova_memhotplug.compute import look
from nova_memhotplug.compute import release
from nova_memhotplug.core import drift
from nova_memhotplug.core import errors
from nova_memhotplug.core import notes

LOG = logging.getLogger(__name__)

#: What is read of the servers of a host, with the servers.
_ATTRIBUTES = ['flavor', 'numa_topology', 'system_metadata']

#: Seconds. The outcome of a request that ended longer ago is not followed any
#: more; a server that grew has been saved when it ended.
_JUST_NOW = 300

#: What is wrong with one server alone, and no answer that failed.
_STANDING = (errors.ForeignDevices, errors.HostFull, errors.NothingAllocated,
             errors.UnreadableDomain)
#: Of these, those that are tried again until they are no more.
_RETRIED = (errors.HostFull, errors.NothingAllocated)


class Corrector(ty.Protocol):
    """Whoever corrects the books of one server: see ``reconcile``."""

    def server(self, context: ty.Any, instance: ty.Any) -> bool:
        """Bring the books of one server to what its guest has."""

    def renew_note(self, context: ty.Any, instance: ty.Any) -> None:
        """Leave a note of what its guest has."""


class Sweep:
    """Looks at the servers of a host that need a look.

    :param host: name of the host
    :param guests: the ``virt.guest.Guests`` of the host
    :param ledger: where Nova accounts for its servers
    :param records: reads what placement has on record
    :param due_list: the servers that need a look
    :param corrector: corrects the books of one of them
    :param use: has a guest use what it was given, by the UUID of its server
    :param follower: the ``Follower`` of the host
    :param releases: the guests that give memory back
    """

    def __init__(
        self, host: str, guests: ty.Any, ledger: books.Books,
        records: placement.Placement, due_list: due.DueList,
        corrector: Corrector, use: Callable[[str], None],
        follower: follow.Follower,
        releases: release.Releases,
    ):
        self._host = host
        self._guests = guests
        self._books = ledger
        self._placement = records
        self._due = due_list
        self._corrector = corrector
        self._use = use
        self._follower = follower
        self._releases = releases
        # What was said of a server, by its UUID: once is enough.
        self._said: dict[str, str] = {}

    def run(self, context: ty.Any) -> None:
        """Look at all of them.

        What concerns all of them is asked once, and no earlier than for the
        first that can be compared. One answer that fails ends it: the next
        question would fail, too, and libvirt takes half a minute to say that
        it is busy (facts-events.md, 0.6).

        :param context: an admin's request context
        :raises Exception: if somebody did not answer; the servers that were
            not looked at stay due
        """
        entries = self._due.entries()
        if entries is not None and not entries:
            return
        found = self._list(
            context, None if entries is None else list(entries))
        if entries is None:
            self._due.fill(found)
        together = _Together(context, self._guests, self._books,
                             self._placement)
        for uuid, entry in (self._due.entries() or {}).items():
            if uuid in found:
                self._try(together, found[uuid], entry)
            elif entries is None or uuid in entries:
                # It is on this host no more, or was never elastic.
                self._due.drop(uuid)

    def _list(
        self, context: ty.Any, uuids: list[str] | None,
    ) -> dict[str, ty.Any]:
        """List elastic servers of the host, by UUID."""
        if uuids is None:
            found = objects.InstanceList.get_by_host(
                context, self._host, expected_attrs=_ATTRIBUTES)
        else:
            found = objects.InstanceList.get_by_filters(
                context, {'host': self._host, 'uuid': uuids,
                          'deleted': False}, expected_attrs=_ATTRIBUTES)
        return {instance.uuid: instance for instance in found
                if states.is_elastic(instance.flavor)}

    def _try(
        self, together: '_Together', instance: ty.Any, entry: due.Entry,
    ) -> None:
        try:
            is_done = self._look(together, instance, entry)
        except exception.InstanceNotFound:
            LOG.debug('The server is gone.', instance=instance)
            self._due.drop(instance.uuid)
        except _STANDING as exc:
            self._say(instance, exc)
            if not isinstance(exc, _RETRIED):
                self._due.looked_at(instance.uuid)
        except Exception:
            self._due.defer(instance.uuid)
            raise
        else:
            self._said.pop(instance.uuid, None)
            if is_done:
                self._due.looked_at(instance.uuid)

    def _say(self, instance: ty.Any, exc: errors.MemoryHotplugError) -> None:
        if self._said.get(instance.uuid) != exc.code:
            self._said[instance.uuid] = exc.code
            LOG.error('%s', exc, instance=instance)

    def _look(
        self, together: '_Together', instance: ty.Any, entry: due.Entry,
    ) -> bool:
        """Look at one server.

        :returns: whether that was all; not while something is going on with
            it
        """
        if instance.task_state or instance.vm_state == vm_states.RESIZED:
            return False
        if not states.is_settled(instance):
            return True
        live = together.live(instance)
        guest = live and live.read()
        if live and entry.is_remembered:
            live.forget_gone(guest)
        elif guest and guest.plugged_mb:
            # nova-compute was away, and so who is told of agents.
            self._use(instance.uuid)
            if not timeutils.is_older_than(instance.updated_at, _JUST_NOW):
                self._follower.resume(together.context, instance, guest)
        if live and entry.is_cut_short:
            # Under the lock nobody is attaching anything.
            _locked(lambda _context, _instance: live.delete_orphans(),
                    together.context, instance)
        is_giving_back = bool(guest and guest.is_giving_back)
        if is_giving_back:
            self._releases.expect(instance.uuid)
            self._releases.look_at(instance.uuid)
        found = books.compare(
            instance, guest, together.allocated_mb(instance))
        if found.exists and self._has_room(together, instance, found):
            _locked(self._correct, together.context, instance)
        elif live and (look.note_of(guest, instance) !=
                       instance.system_metadata.get(notes.KEY)):
            _locked(self._corrector.renew_note, together.context, instance)
        return not is_giving_back

    def _has_room(
        self, together: '_Together', instance: ty.Any, found: drift.Drift,
    ) -> bool:
        """Tell whether it is worth while to try to correct the books.

        A host that was full is asked before, so that not each period records
        one more failure with the server.
        """
        if self._said.get(instance.uuid) != errors.HostFull.code:
            return True
        free_mb = together.free_mb(instance)
        if free_mb < found.missing_mb:
            raise errors.HostFull(asked_mb=found.missing_mb, free_mb=free_mb)
        return True

    def _correct(self, context: ty.Any, instance: ty.Any) -> None:
        if self._corrector.server(context, instance):
            self._due.remember(instance.uuid)


class _Together:
    """What is asked once for all servers of a host, when it is needed first.

    :param context: an admin's request context
    :param guests: the ``virt.guest.Guests`` of the host
    :param ledger: where Nova accounts for its servers
    :param records: reads what placement has on record
    """

    def __init__(
        self, context: ty.Any, guests: ty.Any, ledger: books.Books,
        records: placement.Placement,
    ):
        self.context = context
        self._guests = guests
        self._books = ledger
        self._placement = records
        self._allocations: Mapping[str, int] | None = None
        self._running: Mapping[str, ty.Any] | None = None
        self._free_mb: int | None = None

    def live(self, instance: ty.Any) -> ty.Any:
        """Return the ``virt.guest.LiveGuest`` of a server that runs."""
        if self._running is None:
            self._running = self._guests.running()
        return self._running.get(instance.uuid)

    def allocated_mb(self, instance: ty.Any) -> int:
        """Return what a server has allocated, in MiB.

        :raises NothingAllocated: if it has no allocation on this host
        """
        if self._allocations is None:
            self._allocations = self._placement.allocated_on(
                self.context, self._provider(instance))
        try:
            return self._allocations[instance.uuid]
        except KeyError:
            raise errors.NothingAllocated(uuid=instance.uuid)

    def free_mb(self, instance: ty.Any) -> int:
        """Return what the host of a server has free, in MiB."""
        if self._free_mb is None:
            self._free_mb = self._placement.free_mb(self._provider(instance))
        return self._free_mb

    def _provider(self, instance: ty.Any) -> str:
        return self._books.provider(self.context, instance)


def _locked(
    function: Callable[..., ty.Any], context: ty.Any, instance: ty.Any,
) -> None:
    """Read an instance again under Nova's lock of it, and call a function."""
    @utils.synchronized(instance.uuid)
    def locked() -> None:
        instance.refresh()
        function(context, instance)

    locked()
