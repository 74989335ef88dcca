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

"""Follow what guests make of a request that is over.

Some take or give back memory bit by bit. Of those without an agent the balloon
tells some seconds later what they use (``core.balloon``). So the outcome of
the request is left open, and what is found out later is recorded with it.
Nothing else depends on that, and no lock is held.
"""

import dataclasses
import threading
import time
import typing as ty

from oslo_log import log as logging

from nova_memhotplug.common import history
from nova_memhotplug.common import options
from nova_memhotplug.compute import look
from nova_memhotplug.core import balloon
from nova_memhotplug.core import domain
from nova_memhotplug.core import outcome

CONF = options.CONF
LOG = logging.getLogger(__name__)

#: Seconds between two looks at the guests that are followed.
INTERVAL = 1
#: For how many periods of the statistics a guest is followed. What it tells
#: first may be of a moment when it was about to use the memory.
PERIODS = 2.5
#: Seconds for which a guest that takes or gives back memory bit by bit is
#: followed longer than others wait for it: then it keeps the rest, within one
#: period, and that is to be seen (``compute.release``).
ALLOWANCE = 120


@dataclasses.dataclass(frozen=True)
class Request:
    """A request whose outcome is open.

    :param request_id: its ID
    :param found: its outcome so far
    :param total_mb: RAM that the guest is to have, in MiB
    :param others_mb: what was plugged before and may be offline, in MiB
    :param reserve_kib: what the guest sets aside of its boot memory, in KiB;
        None if not known
    :param since: when the guest was asked, in seconds since the epoch
    """

    request_id: str
    found: outcome.Outcome
    total_mb: int
    others_mb: int
    reserve_kib: int | None
    since: float

    @property
    def until(self) -> float:
        """How long it is followed, in seconds since the epoch."""
        if self.found.verdict == outcome.PENDING:
            return self.since + CONF.memhotplug.shrink_timeout + ALLOWANCE
        return self.since + PERIODS * CONF.libvirt.mem_stats_period_seconds

    def judge(
        self, guest: domain.GuestMemory, told: balloon.Figures | None,
    ) -> outcome.Outcome:
        """Say what has become of it.

        :param guest: what the guest has
        :param told: what it tells; what it told before does not count
        """
        of_mb, taken_mb = self.found.of_mb, guest.taken_mb
        if self.found.is_less:
            return outcome.given_back(
                of_mb, taken_mb - self.total_mb,
                is_end=guest.asked_mb > self.total_mb)
        if taken_mb < self.total_mb:
            return outcome.pending(of_mb, of_mb - (self.total_mb - taken_mb))
        if told is not None and told.told_at <= self.since:
            told = None
        return outcome.by_balloon(of_mb, self.others_mb, balloon.offline_mb(
            told, guest.boot_mb, taken_mb - guest.boot_mb, self.reserve_kib))


class Follower:
    """Follows the guests of a host, in one thread while there are any.

    :param host: name of the host
    :param guests: the ``virt.guest.Guests`` of the host
    """

    def __init__(self, host: str, guests: ty.Any):
        self._host = host
        self._guests = guests
        self._lock = threading.Lock()
        # By the UUID of the server.
        self._requests: dict[str, Request] = {}
        self._is_working = False

    def follow(self, uuid: str, request: Request) -> None:
        """Follow a request; an earlier one of that server is over.

        :param uuid: UUID of the server
        :param request: the request
        """
        with self._lock:
            self._requests[uuid] = request
            if self._is_working:
                return
            self._is_working = True
        # The service does not wait for it when it stops: it goes on with it
        # when it starts.
        threading.Thread(target=self._work, daemon=True).start()

    def resume(
        self, context: ty.Any, instance: ty.Any, guest: domain.GuestMemory,
    ) -> None:
        """Go on with what a service was at that has been restarted.

        :param context: an admin's request context
        :param instance: a ``nova.objects.Instance``
        :param guest: what its guest has
        """
        known = history.last_resize(context, instance)
        if known is None or not known.outcome or not known.outcome.is_open:
            return
        self.follow(instance.uuid, Request(
            known.request_id, known.outcome, guest.asked_mb,
            guest.plugged_mb - known.outcome.of_mb,
            look.reserve_kib(guest.boot_mb, instance),
            known.ended.timestamp() if known.ended else time.time()))

    def _work(self) -> None:
        while True:
            time.sleep(INTERVAL)
            for uuid, request in tuple(self._requests.items()):
                found = self._look_at(uuid, request)
                if found is not None:
                    history.record(
                        uuid, request.request_id, self._host, found)
                    self._drop(uuid, request)
            with self._lock:
                if not self._requests:
                    self._is_working = False
                    return

    def _drop(self, uuid: str, request: Request) -> None:
        """Follow a request no more, unless another has come."""
        with self._lock:
            if self._requests.get(uuid) is request:
                del self._requests[uuid]

    def _look_at(self, uuid: str, request: Request) -> outcome.Outcome | None:
        """Look at a guest.

        :returns: the end of a request; None to look again
        """
        found, is_over = request.found, time.time() >= request.until
        try:
            live = self._guests.find(uuid)
            if live is None or not live.is_running():
                is_over = True
            else:
                found = request.judge(live.read(), live.balloon())
        except Exception as exc:
            LOG.warning('It cannot be seen what the guest makes of its '
                        'memory: %s', exc, instance_uuid=uuid)
        if is_over or found.verdict in (outcome.CONFIRMED, outcome.PARTIAL):
            return dataclasses.replace(found, is_open=False)
        return None
