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

#: The words of the table.
SAME = 'same'
KEEPS = 'keeps'
FOLDS = 'folds'
FULL = 'full'
NEW = 'new size'
PLAIN = 'plain'
DELETED = 'deleted'
OUTCOMES = (SAME, KEEPS, FOLDS, FULL, NEW, PLAIN, DELETED)

#: What the column "Guest" says.
GOES_ON = 'goes on'
RESTARTS = 'restarts'
ENDS = 'ends'


@dataclasses.dataclass(frozen=True)
class Row:
    """An operation and what it does.

    :param operation: its name
    :param guest: whether the guest goes on or restarts
    :param outcomes: pairs of a state before and a word of the table
    """

    operation: str
    guest: str
    outcomes: tuple

    def outcome(self, state):
        """Say what becomes of a server in a state."""
        return dict(self.outcomes)[state]


@dataclasses.dataclass(frozen=True)
class Cell:
    """A row for one server.

    :param row: the ``Row``
    :param arch: architecture of the guest
    :param state: of the server before
    """

    row: Row
    arch: str
    state: str

    @property
    def outcome(self):
        """What the table says, one of OUTCOMES."""
        return self.row.outcome(self.state)

    @property
    def __name__(self):  # what ddt makes a test's name of
        words = (self.row.operation, self.state, self.arch, self.outcome)
        return '__'.join(words).lower().replace(' ', '_').replace(',', '')


def rows():
    """Read the table.

    :returns: a list of ``Row``
    """
    with TABLE.open(newline='') as lines:
        return [
            Row(line['Operation'], line['Guest'],
                tuple((state, line[state]) for state in STATES))
            for line in csv.DictReader(lines)]


def cells():
    """List what is to be tested, in the order of the table.

    Each operation on both architectures, in states that take turns; with the
    environment variable ``MEMHOTPLUG_LIFECYCLE=full`` on x86_64 in all states,
    with ``sample`` on one architecture, in turns.

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
    return found
