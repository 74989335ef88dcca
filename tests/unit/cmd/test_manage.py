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

"""The audit, as an operator runs it, against a census that is made up."""

import contextlib
import dataclasses
import io
from unittest import mock

import ddt
import fixtures
import testtools

from nova_memhotplug.cmd import audit
from nova_memhotplug.cmd import manage

GOOD = audit.Record(
    uuid='11111111-1111-1111-1111-111111111111', host='a', extra_specs={},
    flavor_mb=1024, instance_mb=1024, allocated_mb=1024,
    request_spec_mb=1024, guest_mb=1024)
OVERRIDE = {'resources:MEMORY_MB': '4096'}


def record(**changes):
    return dataclasses.replace(GOOD, **changes)


class Census:
    """A census that is made up.

    :param servers: of each what is on record at the first look, and with
        every later one; None for one that is gone, an exception for one that
        cannot be read
    :param failure: what ends the listing, after all of them
    """

    def __init__(self, *servers, failure=None):
        self._servers = {number: list(looks)
                         for number, looks in enumerate(servers)}
        self._failure = failure
        self.problems = []
        self.shims = []
        self.corrected = []

    def records(self):
        for number, looks in self._servers.items():
            yield dataclasses.replace(looks.pop(0), cell=number)
        if self._failure:
            raise self._failure

    def read(self, record):
        looks = self._servers[record.cell]
        found = looks.pop(0) if looks else record
        if isinstance(found, Exception):
            raise found
        return found and dataclasses.replace(found, cell=record.cell)

    def correct(self, record):
        self.corrected.append(record.uuid)
        looks = self._servers[record.cell]
        if looks and isinstance(looks[0], Exception):
            raise looks[0]


@ddt.ddt
class DifferencesTest(testtools.TestCase):

    @ddt.data(
        {},
        # Not everything can be known, or is there.
        {'guest_mb': None}, {'request_spec_mb': None},
        # The next move brings it up to date.
        {'request_spec_mb': 512},
        # Nothing is claimed twice, and what is claimed ahead is no error.
        {'extra_specs': OVERRIDE, 'allocated_mb': 4096},
        {'extra_specs': {'resources:MEMORY_MB': '0'}, 'allocated_mb': 0})
    def test_none(self, changes):
        self.assertEqual([], list(audit.differences(record(**changes))))

    @ddt.data(
        ({'guest_mb': 1152}, ('live domain', 1152, 1024)),
        ({'instance_mb': 512}, ('instance', 512, 1024)),
        ({'allocated_mb': 2048}, ('allocation', 2048, 1024)),
        ({'allocated_mb': 0}, ('allocation', 0, 1024)),
        ({'allocated_mb': None}, ('allocation', 0, 1024)),
        ({'extra_specs': OVERRIDE}, ('allocation', 1024, 4096)))
    @ddt.unpack
    def test_one(self, changes, expected):
        found = list(audit.differences(record(**changes)))
        self.assertEqual(
            [expected],
            [(one.what, one.found_mb, one.expected_mb) for one in found])

    def test_all(self):
        # A crash before the books were written, seen from the flavor.
        found = audit.differences(record(flavor_mb=512))
        self.assertEqual(
            ['live domain', 'instance', 'allocation'],
            [one.what for one in found])


@ddt.ddt
class AuditTest(testtools.TestCase):

    def _run(self, *argv, servers, **more):
        out, err = io.StringIO(), io.StringIO()
        self.census = Census(*servers, **more)
        census = mock.Mock(return_value=self.census)
        with (mock.patch.object(manage, '_census', census),
              mock.patch.object(manage.rpc, 'cleanup'),
              contextlib.redirect_stdout(out),
              contextlib.redirect_stderr(err)):
            code = manage.main(['audit', *argv])
        self.scope = census.call_args.args[1]
        return code, out.getvalue(), err.getvalue()

    @ddt.data((), ('--fix',))
    def test_clean(self, argv):
        code, out, err = self._run(*argv, servers=[[GOOD]] * 2)
        self.assertEqual(
            (0, '2 servers compared, 0 in transit left out\n'
                '0 differences\n', ''), (code, out, err))

    def test_names_what_differs(self):
        code, out, _err = self._run(servers=[
            [GOOD], [record(uuid='bad', guest_mb=1152)]])
        self.assertEqual(1, code)
        self.assertIn('| bad    | a    | live domain  | 1152      | 1024', out)
        self.assertEqual('1 differences', out.splitlines()[-1])
        self.assertNotIn(GOOD.uuid, out)

    def test_shims(self):
        """They are no difference."""
        self.useFixture(fixtures.MockPatchObject(
            audit.Audit, 'shims', [audit.Shims('a', 3, 4, 1)]))
        code, out, _err = self._run(servers=[[GOOD]])
        self.assertEqual(0, code)
        self.assertIn('Guests that name the emulator shim:', out)
        self.assertIn('| a    | 3       | 4      | 1     |', out)

    def test_leaves_out_what_is_in_transit(self):
        code, out, _err = self._run(
            servers=[[record(guest_mb=1, is_settled=False)]])
        self.assertEqual(0, code)
        self.assertIn('0 servers compared, 1 in transit', out)

    @ddt.data(
        # A resize has ended meanwhile.
        (GOOD, '1 servers compared, 0 in transit'),
        # Something has begun, or it is gone.
        (record(is_settled=False), '0 servers compared, 1 in transit'),
        (None, '0 servers compared, 0 in transit'))
    @ddt.unpack
    def test_looks_again(self, then, line):
        for argv in ((), ('--fix',)):
            code, out, err = self._run(
                *argv, servers=[[record(guest_mb=1152), then]])
            self.assertEqual((0, ''), (code, err))
            self.assertIn(line, out)
            self.assertEqual([], self.census.corrected)

    def test_fix(self):
        bad = record(allocated_mb=2048)
        code, out, _err = self._run(
            '--fix', servers=[[bad, bad, GOOD], [GOOD]])
        self.assertEqual(0, code)
        self.assertIn('Corrected:', out)
        self.assertNotIn('Different:', out)
        self.assertEqual('0 differences', out.splitlines()[-1])
        self.assertEqual([GOOD.uuid], self.census.corrected)

    def test_fix_does_not_do_all(self):
        bad = record(allocated_mb=2048, instance_mb=512)
        code, out, _err = self._run('--fix', servers=[
            [bad, bad, record(allocated_mb=2048)]])
        self.assertEqual(1, code)
        corrected, different = out.split('Different:')
        self.assertIn('instance', corrected)
        self.assertNotIn('allocation', corrected)
        self.assertIn('allocation', different)

    def test_deleted_while_it_is_corrected(self):
        bad = record(allocated_mb=2048)
        code, out, err = self._run('--fix', servers=[[bad, bad, None]])
        self.assertEqual((0, ''), (code, err))
        self.assertEqual('0 differences', out.splitlines()[-1])

    def test_host_is_down(self):
        # Nothing can be done, and nothing went wrong.
        bad = record(allocated_mb=2048, guest_mb=None)
        code, out, err = self._run('--fix', servers=[[bad]])
        self.assertEqual((1, ''), (code, err))
        self.assertNotIn('Corrected:', out)
        self.assertEqual('1 differences', out.splitlines()[-1])

    def test_request_spec_is_behind(self):
        behind = record(request_spec_mb=512)
        code, out, _err = self._run(servers=[[behind], [GOOD], [behind]])
        self.assertEqual(
            (0, '3 servers compared, 0 in transit left out\n'
                '2 request specs are behind; they are brought up to date '
                'with the next move\n0 differences\n'), (code, out))

    def test_fix_brings_request_specs_up_to_date(self):
        code, out, _err = self._run(
            '--fix', servers=[[record(request_spec_mb=512), GOOD]])
        self.assertEqual(
            (0, '1 servers compared, 0 in transit left out\n'
                '0 differences\n'), (code, out))

    def test_nothing_allocated(self):
        bad = record(allocated_mb=None)
        code, out, err = self._run(servers=[[bad]])
        self.assertEqual((1, ''), (code, err))
        self.assertIn('allocation', out)
        # The host is not even asked.
        code, out, err = self._run('--fix', servers=[[bad], [GOOD]])
        self.assertEqual(2, code)
        self.assertEqual([], self.census.corrected)
        self.assertIn(GOOD.uuid, err)
        self.assertIn('nova-manage placement heal_allocations', err)
        self.assertEqual('1 differences', out.splitlines()[-1])

    def test_without_fix_nothing_is_corrected(self):
        code, out, _err = self._run(servers=[[record(allocated_mb=2048)]])
        self.assertEqual(1, code)
        self.assertNotIn('Corrected:', out)
        self.assertEqual([], self.census.corrected)

    @ddt.data((audit.Unreadable('host a does not answer'),
               'host a does not answer\n'),
              (ValueError('what'), 'Server bad: ValueError: what\n'))
    @ddt.unpack
    def test_unreadable_server_stops_nothing(self, failure, sentence):
        """What was found at the first look counts then."""
        bad = record(uuid='bad', instance_mb=1)
        code, out, err = self._run(servers=[[bad, failure], [GOOD]])
        self.assertEqual((2, sentence), (code, err))
        self.assertIn('bad', out)
        self.assertIn('2 servers compared', out)

    def test_host_refuses_to_fix(self):
        bad = record(instance_mb=1)
        code, out, err = self._run('--fix', servers=[
            [bad, bad, audit.Unreadable('host a refuses')]])
        self.assertEqual((2, 'host a refuses\n'), (code, err))
        self.assertIn('Different:', out)
        self.assertEqual('1 differences', out.splitlines()[-1])

    def test_prints_what_was_found_before_a_failure(self):
        code, out, err = self._run(
            servers=[[record(guest_mb=1152)], [record(instance_mb=1)]],
            failure=ValueError('no cell'))
        self.assertEqual((2, 'ValueError: no cell\n'), (code, err))
        self.assertEqual('2 differences', out.splitlines()[-1])

    def test_prints_what_was_found_when_interrupted(self):
        with mock.patch.object(manage, '_print') as shown:
            self.assertRaises(
                KeyboardInterrupt, self._run,
                servers=[[record(guest_mb=1152)]],
                failure=KeyboardInterrupt())
        (result,) = shown.call_args.args
        self.assertEqual(1, len(result.remaining))

    def test_scope(self):
        self._run('--cell', 'a', '--host', 'b', '--host', 'c', '--server',
                  'd', servers=[])
        self.assertEqual(
            (['a'], ['b', 'c'], ['d']),
            (self.scope.cells, self.scope.hosts, self.scope.servers))

    def test_failure(self):
        err = io.StringIO()
        census = mock.Mock(side_effect=ValueError('no configuration'))
        with (mock.patch.object(manage, '_census', census),
              contextlib.redirect_stderr(err)):
            self.assertEqual(2, manage.main(['audit']))
        self.assertEqual(
            'Failed: ValueError: no configuration\n', err.getvalue())
