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

"""The table of the documentation, read: an operation is a row of it."""

import csv
import dataclasses
import os
import pathlib

TABLE = (pathlib.Path(__file__).resolve().parents[3] /
         'doc' / 'source' / 'admin' / 'lifecycle.csv')

#: States of a server before an operation: columns of the table.
NEVER = 'Never grown'
GROWN = 'Grown'
CEILING = 'At the ceiling'
STATES = (NEVER, GROWN, CEILING)
#: The column of grown servers of the other memory model.
WITH_VIRTIO_MEM = 'With virtio-mem'
DIMM, VIRTIO_MEM = 'dimm', 'virtio-mem'
#: With a sample one of so many operations is done to a server of that model,
#: this one: a live migration, a reset, a start, an evacuation, a resize.
_ONE_OF, _WHICH = 5, 3

#: The words of the table.
SAME = 'same'
KEEPS = 'keeps'
FOLDS = 'folds'
FULL = 'full'
ASKS = 'asks'
NEW = 'new size'
PLAIN = 'plain'
DELETED = 'deleted'
OUTCOMES = (SAME, KEEPS, FOLDS, FULL, ASKS, NEW, PLAIN, DELETED)

#: What the column "Guest" says.
GOES_ON = 'goes on'
RESTARTS = 'restarts'
ENDS = 'ends'


@dataclasses.dataclass(frozen=True)
class Row:
    """An operation and what it does.

    :param operation: its name
    :param guest: whether the guest goes on or restarts
    :param outcomes: pairs of a column and a word of the table
    """

    operation: str
    guest: str
    outcomes: tuple

    def outcome(self, column):
        """Say what becomes of a server of a column."""
        return dict(self.outcomes)[column]


@dataclasses.dataclass(frozen=True)
class Cell:
    """A row for one server.

    :param row: the ``Row``
    :param arch: architecture of the guest
    :param state: of the server before
    :param model: the memory model of the server
    """

    row: Row
    arch: str
    state: str
    model: str = DIMM

    @property
    def outcome(self):
        """What the table says, one of OUTCOMES."""
        return self.row.outcome(
            self.state if self.model == DIMM else WITH_VIRTIO_MEM)

    @property
    def __name__(self):  # what ddt makes a test's name of
        words = (self.row.operation, self.state, self.arch, self.model,
                 self.outcome)
        return '__'.join(words).lower().replace(' ', '_').replace(',', '')


def rows():
    """Read the table.

    :returns: a list of ``Row``
    """
    with TABLE.open(newline='') as lines:
        return [
            Row(line['Operation'], line['Guest'],
                tuple((column, line[column])
                      for column in (*STATES, WITH_VIRTIO_MEM)))
            for line in csv.DictReader(lines)]


def cells():
    """List what is to be tested, in the order of the table.

    Each operation on both architectures, in states that take turns, and once
    on a server of the model virtio-mem; with the environment variable
    ``MEMHOTPLUG_LIFECYCLE=full`` on x86_64 in all states, with ``sample`` on
    one architecture, in turns, and now and then on a server of that model.

    :returns: a list of ``Cell``
    """
    extent = os.environ.get('MEMHOTPLUG_LIFECYCLE')
    found = []
    for number, row in enumerate(rows()):
        turn = number % len(STATES)
        states = STATES if extent == 'full' else (STATES[turn - 1],)
        cells_of_row = [Cell(row, 'x86_64', state) for state in states]
        cells_of_row.append(Cell(row, 'aarch64', STATES[turn]))
        found += (cells_of_row[number % 2:number % 2 + 1]
                  if extent == 'sample' else cells_of_row)
        if extent != 'sample' or number % _ONE_OF == _WHICH:
            found.append(Cell(
                row, ('aarch64', 'x86_64')[number % 2],
                (GROWN, CEILING)[number // _ONE_OF % 2], VIRTIO_MEM))
    return found
