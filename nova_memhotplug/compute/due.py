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

"""Which servers of a host still need a look, kept for any thread."""

from collections.abc import Iterable
import dataclasses
import threading

#: How often a remembered server is looked at: a guest may let go of a device
#: some time after it was asked to, and another writer of Nova may put back an
#: older flavor some time after a commit.
LOOKS = 5
#: For how many periods nobody is asked any more, at the most, after one
#: failure followed another.
LONGEST_PAUSE = 15


@dataclasses.dataclass(frozen=True)
class Entry:
    """A server that needs a look.

    :param looks: how many more
    :param is_remembered: whether something has happened to it, so that not
        only its books are to be looked at
    :param is_cut_short: whether libvirt's daemon went away while it added
        memory
    """

    looks: int = 1
    is_remembered: bool = False
    is_cut_short: bool = False


class DueList:
    """The servers of a host that need a look.

    At first that is all of them. A server stays here until it was looked at,
    so a failure forgets none.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._is_all = True

    def remember(self, uuid: str, is_cut_short: bool = False) -> None:
        """Have a server looked at some more times.

        :param uuid: the server
        :param is_cut_short: see ``Entry``
        """
        with self._lock:
            known = self._entries.get(uuid, Entry())
            self._entries[uuid] = Entry(
                LOOKS, True, is_cut_short or known.is_cut_short)

    def entries(self) -> dict[str, Entry] | None:
        """Say what needs a look.

        :returns: a copy, by the UUID of the server; None for all servers of
            the host
        """
        with self._lock:
            return None if self._is_all else dict(self._entries)

    def fill(self, uuids: Iterable[str]) -> None:
        """Name all servers of the host.

        :param uuids: the servers
        """
        with self._lock:
            for uuid in uuids:
                self._entries.setdefault(uuid, Entry())
            self._is_all = False

    def looked_at(self, uuid: str) -> None:
        """Take away one look.

        :param uuid: the server
        """
        with self._lock:
            entry = self._entries.pop(uuid, Entry())
            if entry.looks > 1:
                self._entries[uuid] = dataclasses.replace(
                    entry, looks=entry.looks - 1, is_cut_short=False)

    def drop(self, uuid: str) -> None:
        """Look at a server no more.

        :param uuid: the server
        """
        with self._lock:
            self._entries.pop(uuid, None)

    def defer(self, uuid: str) -> None:
        """Look at a server after all others: it failed just now.

        :param uuid: the server
        """
        with self._lock:
            entry = self._entries.pop(uuid, Entry())
            self._entries[uuid] = entry


class BackOff:
    """Leaves out more and more periods after one failure follows another."""

    def __init__(self) -> None:
        self._failures = 0
        self._pause = 0

    def is_over(self) -> bool:
        """Tell whether to try in this period; call it once in each."""
        if self._pause == 0:
            return True
        self._pause -= 1
        return False

    def failed(self) -> None:
        """Wait longer than the last time; not at all for the first one."""
        self._pause = min(2 ** self._failures - 1, LONGEST_PAUSE)
        self._failures += 1

    def succeeded(self) -> None:
        """Wait no more."""
        self._failures = 0
