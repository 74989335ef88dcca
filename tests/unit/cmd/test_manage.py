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


@dataclasses.dataclass
class Server:
    """A server: what is on record now, and once it has been corrected."""

    now: audit.Record | None
    then: audit.Record | None = None
    is_settled: bool = True


class Census:
    def __init__(self, *servers):
        self._servers = servers

    def servers(self):
        return self._servers

    def read(self, server):
        if server.now is None:
            raise audit.Unreadable('host a does not answer')
        return server.now

    def correct(self, server):
        if server.then is None:
            raise audit.Unreadable('host a refuses')
        return Server(server.then)


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

    def _run(self, *argv, servers):
        out, err = io.StringIO(), io.StringIO()
        census = mock.Mock(return_value=Census(*servers))
        with (mock.patch.object(manage, '_census', census),
              mock.patch.object(manage.rpc, 'cleanup'),
              contextlib.redirect_stdout(out),
              contextlib.redirect_stderr(err)):
            code = manage.main(['audit', *argv])
        return code, out.getvalue(), err.getvalue()

    @ddt.data((), ('--fix',))
    def test_clean(self, argv):
        code, out, err = self._run(*argv, servers=[Server(GOOD)] * 2)
        self.assertEqual(
            (0, '2 servers compared, 0 in transit left out\n'
                '0 differences\n', ''), (code, out, err))

    def test_names_what_differs(self):
        code, out, _err = self._run(servers=[
            Server(GOOD), Server(record(uuid='bad', guest_mb=1152))])
        self.assertEqual(1, code)
        self.assertIn('| bad    | a    | live domain  | 1152      | 1024', out)
        self.assertEqual('1 differences', out.splitlines()[-1])
        self.assertNotIn(GOOD.uuid, out)

    def test_leaves_out_what_is_in_transit(self):
        code, out, _err = self._run(
            servers=[Server(record(guest_mb=1), is_settled=False)])
        self.assertEqual(0, code)
        self.assertIn('0 servers compared, 1 in transit', out)

    def test_fix(self):
        code, out, _err = self._run('--fix', servers=[
            Server(record(allocated_mb=2048), GOOD), Server(GOOD)])
        self.assertEqual(0, code)
        self.assertIn('Corrected:', out)
        self.assertNotIn('Different:', out)
        self.assertEqual('0 differences', out.splitlines()[-1])

    def test_fix_does_not_do_all(self):
        code, out, _err = self._run('--fix', servers=[Server(
            record(allocated_mb=2048, instance_mb=512),
            record(allocated_mb=2048))])
        self.assertEqual(1, code)
        corrected, different = out.split('Different:')
        self.assertIn('instance', corrected)
        self.assertNotIn('allocation', corrected)
        self.assertIn('allocation', different)

    def test_host_is_down(self):
        # Nothing can be done, and nothing went wrong.
        bad = record(allocated_mb=2048, guest_mb=None)
        code, out, err = self._run('--fix', servers=[Server(bad, bad)])
        self.assertEqual((1, ''), (code, err))
        self.assertNotIn('Corrected:', out)
        self.assertEqual('1 differences', out.splitlines()[-1])

    def test_request_spec_is_behind(self):
        behind = record(request_spec_mb=512)
        code, out, _err = self._run(
            servers=[Server(behind), Server(GOOD), Server(behind)])
        self.assertEqual(
            (0, '3 servers compared, 0 in transit left out\n'
                '2 request specs are behind; they are brought up to date '
                'with the next move\n0 differences\n'), (code, out))

    def test_fix_brings_request_specs_up_to_date(self):
        code, out, _err = self._run(
            '--fix', servers=[Server(record(request_spec_mb=512), GOOD)])
        self.assertEqual(
            (0, '1 servers compared, 0 in transit left out\n'
                '0 differences\n'), (code, out))

    def test_nothing_allocated(self):
        bad = record(allocated_mb=None)
        code, out, err = self._run(servers=[Server(bad)])
        self.assertEqual((1, ''), (code, err))
        self.assertIn('allocation', out)
        # The host is not even asked.
        code, out, err = self._run(
            '--fix', servers=[Server(bad, GOOD), Server(GOOD)])
        self.assertEqual(2, code)
        self.assertIn(GOOD.uuid, err)
        self.assertIn('nova-manage placement heal_allocations', err)
        self.assertEqual('1 differences', out.splitlines()[-1])

    def test_without_fix_nothing_is_corrected(self):
        code, out, _err = self._run(
            servers=[Server(record(allocated_mb=2048), GOOD)])
        self.assertEqual(1, code)
        self.assertNotIn('Corrected:', out)

    def test_unreadable_server_stops_nothing(self):
        code, out, err = self._run(servers=[
            Server(None), Server(record(uuid='bad', instance_mb=1))])
        self.assertEqual((2, 'host a does not answer\n'), (code, err))
        self.assertIn('bad', out)

    def test_host_refuses_to_fix(self):
        code, out, err = self._run(
            '--fix', servers=[Server(record(instance_mb=1))])
        self.assertEqual((2, 'host a refuses\n'), (code, err))
        self.assertIn('Different:', out)
        self.assertEqual('1 differences', out.splitlines()[-1])

    def test_failure(self):
        err = io.StringIO()
        census = mock.Mock(side_effect=ValueError('no cell'))
        with (mock.patch.object(manage, '_census', census),
              contextlib.redirect_stderr(err)):
            self.assertEqual(2, manage.main(['audit']))
        self.assertEqual('Failed: ValueError: no cell\n', err.getvalue())
