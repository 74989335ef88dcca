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

"""The resize transaction: look, claim, attach, confirm, commit.

A smaller total is reached the other way round: what the guest has let go of is
given back.

It runs under Nova's lock of the instance. What the guest has is read from the
live domain before and after (design T2); memory is claimed before the first
device is attached, and what was claimed is given back when that fails (T3).
"""

from concurrent import futures
import time
import typing as ty

from nova import exception
from nova import utils
from oslo_concurrency import lockutils
from oslo_log import log as logging

from nova_memhotplug.common import ahead
from nova_memhotplug.common import history
from nova_memhotplug.common import placement
from nova_memhotplug.common import specs
from nova_memhotplug.common import states
from nova_memhotplug.compute import books
from nova_memhotplug.compute import follow
from nova_memhotplug.compute import look
from nova_memhotplug.compute import metrics
from nova_memhotplug.compute import notifications
from nova_memhotplug.compute import reconcile
from nova_memhotplug.core import errors
from nova_memhotplug.core import outcome
from nova_memhotplug.core import planner

LOG = logging.getLogger(__name__)

#: Seconds from a commit to the look whether it stays, and how many looks
#: there are at the most: one more while the server is busy, and where the
#: commit did not stay.
SECONDS_AFTER = 1
LOOKS_AFTER = 5
#: Seconds for which the system metadata of an instance count as just read.
METADATA_AGE = 0.1


class _Commit(ty.NamedTuple):
    """What a resize has written into an instance.

    :param total_mb: RAM, in MiB
    :param cells_mb: RAM of each NUMA cell, in MiB
    :param flavor: the ``nova.objects.Flavor``
    :param boot_mb: what of it a fresh domain boots with, in MiB; None for all
    """

    total_mb: int
    cells_mb: tuple[int, ...]
    flavor: ty.Any
    boot_mb: int | None

    def is_in(self, instance: ty.Any) -> bool:
        """Tell whether an instance has it."""
        found = instance.flavor
        return (found.memory_mb, found.flavorid) == (
            self.total_mb, self.flavor.flavorid)


class _Metadata:
    """The system metadata of an instance, read while the guest is waited for.

    What another writes into them after that is lost, so they are read again
    if it has been long ago (``books.read_metadata``).
    """

    def __init__(self, context: ty.Any, instance: ty.Any):
        self._arguments = context, books.read_metadata, context, instance
        self._start()

    def _start(self) -> None:
        self._time = time.monotonic()
        self._reading = ahead.start(*self._arguments)

    def result(self) -> books.Metadata:
        """Return them as they were a moment ago."""
        if time.monotonic() - self._time > METADATA_AGE:
            self._start()
        return self._reading.result()


class MemoryResize:
    """Bring one server to a wanted total.

    It begins at once to look at the guest, and at what it has allocated.

    :param context: an admin's request context
    :param instance: a ``nova.objects.Instance``, locked by the caller
    :param guests: the ``virt.guest.Guests`` of the host
    :param ledger: the ``Books`` of the host
    :param reconciler: the ``Reconciler`` of the host
    """

    def __init__(
        self, context: ty.Any, instance: ty.Any, guests: ty.Any,
        ledger: books.Books, reconciler: reconcile.Reconciler,
    ):
        self._context = context
        self._instance = instance
        self._books = ledger
        self._guests = guests
        self._reconciler = reconciler
        self._committed: _Commit | None = None
        self._request: follow.Request | None = None
        self._looking = ahead.start(context, look.Look, guests, instance)
        self._allocation = ahead.start(
            context, ledger.allocation, context, instance)

    def run(
        self, instance: ty.Any, wanted_mb: int, flavor: ty.Any = None,
    ) -> None:
        """Do it, and end the task state of the server.

        :param instance: the ``nova.objects.Instance`` as it is now
        :param wanted_mb: RAM the server is to have, in MiB
        :param flavor: the ``nova.objects.Flavor`` that it changes to; None
            to keep its own
        :raises nova.exception.ResizeError: if it could not be done; the
            guest and the books are then as they were, or the sentence says
            what is different
        """
        self._instance = instance
        try:
            with metrics.counted(instance), notifications.told(
                    self._context, instance, wanted_mb):
                self._run(wanted_mb, flavor)
        except errors.MemoryHotplugError as exc:
            raise exception.ResizeError(reason=history.pack(exc))

    def _run(self, wanted_mb: int, flavor: ty.Any) -> None:
        seen = self._looking.result()
        live = seen.live
        found = self._settled(seen)
        plan = self._plan(seen, wanted_mb, flavor)
        try:
            if plan.wanted_mb < plan.present_mb:
                metadata = self._shrink(seen, plan, flavor)
            else:
                metadata = self._grow(seen, plan, found, flavor)
            self._check_alive(live)
            recording = self._record(
                None if self._request is None else self._request.found)
            total_mb, cells_mb = _reached(seen, plan)
            boot_mb = seen.after.kept_boot_mb
            self._books.commit(
                self._context, self._instance, total_mb, cells_mb,
                seen.annotate(metadata.result()), flavor, ends_task=True,
                boot_mb=boot_mb)
            recording.result()
            self._committed = _Commit(
                total_mb, cells_mb, self._instance.flavor, boot_mb)
        except Exception as exc:
            LOG.warning('Memory could not be changed: %s', exc,
                        instance=self._instance)
            if isinstance(exc, errors.HypervisorRefused):
                self._reconciler.remember(self._instance, is_cut_short=(
                    isinstance(exc, errors.HypervisorGone)))
            self._undo(live, plan)
            if isinstance(exc, (errors.GuestRefused, errors.GuestKeeps)):
                self._record_refusal(plan)
            raise
        self._reconciler.remember(self._instance)
        if seen.after.is_giving_back:
            self._reconciler.expect(self._instance)
        LOG.info('Memory brought from %(present)d to %(total)d MiB; '
                 '%(wanted)d MiB are wanted.', {
                     'present': plan.present_mb, 'total': total_mb,
                     'wanted': wanted_mb}, instance=self._instance)

    def _grow(
        self, seen: look.Look, plan: planner.Plan,
        found: placement.Allocation, flavor: ty.Any,
    ) -> _Metadata:
        """Claim what is to be added, and add it.

        :returns: the system metadata of the instance, read meanwhile
        """
        self._books.claim(
            self._context, self._instance, found, plan.wanted_mb,
            plan.own_cells_mb, flavor)
        self._add(seen, plan)
        added_at = time.time()
        metadata = _Metadata(self._context, self._instance)
        if plan.changes:
            found_out = seen.confirm(plan.changes)
            self._request = follow.Request(
                self._context.request_id, found_out,
                seen.before.guest.taken_mb + found_out.of_mb, seen.others_mb,
                seen.reserve_kib, added_at)
        return metadata

    def _shrink(
        self, seen: look.Look, plan: planner.Plan, flavor: ty.Any,
    ) -> _Metadata:
        """Have the guest give memory back, and then give back what was
        claimed for what it has let go of.

        If that fails, the server has given up its memory all the same, and
        the periodic task follows.

        :returns: the system metadata of the instance, read meanwhile
        """
        for change in plan.changes:
            seen.live.apply(change)
        metadata = _Metadata(self._context, self._instance)
        self._request = follow.Request(
            self._context.request_id, outcome.given_back(
                seen.before.guest.taken_mb - plan.wanted_mb,
                seen.look_again().taken_mb - plan.wanted_mb),
            plan.wanted_mb, seen.others_mb, seen.reserve_kib, time.time())
        try:
            self._books.claim(
                self._context, self._instance,
                self._books.allocation(self._context, self._instance),
                *_reached(seen, plan), flavor)
        except errors.MemoryHotplugError as exc:
            LOG.warning('The claim of what the guest has given back stays '
                        'until the next periodic task: %s', exc,
                        instance=self._instance)
        return metadata

    def _record(
        self, found: outcome.Outcome | None,
    ) -> futures.Future[None]:
        """Begin to record what became of it; nothing if nothing was done."""
        def write() -> None:
            if found is not None:
                history.record(
                    self._instance.uuid, self._context.request_id,
                    self._instance.host, found)

        return ahead.start(self._context, write)

    def _record_refusal(self, plan: planner.Plan) -> None:
        """Record what the guest has done of a plan that it has refused."""
        try:
            found = _refusal(plan, self._present_mb())
        except Exception:
            LOG.warning('It cannot be seen what the guest has done.',
                        instance=self._instance, exc_info=True)
        else:
            self._record(found).result()

    def follow(self, follower: follow.Follower) -> None:
        """Have the outcome followed if it is not known yet.

        :param follower: the ``Follower`` of the host
        """
        if self._request is not None and self._request.found.is_open:
            follower.follow(self._instance.uuid, self._request)

    def report(self) -> None:
        """Report the usage of the host, and tell the guest's domain of its
        flavor: nobody has to wait for that.
        """
        self._books.report(self._instance)
        self._reconciler.tell(self._instance)

    def see_it_stay(self) -> None:
        """Look whether another has put an older flavor back (design T11).

        Nova takes the flavor of each instance that it reads for a changed
        one if it has extra specs (nova/objects/flavor.py,
        _obj_from_primitive), and writes it with whatever else it saves.
        Whoever has read the instance before the commit and saves it
        afterwards, to rename it for example, so undoes the commit. Nobody
        waits for this look, and it holds no lock while it waits; after it,
        the periodic task looks once more.
        """
        for _look in range(LOOKS_AFTER):
            time.sleep(SECONDS_AFTER)
            try:
                if self._stays():
                    return
            except lockutils.AcquireLockFailedException:
                continue
            except exception.InstanceNotFound:
                return
            except Exception:
                LOG.warning('It cannot be seen whether the new memory is '
                            'still in the books; the next periodic task '
                            'looks again.', instance=self._instance,
                            exc_info=True)
                return

    def _stays(self) -> bool:
        """Look once; commit again what another has undone.

        :returns: whether there is nothing more to look for
        """
        done = ty.cast(_Commit, self._committed)

        @utils.synchronized(self._instance.uuid, blocking=False)
        def locked() -> bool:
            self._instance.refresh()
            if not states.is_settled(self._instance):
                return False
            if (done.is_in(self._instance) or
                    self._present_mb() != done.total_mb):
                return True
            LOG.warning('Another has put the flavor of %(found)d MiB back; '
                        'it gets %(total)d MiB again.', {
                            'found': self._instance.flavor.memory_mb,
                            'total': done.total_mb}, instance=self._instance)
            # It was read just now.
            self._books.commit(
                self._context, self._instance, done.total_mb, done.cells_mb,
                self._instance.system_metadata, done.flavor,
                boot_mb=done.boot_mb)
            self.report()
            return False

        return locked()

    def _present_mb(self) -> int:
        guest = self._guests.of(self._instance).read()
        return ty.cast(int, guest.present_mb)

    def _settled(self, seen: look.Look) -> placement.Allocation:
        """Bring the books to the guest first, where a crash has left them.

        :returns: what the server has allocated then
        """
        found = self._allocation.result()
        if self._reconciler.settle(
                self._context, self._instance, seen.before.guest,
                found.memory_mb):
            found = self._books.allocation(self._context, self._instance)
        return found

    def _plan(
        self, seen: look.Look, wanted_mb: int, flavor: ty.Any,
    ) -> planner.Plan:
        spec = specs.changed(specs.spec_of(self._instance.flavor), flavor)
        model = specs.model_of(spec)
        if model.depends_on_use(seen.before.guest, wanted_mb):
            seen.ask_what_is_used()
        plan = planner.plan(
            seen.before.guest, spec, wanted_mb, seen.before.step_mb,
            model, seen.before.used_mb)
        if plan.changes and seen.before.excluded:
            raise seen.before.excluded
        return plan

    @staticmethod
    def _add(seen: look.Look, plan: planner.Plan) -> None:
        """Attach the devices, each round when the one before is in use."""
        done: list[planner.Change] = []
        for changes in plan.rounds:
            if done and not seen.confirm(done).is_confirmed:
                raise errors.FirstPartNotUsed()
            for change in changes:
                seen.live.apply(change)
            done += changes

    @staticmethod
    def _check_alive(live: ty.Any) -> None:
        """Check that there is a guest that has the memory (design T7)."""
        if not live.is_running():
            raise errors.GuestOff()

    def _undo(self, live: ty.Any, plan: planner.Plan) -> None:
        """After a failure: take back what the guest lets go of, and let the
        books follow what it has, now or as soon as that is possible. The
        failure itself is what users are told.
        """
        try:
            if live.is_running():
                live.undo(plan.changes)
        except Exception as exc:
            LOG.warning('The new memory could not be taken away, so the '
                        'books follow the guest: %s', exc,
                        instance=self._instance)
            self._reconciler.remember(self._instance)
        try:
            self._instance.refresh()
            self._reconciler.give_back(self._context, self._instance)
        except Exception:
            LOG.warning('The books cannot be compared with the guest right '
                        'now; the next periodic task tries again.',
                        instance=self._instance, exc_info=True)
            self._reconciler.remember(self._instance)


def _refusal(plan: planner.Plan, present_mb: int) -> outcome.Outcome:
    """Say what became of a request that the guest has refused.

    :param plan: what was to be done
    :param present_mb: RAM that the guest has after that was undone, in MiB
    """
    sign, evidence = (
        (1, outcome.AGENT) if plan.wanted_mb > plan.present_mb
        else (-1, outcome.DEVICE))
    return outcome.Outcome(
        outcome.REFUSED, max(0, sign * (present_mb - plan.present_mb)),
        sign * (plan.wanted_mb - plan.present_mb), evidence,
        is_less=sign < 0)


def _reached(
    seen: look.Look, plan: planner.Plan,
) -> tuple[int, tuple[int, ...]]:
    """Say what the books are to hold: all that a guest may take (T10).

    One that is asked to give memory back may take its time.

    :returns: the total and that of each own cell, in MiB
    """
    guest = seen.after
    if guest.kept_boot_mb is None:
        return plan.wanted_mb, plan.own_cells_mb
    return guest.present_mb, guest.own_cells_mb
