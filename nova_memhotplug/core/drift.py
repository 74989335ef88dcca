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

"""What the books of a server say, compared with what its guest has.

The live domain is right, and a server without one starts with what its flavor
says (design T2).
"""

from collections.abc import Mapping
import dataclasses

from nova_memhotplug.core import accounting
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import numa


@dataclasses.dataclass(frozen=True)
class Record:
    """What the books say of a server.

    :param flavor_mb: RAM of its flavor, in MiB
    :param instance_mb: RAM in its own row of the database, in MiB
    :param allocated_mb: RAM that it has allocated in placement, in MiB; None
        where that is not compared
    :param cells_mb: RAM of each of its NUMA cells, in MiB; empty for a
        server that has none for Nova
    :param extra_specs: those of its flavor
    """

    flavor_mb: int
    instance_mb: int
    allocated_mb: int | None
    cells_mb: tuple[int, ...] = ()
    extra_specs: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Drift:
    """What the books say and what they should say.

    :param record: what they say
    :param present_mb: RAM of the server, in MiB
    :param expected_mb: RAM that it should have allocated, in MiB
    :param cells_mb: RAM that each of its NUMA cells should have, in MiB
    """

    record: Record
    present_mb: int
    expected_mb: int
    cells_mb: tuple[int, ...]

    @property
    def exists(self) -> bool:
        """Whether anything differs."""
        return self.instance_differs or self.missing_mb != 0

    @property
    def instance_differs(self) -> bool:
        """Whether the flavor, the instance or a NUMA cell differs."""
        return (self.record.flavor_mb != self.present_mb or
                self.record.instance_mb != self.present_mb or
                self.record.cells_mb != self.cells_mb)

    @property
    def missing_mb(self) -> int:
        """What the allocation lacks, in MiB; negative where it is more."""
        if self.record.allocated_mb is None:
            return 0
        return self.expected_mb - self.record.allocated_mb


def compare(
    record: Record, guest: domain.GuestMemory | None,
    adopts_foreign: bool = True,
) -> Drift:
    """Compare the books of a server with its guest.

    :param record: what the books say
    :param guest: what its live domain has; None if it does not run
    :param adopts_foreign: whether memory counts that was attached by other
        means than this API
    :returns: what differs
    :raises ForeignDevices: if it has memory that must not be adopted
    :raises AccountingFailed: if its guest has other cells than Nova has on
        record
    """
    present_mb = record.flavor_mb
    if guest is not None:
        present_mb = guest.present_mb
        if (present_mb != record.flavor_mb and guest.foreign_mb and
                not adopts_foreign):
            raise errors.ForeignDevices(foreign_mb=guest.foreign_mb)
    return Drift(
        record=record, present_mb=present_mb,
        expected_mb=accounting.allocation_mb(present_mb, record.extra_specs),
        cells_mb=_cells_mb(record, guest))


def _cells_mb(
    record: Record, guest: domain.GuestMemory | None,
) -> tuple[int, ...]:
    if not record.cells_mb:
        return ()
    if guest is None:
        if sum(record.cells_mb) == record.flavor_mb:
            return record.cells_mb
        return numa.cells_of(
            len(record.cells_mb), record.flavor_mb, record.extra_specs)
    found_mb = guest.own_cells_mb
    if len(found_mb) != len(record.cells_mb):
        raise errors.AccountingFailed(
            reason='the guest has %d NUMA nodes, Nova has %d on record' % (
                len(found_mb), len(record.cells_mb)))
    return found_mb
