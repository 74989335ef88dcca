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

"""The QEMU guest agent, as far as memory goes.

The agent belongs to the tenant. What it says is read by
``core.blocklist`` with suspicion, and its silence is an answer too.
"""

import threading
import typing as ty

from oslo_log import log as logging
from oslo_serialization import jsonutils
from oslo_utils import importutils

from nova_memhotplug.core import blocklist

libvirt = importutils.try_import('libvirt')

LOG = logging.getLogger(__name__)

#: Seconds that one command may take: as part of a resize, and for somebody
#: who only looks. Whoever owns the guest chooses how long it does take.
RESIZE_TIMEOUT = 5
LOOK_TIMEOUT = 1
#: How many commands may wait for agents of this host at once. libvirt's
#: daemon answers nobody once its five first workers all wait
#: (facts-events.md, 0.1).
MAX_CALLS = 3
#: How many blocks a guest brings online well within the time of one command
#: (facts-events.md, question 7: 512 take it 8 to 10 s).
MAX_BLOCKS = 64
_calls = threading.BoundedSemaphore(MAX_CALLS)
#: An answer lists every block of the guest in about 60 bytes each: this is
#: enough for 8 TiB in blocks of 128 MiB.
MAX_ANSWER_BYTES = 4 * 1024 * 1024


class GuestAgent:
    """The agent of one running guest.

    :param qemu: the module ``libvirt_qemu``, wrapped as Nova wraps libvirt
        where a call would otherwise block a whole eventlet process
    :param domain: a ``libvirt.virDomain``
    :param is_patient: whether it is asked as part of a resize: then it is
        given more time, and waited for while others are asked
    """

    def __init__(self, qemu: ty.Any, domain: ty.Any, is_patient: bool):
        self._qemu = qemu
        self._domain = domain
        self._is_patient = is_patient

    def block_mb(self) -> int | None:
        """Ask for the size of the guest's memory block. This is one command.

        :returns: the size in MiB; None if there is no sensible answer
        """
        return blocklist.block_size_mb(
            self._ask('guest-get-memory-block-info'))

    def blocks(self, block_mb: int) -> blocklist.BlockList | None:
        """Ask for the guest's memory blocks. This is one command.

        :param block_mb: the size of its memory block, in MiB
        :returns: the blocks; None if the agent does not answer, does not
            know the question, or answers nonsense
        """
        return blocklist.parse(
            block_mb, self._ask('guest-get-memory-blocks'))

    def bring_online(self, numbers: list[int]) -> dict[int, int | None]:
        """Ask the guest to use memory blocks, by few in each command.

        It goes on with them even if there is no answer in time, and says
        afterwards, in ``blocks()``, what it uses (facts-events.md,
        question 7).

        :param numbers: the blocks
        :returns: those of which it says that it does not, with the error of
            its kernel; None where it names none
        """
        refused: dict[int, int | None] = {}
        for first in range(0, len(numbers), MAX_BLOCKS):
            refused |= blocklist.refused(self._ask(
                'guest-set-memory-blocks', {'mem-blks': [
                    {'phys-index': number, 'online': True}
                    for number in numbers[first:first + MAX_BLOCKS]]}))
        return refused

    def _ask(
        self, command: str, arguments: dict[str, ty.Any] | None = None,
    ) -> ty.Any:
        question: dict[str, ty.Any] = {'execute': command}
        if arguments:
            question['arguments'] = arguments
        if not _calls.acquire(blocking=self._is_patient):
            LOG.debug('Guest agent: %s is not asked: others are being asked',
                      command, instance_uuid=self._domain.UUIDString())
            return None
        try:
            return _returned(self._qemu.qemuAgentCommand(
                self._domain, jsonutils.dumps(question),
                RESIZE_TIMEOUT if self._is_patient else LOOK_TIMEOUT, 0))
        except libvirt.libvirtError as exc:
            LOG.debug('Guest agent: %(command)s: %(exc)s',
                      {'command': command, 'exc': exc},
                      instance_uuid=self._domain.UUIDString())
            return None
        finally:
            _calls.release()


def _returned(answer: str | None) -> ty.Any:
    if answer is None or len(answer) > MAX_ANSWER_BYTES:
        return None
    try:
        message = jsonutils.loads(answer)
    except (ValueError, RecursionError):
        return None
    return message.get('return') if isinstance(message, dict) else None
