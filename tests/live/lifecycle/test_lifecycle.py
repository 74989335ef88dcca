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

"""The table of doc/source/admin/lifecycle.rst, one test for each cell.

The first test of an operation does it to a server of each state at the same
time; each test then checks what became of one of them. What a server grows by
afterwards makes it the next operation's server of another state.
"""

import functools

import ddt
from testtools import matchers

from tests.live import base
from tests.live import cloud
from tests.live.lifecycle import fleet as fleet_mod
from tests.live.lifecycle import hosts
from tests.live.lifecycle import operations
from tests.live.lifecycle import table

BLOCK_MB = 128
CELLS = table.cells()


class Matrix:
    """What became of the servers that an operation was done to."""

    def __init__(self):
        self.fleet = None
        self._results = {}

    def result(self, cell):
        """Do the operation of a cell, unless that was done.

        :param cell: a ``table.Cell``
        :returns: the server, a ``fleet.Member``, what was seen of it before,
            and what placement had for others on each host before
        """
        if cell.row not in self._results:
            self._results[cell.row] = self._run(cell.row)
        result = self._results[cell.row][cell]
        if isinstance(result, Exception):
            raise result
        return result

    def _run(self, row):
        if self.fleet is None:
            self.fleet = fleet_mod.Fleet()
            self.fleet.make_flavors()
        cells = [cell for cell in CELLS if cell.row == row]
        results = self.fleet.muster(cells)
        ready = [cell for cell in cells
                 if not isinstance(results[cell], Exception)]
        members = [results[cell] for cell in ready]
        before = hosts.at_once(
            lambda member: member.look(functools.partial(_has_all, member)),
            members)
        others = self.others()
        try:
            after = operations.OPERATIONS[row.operation](members)
        except Exception as exc:
            after = [exc] * len(members)
        for cell, member, seen, problem in zip(
                ready, members, before, after or [None] * len(members)):
            problems = [found for found in (seen, problem)
                        if isinstance(found, Exception)]
            results[cell] = (problems[0] if problems
                             else (member, seen, others))
        return results

    def others(self):
        """Read what placement has for others than the fleet."""
        return {
            host: {consumer: size for consumer, size in found.items()
                   if consumer not in self.fleet.known}
            for host, found in hosts.allocations().items()}


def _has_all(member, seen):
    """Tell whether a guest uses all memory that its server has."""
    return (seen.guest['online'] * BLOCK_MB == member.total_mb and
            not seen.guest['offline'])


MATRIX = Matrix()


@ddt.ddt
class LifecycleTest(base.LiveTest):

    @classmethod
    def tearDownClass(cls):
        if MATRIX.fleet is not None:
            MATRIX.fleet.close()
        super().tearDownClass()

    def test_every_operation_is_there(self):
        self.assertEqual({row.operation for row in table.rows()},
                         set(operations.OPERATIONS))

    def test_every_word_is_known(self):
        for row in table.rows():
            self.assertIn(
                row.guest, (table.GOES_ON, table.RESTARTS, table.ENDS))
            for _state, word in row.outcomes:
                self.assertIn(word, table.OUTCOMES)

    @ddt.data(*CELLS)
    def test_cell(self, cell):
        member, before, others = MATRIX.result(cell)
        state, member.state = member.state, None
        if cell.outcome == table.DELETED:
            self._check_deleted(member)
        else:
            self._check(cell, member, before)
            self._check_growth(cell, member, state)
        # While Nova ends a live migration, that has a claim of its own.
        cloud.until(30, 'claims of others as they were: %s' % others,
                    lambda: MATRIX.others() == others,
                    lambda: str(MATRIX.others()))

    def _check_deleted(self, member):
        self.assertEqual([], hosts.with_domain(member.server))
        self.assertEqual({}, self._allocations(member))

    def _check(self, cell, member, before):
        server = member.server
        after = member.look(lambda seen: (
            _has_all(member, seen) and
            (cell.row.guest == table.GOES_ON or
             seen.guest['boot'] != before.guest['boot'])))
        self._check_guest(cell, member, before, after)
        self._check_domain(cell, member, before, after)
        self.assertEqual([after.host], hosts.with_domain(server))
        fresh = server.fresh
        self.assertEqual(('ACTIVE', None, member.total_mb), (
            fresh.status, fresh.task_state, fresh.flavor['ram']))
        self.assertEqual(
            {after.host: member.total_mb}, self._allocations(member))

    def _check_guest(self, cell, member, before, after):
        """The guest has everything, in the right node, and went on or not."""
        self.assertTrue(_has_all(member, after), after.guest)
        self.assertEqual(
            after.live.plugged_mb * base.MIB_KB,
            after.guest['nodes'].get(1, 0), after.guest)
        if cell.row.guest == table.GOES_ON:
            self.assertEqual(before.guest, after.guest)
        else:
            self.assertNotEqual(before.guest['boot'], after.guest['boot'])

    def _check_domain(self, cell, member, before, after):
        live = after.live
        is_elastic = cell.outcome not in (table.FULL, table.PLAIN)
        self.assertEqual(member.total_mb, live.present_mb)
        self._check_devices(cell, member, before, live)
        self.assertEqual(
            (member.max_mb, member.slots) if is_elastic else (None, 0),
            (live.max_mb, live.slots))
        self.assertEqual(
            cell.outcome != table.PLAIN, live.reserved_cell is not None)
        self.assertEqual(self._durable(live), self._durable(after.persistent))

    def _check_devices(self, cell, member, before, live):
        """They are those from before, or one for what was not there at
        first, or none.
        """
        if cell.outcome in (table.SAME, table.KEEPS):
            self.assertEqual(before.live.devices, live.devices)
        elif cell.model == table.DIMM or cell.outcome == table.PLAIN:
            self.assertEqual((), live.devices)
        else:
            self.assertEqual(
                (member.first_mb,
                 [('ua-memhotplug-vmem-0', 1,
                   member.total_mb - member.first_mb)]),
                (live.boot_mb, [(dev.alias, dev.node, dev.size_mb)
                                for dev in live.devices]))

    @staticmethod
    def _durable(memory):
        """List what must be in the persistent domain as well."""
        return (memory.boot_mb, memory.max_mb, memory.slots, memory.cells, [
            (dev.alias, dev.slot, dev.node, dev.size_mb)
            for dev in memory.devices])

    def _allocations(self, member):
        return {
            host: found[member.server.id]
            for host, found in hosts.allocations().items()
            if member.server.id in found}

    def _check_growth(self, cell, member, state):
        """It can grow again, or says why not."""
        memory = member.server.memory()
        used = len([dev for dev in memory['devices']
                    if dev['slot'] is not None])
        slots = (0 if cell.outcome in (table.FULL, table.PLAIN)
                 else member.slots)
        self.assertEqual(
            {'total': slots, 'used': used, 'free': slots - used},
            memory['slots'])
        if cell.outcome == table.NEW:
            self._grow(member, table.NEVER)
            member.state = None
        elif cell.outcome == table.PLAIN or state == table.CEILING:
            self._cannot_grow(cell, member)
        else:
            self._grow(member, state)

    def _grow(self, member, state):
        member.state = state
        member.grow()
        seen = member.look(functools.partial(_has_all, member))
        self.assertTrue(_has_all(member, seen), seen.guest)
        self.assertEqual(member.total_mb, seen.live.present_mb)
        self.assertEqual((member.total_mb, member.total_mb),
                         member.server.books())

    def _cannot_grow(self, cell, member):
        code = {table.FULL: 'at_ceiling',
                table.PLAIN: 'not_elastic'}.get(cell.outcome, 'no_step_left')
        memory = member.server.memory()
        self.assertEqual((False, [code]), (
            memory['can_grow'], [why['code'] for why in memory['reasons']]))
        answer = member.server.resize(member.total_mb + BLOCK_MB)
        self.assertThat(answer.status_code, matchers.MatchesAny(
            matchers.Equals(400), matchers.Equals(409)))
        self.assertEqual((member.total_mb, member.total_mb),
                         member.server.books())
