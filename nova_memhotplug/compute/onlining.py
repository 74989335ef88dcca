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

"""Keep memory in use that guests were given.

Some kernels leave hot-plugged memory offline, and do so again after each
start, whatever the agent has done before (facts-guests.md, 0.7). So whenever
an agent begins to listen, and when somebody asks once more for what a server
has, the guest's memory blocks are looked at and brought online.
"""

from collections.abc import Sequence
import typing as ty

from oslo_concurrency import lockutils
from oslo_log import log as logging

from nova_memhotplug.common import options
from nova_memhotplug.compute import errands
from nova_memhotplug.compute import look
from nova_memhotplug.core import device

CONF = options.CONF
LOG = logging.getLogger(__name__)


class Onliner:
    """Brings memory online in the guests of a host, one after the other.

    :param guests: the ``virt.guest.Guests`` of the host
    :param guest_events: the ``virt.events.GuestEvents`` of the host
    """

    def __init__(self, guests: ty.Any, guest_events: ty.Any):
        self._guests = guests
        self._events = guest_events
        self._errands = errands.Errands(
            self._look_at,
            'It cannot be seen whether the guest uses all of its memory')
        self._is_start = True

    def watch(self) -> None:
        """Learn of agents that begin to listen, from now on.

        It is to be called again and again, for libvirt forgets it with the
        connection. With a new one each guest that runs is looked at; at
        service start, whoever compares the books reads them anyway
        (``sweep``), and remembers those that have something to use.
        """
        is_start, self._is_start = self._is_start, False
        try:
            if self._events.listen() and not is_start:
                for uuid in self._guests.running():
                    self.remember(uuid)
        except Exception:
            LOG.warning('Memory that guests leave offline after they were '
                        'started is not brought online; a later periodic '
                        'task tries again.', exc_info=True)

    def remember(self, uuid: str) -> None:
        """Look at a guest soon.

        :param uuid: of its server; one that is not on this host is ignored
        """
        if CONF.memhotplug.online_guest_memory:
            self._errands.add(uuid)

    def _look_at(self, uuid: str) -> None:
        live = self._guests.find(uuid)
        if live is None or not live.is_running() or live.is_paused():
            return
        guest = live.read()
        added = [dev for dev in guest.devices if dev.is_ram and dev.is_ours]
        if not added or not guest.is_agent_there:
            return
        # Whoever asks for a reader meanwhile does without an answer.
        with lockutils.lock(look.AGENT_LOCK % uuid):
            _bring_online(uuid, live.agent(is_patient=True), added)


def _bring_online(
    uuid: str, asked: ty.Any, added: Sequence[device.MemoryDevice],
) -> None:
    """Bring the memory of devices online, and say what came of it."""
    block_mb = asked.block_mb()
    before = block_mb and _offline(asked, block_mb, added)
    if not before:
        return
    asked.bring_online(before)
    left = _offline(asked, block_mb, added)
    if left == []:
        LOG.info('The guest uses %d MiB again that it had left offline.',
                 len(before) * block_mb, instance_uuid=uuid)
    else:
        LOG.warning('The guest leaves %(left)s of %(mb)d MiB offline.', {
            'mb': len(before) * block_mb, 'left': 'an unknown part'
            if left is None else len(left) * block_mb}, instance_uuid=uuid)


def _offline(
    asked: ty.Any, block_mb: int, added: Sequence[device.MemoryDevice],
) -> list[int] | None:
    """List the blocks that a guest leaves offline; None without answer."""
    blocks = asked.blocks(block_mb)
    return None if blocks is None else blocks.offline(added)
