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

"""Follow what guests without an agent make of memory that was added.

Their balloon tells of it, some seconds after the request is over
(``core.balloon``). So the request ends unconfirmed, and what is found out
later is recorded with it. Nothing else depends on that, and no lock is held.
"""

import dataclasses
import threading
import time
import typing as ty

from nova import context as nova_context
from oslo_log import log as logging

from nova_memhotplug.common import ahead
from nova_memhotplug.common import history
from nova_memhotplug.common import options
from nova_memhotplug.compute import look
from nova_memhotplug.core import balloon
from nova_memhotplug.core import outcome

CONF = options.CONF
LOG = logging.getLogger(__name__)

#: Seconds between two looks at the guests that are followed.
INTERVAL = 1
#: For how many periods of the statistics a guest is followed. What it tells
#: first may be of a moment when it was about to use the memory.
PERIODS = 2.5


@dataclasses.dataclass(frozen=True)
class Case:
    """A request whose outcome is not known yet.

    :param uuid: UUID of the server
    :param request_id: the ID of the request
    :param added_mb: what was added, in MiB
    :param others_mb: what was plugged before and may be offline, in MiB
    :param boot_mb: RAM that the guest booted with, in MiB
    :param plugged_mb: RAM that it has been given since, in MiB
    :param reserve_kib: what it sets aside of its boot memory, in KiB; None
        if not known
    :param since: when the memory was there, in seconds since the epoch
    :param until: how long it is followed, in seconds since the epoch
    """

    uuid: str
    request_id: str
    added_mb: int
    others_mb: int
    boot_mb: int
    plugged_mb: int
    reserve_kib: int | None
    since: float
    until: float

    def judge(self, told: balloon.Figures | None) -> outcome.Outcome:
        """Say what became of it.

        :param told: what the guest tells; what it told before the memory was
            there does not count
        """
        if told is not None and told.told_at <= self.since:
            told = None
        return outcome.by_balloon(
            self.added_mb, self.others_mb, balloon.offline_mb(
                told, self.boot_mb, self.plugged_mb, self.reserve_kib))


class Follower:
    """Follows the guests of a host, in one thread while there are any.

    :param host: name of the host
    :param guests: the ``virt.guest.Guests`` of the host
    """

    def __init__(self, host: str, guests: ty.Any):
        self._host = host
        self._guests = guests
        self._lock = threading.Lock()
        self._cases: dict[str, Case] = {}
        self._is_working = False

    def follow(
        self, instance: ty.Any, request_id: str, added_mb: int,
        others_mb: int, guest: ty.Any, since: float,
    ) -> None:
        """Follow one request; an earlier one of that server is over.

        :param instance: a ``nova.objects.Instance``
        :param request_id: the ID of the request
        :param added_mb: what was added, in MiB
        :param others_mb: what was plugged before and may be offline, in MiB
        :param guest: the ``core.domain.GuestMemory`` with it
        :param since: when it was there, in seconds since the epoch
        """
        case = Case(
            instance.uuid, request_id, added_mb, others_mb, guest.boot_mb,
            guest.plugged_mb, look.reserve_kib(guest.boot_mb, instance),
            since, time.time() +
            PERIODS * CONF.libvirt.mem_stats_period_seconds)
        with self._lock:
            self._cases[case.uuid] = case
            if self._is_working:
                return
            self._is_working = True
        ahead.start(nova_context.get_admin_context(), self._work)

    def resume(
        self, context: ty.Any, instance: ty.Any, guest: ty.Any,
    ) -> None:
        """Go on with what a service was at that has been restarted.

        :param context: an admin's request context
        :param instance: a ``nova.objects.Instance``
        :param guest: the ``core.domain.GuestMemory`` of it
        """
        known = history.last_resize(context, instance)
        if known and known.ended and known.outcome and known.outcome.is_open:
            added_mb = known.outcome.of_mb
            self.follow(
                instance, known.request_id, added_mb,
                guest.plugged_mb - added_mb, guest, known.ended.timestamp())

    def _work(self) -> None:
        while True:
            time.sleep(INTERVAL)
            for case in tuple(self._cases.values()):
                found = self._look_at(case)
                if found is not None:
                    history.record(
                        case.uuid, case.request_id, self._host, found)
                    self._drop(case)
            with self._lock:
                if not self._cases:
                    self._is_working = False
                    return

    def _drop(self, case: Case) -> None:
        """Follow a request no more, unless another has come."""
        with self._lock:
            if self._cases.get(case.uuid) is case:
                del self._cases[case.uuid]

    def _look_at(self, case: Case) -> outcome.Outcome | None:
        """Look at a guest.

        :returns: the end of it; None to look again
        """
        try:
            live = self._guests.find(case.uuid)
            found = case.judge(live and live.balloon())
        except Exception as exc:
            LOG.warning('Server %(uuid)s: it cannot be seen what its guest '
                        'makes of its memory: %(exc)s',
                        {'uuid': case.uuid, 'exc': exc})
            live, found = None, case.judge(None)
        is_over = live is None or time.time() >= case.until
        return found if is_over or found.is_confirmed else None
