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

"""The resize transaction: claim, attach, confirm, books.

It runs under Nova's lock of the instance. What the guest has is read from the
live domain before and after (design T2); memory is claimed before the first
device is attached, and what was claimed is given back when that fails (T3).
"""

from nova.compute import task_states
from nova import exception
from oslo_log import log as logging

from nova_memhotplug.common import history
from nova_memhotplug.common import specs
from nova_memhotplug.compute import confirm
from nova_memhotplug.compute import observe
from nova_memhotplug.compute import pause_points
from nova_memhotplug.core import errors
from nova_memhotplug.core import planner

LOG = logging.getLogger(__name__)


class MemoryResize:
    """Bring one server to a wanted total.

    :param context: an admin's request context
    :param instance: a ``nova.objects.Instance``, locked by the caller
    :param guests: the ``virt.guest.Guests`` of the host
    :param books: the ``Books`` of the host
    :param reconciler: the ``Reconciler`` of the host
    """

    def __init__(self, context, instance, guests, books, reconciler):
        self._context = context
        self._instance = instance
        self._books = books
        self._guests = guests
        self._reconciler = reconciler
        self._memory = guests.of(instance)

    def run(self, wanted_mb: int, flavor=None) -> None:
        """Do it.

        :param wanted_mb: RAM the server is to have, in MiB
        :param flavor: the ``nova.objects.Flavor`` that it changes to; None
            to keep its own
        :raises nova.exception.ResizeError: if it could not be done; the
            guest and the books are then as they were, or the sentence says
            what is different
        """
        try:
            self._reconciler.server(
                self._context, self._instance, task_states.RESIZE_PREP)
            self._run(wanted_mb, flavor)
        except errors.MemoryHotplugError as exc:
            raise exception.ResizeError(reason=history.pack(exc))

    def _run(self, wanted_mb, flavor):
        plan = self._plan(wanted_mb)
        before = self._memory.aliases()
        try:
            pause_points.reach(pause_points.BEFORE_CLAIM)
            self._books.allocate(
                self._context, self._instance, wanted_mb, flavor)
            self._books.claim_nodes(
                self._context, self._instance, plan.own_cells_mb)
            pause_points.reach(pause_points.AFTER_CLAIM)
            for change in plan.changes:
                self._memory.apply(change)
            pause_points.reach(pause_points.AFTER_ATTACH)
            confirm.confirm(self._memory, before, self._instance)
            self._check_alive()
            pause_points.reach(pause_points.BEFORE_COMMIT)
            self._books.commit(
                self._context, self._instance, wanted_mb, plan.own_cells_mb,
                flavor)
            pause_points.reach(pause_points.AFTER_COMMIT)
        except Exception as exc:
            LOG.warning('Memory could not be added: %s', exc,
                        instance=self._instance)
            self._undo(before)
            raise
        LOG.info('Memory grown from %(present)d to %(wanted)d MiB.',
                 {'present': plan.present_mb, 'wanted': wanted_mb},
                 instance=self._instance)

    def _check_alive(self):
        """Check that there is a guest that has the memory (design T7)."""
        if not self._memory.is_running():
            raise errors.GuestOff()

    def _plan(self, wanted_mb: int) -> planner.Plan:
        seen = observe.observe(self._guests, self._instance)
        spec = specs.spec_of(self._instance.flavor)
        plan = planner.plan(
            seen.guest, spec, wanted_mb, seen.step_mb,
            specs.grow_of(spec))
        if plan.changes and seen.excluded:
            raise seen.excluded
        return plan

    def _undo(self, before: set[str]) -> None:
        """After a failure: take back what the guest lets go of, and let the
        books follow what it has, now or as soon as that is possible. The
        failure itself is what users are told.
        """
        try:
            if self._memory.is_running():
                self._memory.take_back(self._memory.aliases() - before)
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
