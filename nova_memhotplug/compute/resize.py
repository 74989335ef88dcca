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
device is attached, and exactly what was claimed is given back when that fails
(T3).
"""

from nova import exception
from oslo_log import log as logging

from nova_memhotplug.compute import books as books_mod
from nova_memhotplug.compute import confirm
from nova_memhotplug.compute import observe
from nova_memhotplug.core import errors
from nova_memhotplug.core import planner

LOG = logging.getLogger(__name__)


class MemoryResize:
    """Bring one server to a wanted total.

    :param context: the request context
    :param instance: a ``nova.objects.Instance``, locked by the caller
    :param driver: the ``MemHotplugLibvirtDriver``
    :param books: where Nova accounts for it
    """

    def __init__(self, context, instance, driver, books: books_mod.Books):
        self._context = context
        self._instance = instance
        self._books = books
        self._driver = driver
        self._memory = driver.guest_memory(instance)

    def run(self, wanted_mb: int) -> None:
        """Do it.

        :param wanted_mb: RAM the server is to have, in MiB
        :raises nova.exception.ResizeError: if it could not be done; the
            guest and the books are then as they were, or the sentence says
            what is different
        """
        plan = self._plan(wanted_mb)
        claim = self._books.claim(self._context, self._instance, wanted_mb)
        try:
            self._grow(plan)
        except Exception:
            self._settle(claim)
            raise
        self._books.commit(self._context, self._instance, wanted_mb)
        LOG.info('Memory grown from %(present)d to %(wanted)d MiB.',
                 {'present': plan.present_mb, 'wanted': wanted_mb},
                 instance=self._instance)

    def _plan(self, wanted_mb: int) -> planner.Plan:
        seen = observe.observe(self._driver, self._instance)
        try:
            grow = observe.grow_of(seen.spec)
            return planner.plan(
                seen.guest, seen.spec, wanted_mb, seen.step_mb, grow)
        except errors.Refused as exc:
            raise exception.ResizeError(reason=str(exc))

    def _grow(self, plan: planner.Plan) -> None:
        before = self._memory.read().devices
        try:
            for change in plan.changes:
                self._memory.apply(change)
            confirm.confirm(self._memory, before, self._instance)
        except errors.MemoryHotplugError as exc:
            LOG.warning('Memory could not be added: %s', exc,
                        instance=self._instance)
            self._undo(before)
            raise exception.ResizeError(reason=str(exc))

    def _undo(self, before) -> None:
        added = tuple(dev for dev in self._memory.read().devices
                      if dev not in before)
        try:
            self._memory.take_back(added)
        except errors.HypervisorRefused as exc:
            LOG.warning('The guest keeps %(devices)s: %(exc)s',
                        {'devices': added, 'exc': exc},
                        instance=self._instance)

    def _settle(self, claim: books_mod.Claim) -> None:
        """After a failure: the books follow what the guest has."""
        present_mb = self._memory.read().present_mb
        self._books.settle(self._context, self._instance, claim, present_mb)
