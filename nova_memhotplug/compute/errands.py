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

"""Things to do for servers of a host, one after the other, in no hurry."""

from collections.abc import Callable
import threading

from nova import context as nova_context
from oslo_log import log as logging

from nova_memhotplug.common import ahead

LOG = logging.getLogger(__name__)


class Errands:
    """Does one thing for one server after the other.

    It may take its time, so it is done in a thread of its own, which ends
    when there is nothing more to do.

    :param what: what to do, by the UUID of the server
    :param trouble: what cannot be done if it fails, for the log
    """

    def __init__(self, what: Callable[[str], None], trouble: str):
        self._what = what
        self._trouble = trouble
        self._lock = threading.Lock()
        # The servers, in order, by UUID; each is there once.
        self._waiting: dict[str, None] = {}
        self._is_working = False

    def add(self, uuid: str) -> None:
        """Do it soon for a server, once for all that have asked by then.

        :param uuid: the server
        """
        with self._lock:
            self._waiting[uuid] = None
            if self._is_working:
                return
            self._is_working = True
        ahead.start(nova_context.get_admin_context(), self._work)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_working = False
                    return
                uuid = next(iter(self._waiting))
                del self._waiting[uuid]
            try:
                self._what(uuid)
            except Exception as exc:
                LOG.warning('%(trouble)s: %(exc)s', {
                    'trouble': self._trouble, 'exc': exc},
                    instance_uuid=uuid)
