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

"""What an audit compares and does about it.

Nova, placement and the hosts are on the other side of a census
(``cmd.census``), so that all of this can be tested without them.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import enum
import typing as ty

from nova_memhotplug.core import accounting
from nova_memhotplug.core import errors


class Code(enum.IntEnum):
    """The exit codes."""

    CLEAN = 0
    DIFFERENT = 1
    FAILED = 2


class Unreadable(Exception):
    """Something could not be read or done; the sentence says what."""


@dataclasses.dataclass(frozen=True)
class Record:
    """What is on record about one server, sizes in MiB.

    :param uuid: the server
    :param host: where it is; None if it is nowhere
    :param extra_specs: of its flavor
    :param flavor_mb: RAM of its flavor
    :param instance_mb: RAM in its own row of the database
    :param allocated_mb: RAM that it has allocated on its host; None if it
        has not even an allocation there
    :param request_spec_mb: RAM in its RequestSpec; None if it has none
    :param guest_mb: RAM of its live domain; None if there is none, or its
        host is down
    :param cells_mb: RAM of its NUMA nodes together; None if it is bound to
        none
    :param is_allocation_known: whether placement has said anything
    :param is_settled: whether nothing goes on for which Nova has books in
        transit; else only the server itself is on record here
    :param may_run: whether it may have a live domain
    :param cell: what leads to its cell
    """

    uuid: str
    host: str | None
    extra_specs: Mapping[str, str]
    flavor_mb: int
    instance_mb: int
    allocated_mb: int | None
    request_spec_mb: int | None
    guest_mb: int | None
    cells_mb: int | None = None
    is_allocation_known: bool = True
    is_settled: bool = True
    may_run: bool = True
    cell: ty.Any = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def is_behind(self) -> bool:
        """Whether its RequestSpec has another size than its flavor.

        That is no difference: compute hosts do not reach the API database,
        and nova-api brings it up to date before it is used (design T5).
        """
        return self.request_spec_mb not in (None, self.flavor_mb)


@dataclasses.dataclass(frozen=True)
class Difference:
    """One thing that does not agree with a server's flavor, in MiB.

    :param uuid: the server
    :param host: where it is
    :param what: the thing
    :param found_mb: what it has
    :param expected_mb: what the flavor stands for
    """

    uuid: str
    host: str | None
    what: str
    found_mb: int
    expected_mb: int


@dataclasses.dataclass(frozen=True)
class Shims:
    """How many guests of a host name the emulator shim.

    :param host: its name
    :param running: guests that run through it
    :param stored: definitions that guests are started from
    :param saved: suspended guests
    """

    host: str
    running: int
    stored: int
    saved: int


def differences(record: Record) -> Iterator[Difference]:
    """Compare everything on record about a server with its flavor.

    The flavor is what users are billed for. That does not make it right:
    where the live domain differs, ``--fix`` corrects the flavor.

    :param record: the server
    :returns: what differs
    """
    total_mb = record.flavor_mb
    allocated_mb = (
        record.allocated_mb or 0) if record.is_allocation_known else None
    for what, found_mb, expected_mb in (
        ('live domain', record.guest_mb, total_mb),
        ('instance', record.instance_mb, total_mb),
        ('NUMA nodes', record.cells_mb, total_mb),
        ('allocation', allocated_mb, accounting.allocation_mb(
            total_mb, record.extra_specs)),
    ):
        if found_mb is not None and found_mb != expected_mb:
            yield Difference(
                record.uuid, record.host, what, found_mb, expected_mb)


class Audit:
    """One look at all servers whose memory can grow.

    :param census: the ``census.Census``
    :param fix: whether to correct what differs
    """

    def __init__(self, census: ty.Any, fix: bool = False):
        self._census = census
        self._fix = fix
        self._problems: list[str] = []
        self.compared = 0
        self.in_transit = 0
        self.behind = 0
        self.corrected: list[Difference] = []
        self.remaining: list[Difference] = []

    @property
    def problems(self) -> list[str]:
        """Sentences about what could not be read or done."""
        return [*self._census.problems, *self._problems]

    @property
    def shims(self) -> list[Shims]:
        """The hosts with guests that name the emulator shim."""
        return ty.cast(list[Shims], self._census.shims)

    @property
    def code(self) -> Code:
        """What it comes to."""
        if self.problems:
            return Code.FAILED
        return Code.DIFFERENT if self.remaining else Code.CLEAN

    def run(self) -> None:
        """Look at every server; what cannot be read stops nothing."""
        try:
            for record in self._census.records():
                self._look(record)
        except Exception as exc:
            self._problems.append('%s: %s' % (type(exc).__name__, exc))

    def _look(self, record: Record) -> None:
        found = self._once_more(record)
        if found is None:
            return
        if not found.is_settled:
            self.in_transit += 1
            return
        self.compared += 1
        if self._fix:
            found = self._correct(found)
            if found is None:
                return
        self.remaining += differences(found)
        self.behind += found.is_behind

    def _once_more(self, record: Record) -> Record | None:
        """Read a server that differs once more, before it is called that.

        It may have been resized, moved or deleted while the books of its
        host were read one after the other.

        :returns: what is on record; None if it was deleted
        """
        if not record.is_settled or not any(differences(record)):
            return record
        return self._try(record, self._census.read)

    def _correct(self, record: Record) -> Record | None:
        """Correct what can be.

        :returns: what is on record then; None if it was deleted meanwhile
        """
        found = tuple(differences(record))
        if not found and not record.is_behind:
            return record
        if record.is_allocation_known and record.allocated_mb is None:
            # Memory alone would be an allocation that Nova does not know.
            self._problems.append(
                str(errors.NothingAllocated(uuid=record.uuid)))
            return record
        after = self._try(record, self._correct_and_read)
        if after is None:
            return None
        left = {difference.what for difference in differences(after)}
        self.corrected += (difference for difference in found
                           if difference.what not in left)
        return after

    def _correct_and_read(self, record: Record) -> Record | None:
        self._census.correct(record)
        return ty.cast(Record | None, self._census.read(record))

    def _try(
        self, record: Record, function: Callable[[Record], Record | None],
    ) -> Record | None:
        """Call a function; where it fails, what was on record counts."""
        try:
            return function(record)
        except Unreadable as exc:
            self._problems.append(str(exc))
        except Exception as exc:
            self._problems.append('Server %s: %s: %s' % (
                record.uuid, type(exc).__name__, exc))
        return record
