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

"""Follow guests that were asked to give memory back.

A guest gives it back when it can, some of it at once, the rest later or never,
and libvirt reports success to all of it (facts-guests.md, 0.9). So the request
ends when the hypervisor has taken it, and the books fall when the guest has
let go (design T10). What it has not let go of in time, it is to keep: else it
could vanish from the server at any later moment.

That a guest is asked is in its live domain, so nothing else keeps record.
"""

import threading
import time
import typing as ty

from nova import context as nova_context
from nova import objects
from nova import utils
from oslo_log import log as logging

from nova_memhotplug.common import options
from nova_memhotplug.common import specs
from nova_memhotplug.common import states
from nova_memhotplug.compute import errands
from nova_memhotplug.core import domain

CONF = options.CONF
LOG = logging.getLogger(__name__)

#: What is read of a server, with it.
_ATTRIBUTES = ['flavor', 'numa_topology', 'system_metadata']


class Corrector(ty.Protocol):
    """Whoever corrects the books of one server: see ``reconcile``."""

    def server(self, context: ty.Any, instance: ty.Any) -> bool:
        """Bring the books of one server to what its guest has."""

    def renew_note(self, context: ty.Any, instance: ty.Any) -> None:
        """Leave a note of what its guest has."""


class Releases:
    """The guests of a host that give memory back.

    :param guests: the ``virt.guest.Guests`` of the host
    :param corrector: corrects the books of one server
    """

    def __init__(self, guests: ty.Any, corrector: Corrector):
        self._guests = guests
        self._corrector = corrector
        self._lock = threading.Lock()
        # When each was asked, by the UUID of its server.
        self._since: dict[str, float] = {}
        self._errands = errands.Errands(
            self.look_at, 'It cannot be seen what the guest gives back')

    def expect(self, uuid: str, is_new: bool = False) -> None:
        """Follow a guest until it has given back what it was asked for.

        :param uuid: UUID of its server
        :param is_new: whether it was asked just now
        """
        with self._lock:
            if is_new or uuid not in self._since:
                self._since[uuid] = time.monotonic()

    def has_changed(self, uuid: str) -> bool:
        """Look at a guest soon that has more or less than before.

        :param uuid: UUID of its server
        :returns: whether it is followed
        """
        is_expected = uuid in self._since
        if is_expected:
            self._errands.add(uuid)
        return is_expected

    def look_at(self, uuid: str) -> None:
        """See whether a guest has come to an end with what it gives back.

        :param uuid: UUID of its server
        :raises Exception: if that cannot be told, or not be recorded
        """
        live = self._guests.find(uuid)
        if live is None or not live.is_running():
            # What is started anew is asked for the rest anew.
            self._forget(uuid)
        elif not live.read().is_giving_back or self._is_late(uuid):
            utils.synchronized(uuid)(self._end)(uuid, live)

    def _end(self, uuid: str, live: ty.Any) -> None:
        context = nova_context.get_admin_context()
        instance = objects.Instance.get_by_uuid(
            context, uuid, expected_attrs=_ATTRIBUTES)
        if not states.is_settled(instance):
            return
        guest = live.read()
        if guest.is_giving_back:
            if not self._is_late(uuid):
                # It was asked once more while the lock was waited for.
                return
            _keep(instance, live, guest)
        if not self._corrector.server(context, instance):
            # The note says that it gives something back.
            self._corrector.renew_note(context, instance)
        self._forget(uuid)

    def _is_late(self, uuid: str) -> bool:
        with self._lock:
            since = self._since.get(uuid, time.monotonic())
        return time.monotonic() - since >= CONF.memhotplug.shrink_timeout

    def _forget(self, uuid: str) -> None:
        with self._lock:
            self._since.pop(uuid, None)


def _keep(
    instance: ty.Any, live: ty.Any, guest: domain.GuestMemory,
) -> None:
    """Have a guest keep what it has not let go of in time."""
    model = specs.model_of(specs.spec_of(instance.flavor))
    for changes in model.settle(guest):
        for change in changes:
            live.apply(change)
    LOG.warning(
        'The guest was asked to come down to %(asked)d MiB and still has '
        '%(taken)d MiB after %(seconds)d seconds: it keeps that.', {
            'asked': guest.asked_mb, 'taken': guest.taken_mb,
            'seconds': CONF.memhotplug.shrink_timeout}, instance=instance)
