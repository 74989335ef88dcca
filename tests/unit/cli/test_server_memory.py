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

"""The commands against a compute proxy that answers what a test says."""

import argparse
import contextlib
import io
import json
from unittest import mock

import ddt
from openstack import exceptions as sdk_exceptions
from osc_lib import exceptions
import requests
import testtools

from nova_memhotplug.cli import client
from nova_memhotplug.cli import server_memory

ID = '5a7b1c1e-6f0a-4c1c-8a50-0f2d0e5ac8f1'
REQUEST_ID = 'req-3d4f4a55-3b2b-4c52-9a9b-1b1f2f2b9c11'
FLAVOR_ID = '9f2b6a0c-2a7e-4f25-8c39-0d3f0a7c1e44'

DEVICE = {'model': 'dimm', 'alias': 'ua-memhotplug-0', 'slot': 0,
          'node': 1, 'size_mb': 512, 'address': '0x100000000'}
PLANNED = {'model': 'dimm', 'node': 1, 'size_mb': 512}
MEMORY = {
    'boot_mb': 512, 'current_mb': 1024, 'requested_mb': 1024,
    'min_mb': 512, 'max_mb': 4096, 'step_mb': 128,
    'slots': {'total': 8, 'used': 1, 'free': 7},
    'devices': [DEVICE], 'zero_node': 1, 'strategy': 'shim',
    'bounce_buffer_mb': 64,
    'guest': {'agent': True, 'online_mb': 1024, 'confirmed': True},
    'can_grow': True, 'reasons': [],
    'last_resize': {'request_id': REQUEST_ID, 'status': 'done',
                    'message': None},
}
ACCEPTED = {'memory_mb': 1024, 'current_mb': 512, 'changed': True,
            'devices': [PLANNED], 'removed': [],
            'message': 'The memory is being added.'}


def answer(status, body=None, **headers):
    response = requests.Response()
    response.status_code = status
    response.reason = 'a reason'
    response._content = (body if isinstance(body, bytes)
                         else json.dumps(body).encode())
    response.headers.update(headers)
    return response


def fault(status, message, **more):
    return answer(status, {'someFault': dict(
        more, code=status, message=message)})


class FakeCompute:
    """A compute proxy: answers by path, the last one for ever."""

    def __init__(self, **answers):
        self.answers = answers
        self.requests = []

    def find_server(self, name_or_id, ignore_missing):
        assert ignore_missing is False
        if name_or_id not in ('vm', ID):
            raise sdk_exceptions.NotFoundException(
                'No Server found for %s' % name_or_id)
        return mock.Mock(id=ID)

    def find_flavor(self, name_or_id, ignore_missing):
        assert ignore_missing is False
        if name_or_id != 'larger':
            raise sdk_exceptions.NotFoundException(
                'No Flavor found for %s' % name_or_id)
        return mock.Mock(id=FLAVOR_ID)

    def _next(self, name):
        answers = self.answers[name]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def get(self, path, params=None):
        self.requests.append(('GET', path, params))
        if path == '/servers/%s/os-memory' % ID:
            return self._next('memory')
        assert path == '/servers/%s' % ID, path
        return self._next('server')

    def post(self, path, json):
        assert path == '/servers/%s/action' % ID
        self.requests.append(('POST', path, json))
        return self._next('resize')


def memory(**changes):
    return answer(200, {'memory': dict(MEMORY, **changes)})


def accepted(**changes):
    return answer(202, {'memory': dict(ACCEPTED, **changes)},
                  **{'x-openstack-request-id': REQUEST_ID})


def last(status, message=None, request_id=REQUEST_ID, outcome=None):
    """What the API says of the last resize."""
    return {'request_id': request_id, 'status': status, 'message': message,
            'outcome': outcome}


def done(verdict, mb=512, evidence='agent', final=True):
    """What it says of one that is over."""
    return last('done', outcome={
        'verdict': verdict, 'mb': mb, 'of_mb': 512, 'evidence': evidence,
        'time': '2026-11-28T08:00:00+00:00', 'final': final})


def server(task_state=None):
    return answer(200, {'server': {
        'id': ID, 'OS-EXT-STS:task_state': task_state}})


class CommandTestCase(testtools.TestCase):

    def run_command(self, command, compute, *argv):
        """Parse the arguments, run the command, return {column: value}."""
        app = mock.Mock()
        app.client_manager.sdk_connection.compute = compute
        cmd = command(app, None)
        parsed = cmd.get_parser('openstack server memory').parse_args(argv)
        names, values = cmd.take_action(parsed)
        return dict(zip(names, values))


class ListTestCase(testtools.TestCase):

    SLOTS = {'total': 8, 'used': 1, 'free': 7}

    def page(self, *names, is_last=False):
        body = {'servers': [{
            'id': 'id-' + name, 'name': name, 'memory': {
                'boot_mb': 512, 'current_mb': 1024, 'max_mb': 4096,
                'slots': self.SLOTS, 'source': 'note'}} for name in names]}
        links = {} if is_last else {'servers_links': [{'rel': 'next'}]}
        return answer(200, body | links)

    def list(self, pages, *argv):
        app = mock.Mock()
        compute = app.client_manager.sdk_connection.compute
        compute.get.side_effect = pages
        cmd = server_memory.ListServerMemory(app, None)
        parsed = cmd.get_parser('openstack server memory').parse_args(argv)
        names, rows = cmd.take_action(parsed)
        rows = [dict(zip(names, row)) for row in rows]
        return rows, [call.kwargs['params']
                      for call in compute.get.call_args_list]

    def test_pages(self):
        rows, asked = self.list([
            self.page('a', 'b'), self.page('c', is_last=True)])
        self.assertEqual(['a', 'b', 'c'], [row['name'] for row in rows])
        self.assertEqual([{}, {'marker': 'id-b'}], asked)
        self.assertEqual('1 of 8 used', rows[0].pop('slots').human_readable())
        self.assertEqual({
            'id': 'id-a', 'name': 'a', 'boot_mb': 512, 'current_mb': 1024,
            'max_mb': 4096}, rows[0])

    def test_limit(self):
        """A cloud may have smaller pages."""
        rows, asked = self.list(
            [self.page('a', 'b'), self.page('c')], '--limit', '3',
            '--marker', 'id-x')
        self.assertEqual(3, len(rows))
        self.assertEqual([{'limit': 3, 'marker': 'id-x'},
                          {'limit': 1, 'marker': 'id-b'}], asked)

    def test_refused(self):
        exc = self.assertRaises(
            exceptions.CommandError, self.list,
            [fault(400, 'marker [x] not found')], '--marker', 'x')
        self.assertIn('marker [x] not found', str(exc))


class ShowTestCase(CommandTestCase):

    def show(self, compute):
        return self.run_command(
            server_memory.ShowServerMemory, compute, 'vm')

    def test_every_key_is_a_column(self):
        shown = self.show(FakeCompute(memory=[memory()]))
        self.assertEqual(set(MEMORY), set(shown))
        self.assertEqual(1024, shown['current_mb'])

    def test_machine_readable_is_as_the_api_says(self):
        shown = self.show(FakeCompute(memory=[memory()]))
        for key in ('devices', 'slots', 'guest', 'last_resize', 'reasons'):
            self.assertEqual(MEMORY[key], shown[key].machine_readable())

    def test_human_readable(self):
        shown = self.show(FakeCompute(memory=[memory(
            reasons=[{'code': 'no_free_slot',
                      'message': 'All 8 slots are used.'}],
            last_resize=last('failed', 'The host is full.'))]))
        words = {key: value.human_readable() for key, value in shown.items()
                 if hasattr(value, 'human_readable')}
        self.assertEqual(
            'ua-memhotplug-0: 512 MiB dimm on node 1, slot 0, '
            'at 0x100000000',
            words['devices'])
        self.assertEqual('1 of 8 used', words['slots'])
        self.assertEqual('1024 MiB online, all of it confirmed',
                         words['guest'])
        self.assertEqual('failed: The host is full.', words['last_resize'])
        self.assertEqual(
            'done: offline, 128 of 512 MiB, evidence: balloon',
            self.show(FakeCompute(memory=[memory(last_resize=done(
                'offline', 128, 'balloon'))]))['last_resize'].human_readable())
        self.assertEqual('All 8 slots are used. (no_free_slot)',
                         words['reasons'])

    def test_the_guest_is_asked(self):
        compute = FakeCompute(memory=[memory()])
        self.show(compute)
        self.assertEqual([('GET', '/servers/%s/os-memory' % ID,
                           {'guest': 'true'})], compute.requests)

    def test_guest(self):
        for agent, online_mb, confirmed, words in (
                (False, None, None, 'no agent answers'),
                (None, None, None, 'not asked'),
                (True, None, None, 'the agent does not say'),
                (True, 512, None, '512 MiB online'),
                (True, 512, False, '512 MiB online, not all confirmed')):
            shown = self.show(FakeCompute(memory=[memory(guest={
                'agent': agent, 'online_mb': online_mb,
                'confirmed': confirmed})]))
            self.assertEqual(words, shown['guest'].human_readable())

    def test_host_was_not_asked(self):
        """As for a server that does not run."""
        device = dict(DEVICE, alias=None, address=None)
        shown = self.show(FakeCompute(memory=[memory(
            guest=None, source='flavor', devices=[device])]))
        self.assertEqual('not asked', shown['guest'].human_readable())
        self.assertIsNone(shown['guest'].machine_readable())
        self.assertEqual('512 MiB dimm on node 1, slot 0',
                         shown['devices'].human_readable())
        self.assertEqual('flavor', shown['source'])

    def test_unknown_and_empty_keys(self):
        shown = self.show(FakeCompute(memory=[memory(
            later='x', last_resize=None, zero_node=None)]))
        self.assertEqual('x', shown['later'])
        self.assertIsNone(shown['last_resize'])

    def test_no_such_server(self):
        self.assertRaises(
            sdk_exceptions.NotFoundException, self.run_command,
            server_memory.ShowServerMemory, FakeCompute(), 'other')

    def test_api_sentence(self):
        exc = self.assertRaises(
            exceptions.CommandError, self.show, FakeCompute(
                memory=[fault(403, 'Policy does not allow it.')]))
        self.assertEqual('Policy does not allow it. (HTTP 403)', str(exc))

    def test_code_of_a_refusal(self):
        exc = self.assertRaises(
            exceptions.CommandError, self.show, FakeCompute(
                memory=[fault(503, 'It is down.', reason='host_down')]))
        self.assertEqual('It is down. (HTTP 503, host_down)', str(exc))

    def test_cloud_without_the_feature(self):
        exc = self.assertRaises(
            exceptions.CommandError, self.show, FakeCompute(
                memory=[answer(404, b'404 Not Found')]))
        self.assertIn('has no memory hot-plug', str(exc))

    def test_error_without_a_fault_body(self):
        exc = self.assertRaises(
            exceptions.CommandError, self.show, FakeCompute(
                memory=[answer(502, [])]))
        self.assertEqual('a reason (HTTP 502)', str(exc))


class PlanTestCase(CommandTestCase):

    PLAN = {'memory_mb': 1536, 'possible': True, 'devices': [PLANNED],
            'reasons': []}

    def plan(self, compute, size):
        return self.run_command(
            server_memory.PlanServerMemory, compute, 'vm', '--size', size)

    def test_total(self):
        compute = FakeCompute(memory=[memory(plan=self.PLAN)])
        planned = self.plan(compute, '1536')
        self.assertEqual([('GET', '/servers/%s/os-memory' % ID,
                           {'memory_mb': 1536})], compute.requests)
        self.assertIs(True, planned['possible'])
        self.assertEqual('512 MiB dimm on node 1',
                         planned['devices'].human_readable())

    def test_source(self):
        compute = FakeCompute(memory=[memory(
            plan=self.PLAN, guest=None, source='note')])
        self.assertEqual('note', self.plan(compute, '1536')['source'])

    def test_every_reason(self):
        reasons = [
            {'code': 'host_full', 'message': 'The host is full.'},
            {'code': 'not_allowed', 'message': 'You may not.'}]
        plan = dict(self.PLAN, possible=False, devices=[], reasons=reasons)
        planned = self.plan(FakeCompute(memory=[memory(
            plan=plan, guest=None, source='note')]), '1536')
        self.assertIs(False, planned['possible'])
        self.assertEqual(
            'The host is full. (host_full)\nYou may not. (not_allowed)',
            planned['reasons'].human_readable())
        self.assertEqual(reasons, planned['reasons'].machine_readable())

    def test_addition_counts_from_the_books(self):
        compute = FakeCompute(memory=[
            memory(current_mb=512), memory(plan=self.PLAN)])
        self.plan(compute, '+512')
        self.assertEqual({'memory_mb': 1536}, compute.requests[-1][2])


@ddt.ddt
class SetTestCase(CommandTestCase):

    def setUp(self):
        super().setUp()
        patcher = mock.patch.object(client.time, 'sleep')
        self.sleep = patcher.start()
        self.addCleanup(patcher.stop)

    def set(self, compute, *argv):
        return self.run_command(
            server_memory.SetServerMemory, compute, 'vm', *argv)

    def test_total(self):
        compute = FakeCompute(resize=[accepted()])
        after = self.set(compute, '--size', '1024')
        self.assertEqual([('POST', '/servers/%s/action' % ID,
                           {'resizeMemory': {'memory_mb': 1024}})],
                         compute.requests)
        self.assertEqual('The memory is being added.', after['message'])
        self.assertEqual([PLANNED], after['devices'].machine_readable())

    def test_addition(self):
        compute = FakeCompute(memory=[memory()], resize=[accepted()])
        self.set(compute, '--size', '+2048')
        self.assertEqual({'resizeMemory': {'memory_mb': 3072}},
                         compute.requests[-1][2])

    @ddt.data(400, 403, 404, 409)
    def test_refused(self, status):
        compute = FakeCompute(resize=[fault(status, '1000 is no multiple.')])
        exc = self.assertRaises(exceptions.CommandError, self.set, compute,
                                '--size', '1000')
        self.assertEqual('1000 is no multiple. (HTTP %d)' % status, str(exc))

    def test_flavor(self):
        compute = FakeCompute(resize=[accepted()])
        after = self.set(compute, '--flavor', 'larger')
        self.assertEqual([('POST', '/servers/%s/action' % ID,
                           {'resizeMemory': {'flavorRef': FLAVOR_ID}})],
                         compute.requests)
        self.assertIs(True, after['changed'])

    def test_no_such_flavor(self):
        compute = FakeCompute()
        self.assertRaises(sdk_exceptions.NotFoundException, self.set,
                          compute, '--flavor', 'other')
        self.assertEqual([], compute.requests)

    @ddt.data((), ('--flavor', 'larger', '--size', '1024'))
    def test_size_or_flavor(self, argv):
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            self.assertRaises(SystemExit, self.set, FakeCompute(), *argv)
        self.assertIn('--flavor', errors.getvalue())

    def wait(self, compute, *argv):
        return self.set(compute, '--size', '1024', '--wait', *argv)

    def assert_failed(self, sentence, compute, *argv):
        exc = self.assertRaises(
            exceptions.CommandError, self.wait, compute, *argv)
        self.assertEqual(sentence, str(exc))

    def test_wait(self):
        compute = FakeCompute(
            resize=[accepted()], memory=[memory()],
            server=[server('resize_prep'), server('resize_prep'), server()])
        after = self.wait(compute)
        self.assertEqual(1024, after['memory_mb'])
        self.assertEqual(1024, after['current_mb'])
        self.assertEqual('confirmed by the guest', after['message'])
        self.assertEqual(2, self.sleep.call_count)
        self.assertEqual(('GET', '/servers/%s/os-memory' % ID,
                          {'guest': 'true'}), compute.requests[-1])

    def test_wait_asks_less_and_less_often(self):
        compute = FakeCompute(
            resize=[accepted()], memory=[memory()],
            server=[server('resize_prep')] * 12 + [server()])
        self.wait(compute)
        waited = [call.args[0] for call in self.sleep.call_args_list]
        self.assertEqual(sorted(waited), waited)
        self.assertLess(waited[0], 1)
        self.assertEqual([5, 5], waited[-2:])

    def test_wait_for_a_flavor(self):
        compute = FakeCompute(
            resize=[accepted()], memory=[memory()], server=[server()])
        after = self.set(compute, '--flavor', 'larger', '--wait')
        self.assertEqual(1024, after['current_mb'])

    def test_wait_without_an_agent(self):
        compute = FakeCompute(
            resize=[accepted()], server=[server()], memory=[memory(guest={
                'agent': False, 'online_mb': None, 'confirmed': None})])
        self.assertEqual('attached, not confirmed',
                         self.wait(compute)['message'])

    @ddt.data(('confirmed', 'confirmed by the guest'),
              ('offline', 'attached, the guest does not use all of it'),
              ('unconfirmed', 'attached, not confirmed'),
              # Of a later version of the API.
              ('enchanted', 'enchanted'))
    @ddt.unpack
    def test_wait_for_an_outcome(self, verdict, message):
        """What is on record of the request counts, not what is so by now."""
        compute = FakeCompute(
            resize=[accepted()], server=[server()],
            memory=[memory(last_resize=done(verdict))])
        self.assertEqual(message, self.wait(compute)['message'])

    def test_wait_for_what_is_pending(self):
        compute = FakeCompute(
            resize=[accepted()], server=[server()], memory=[
                memory(last_resize=done('pending', 0)),
                memory(last_resize=done('confirmed'))])
        self.assertEqual('confirmed by the guest',
                         self.wait(compute)['message'])

    def code(self, compute, *argv):
        """Run the command as the shell does; return what it exits with."""
        app = mock.Mock(stdout=io.StringIO())
        app.client_manager.sdk_connection.compute = compute
        command = server_memory.SetServerMemory(app, None)
        return command.run(command.get_parser('openstack').parse_args(
            ['vm', '--size', '1024', *argv]))

    @ddt.data(
        (0, done('confirmed')), (0, done('confirmed', evidence='balloon')),
        (3, done('unconfirmed', 0, 'none')), (3, done('offline', 128)),
        # It is found out later.
        (0, done('unconfirmed', 0, 'none', False), done('confirmed')),
        (3, done('unconfirmed', 0, 'none', False), done('offline', 0)),
        # An older API, and one that does not know.
        (0, last('done')), (3, None))
    @ddt.unpack
    def test_require_confirmed(self, code, *found):
        def compute():
            guest = MEMORY['guest'] if found[0] else {'agent': False}
            return FakeCompute(
                resize=[accepted()], server=[server()], memory=[
                    memory(last_resize=one, guest=guest) for one in found])

        self.assertEqual(code, self.code(compute(), '--require-confirmed'))
        # Who does not ask for it is not told so.
        self.assertEqual(0, self.code(compute(), '--wait'))

    @ddt.data((0, 1024), (3, 512), (3, None))
    @ddt.unpack
    def test_require_confirmed_of_what_is_there(self, code, usable_mb):
        compute = FakeCompute(resize=[accepted(changed=False)], memory=[
            memory(usable_mb=usable_mb)])
        self.assertEqual(code, self.code(compute, '--require-confirmed'))

    def test_require_confirmed_takes_too_long(self):
        compute = FakeCompute(
            resize=[accepted()], server=[server()], memory=[
                memory(last_resize=done('unconfirmed', 0, 'none', False))])
        with mock.patch.object(client.time, 'monotonic',
                               side_effect=[0, 1, 2, 8]):
            self.assertEqual(3, self.code(
                compute, '--require-confirmed', '--timeout', '7'))

    @ddt.data(True, False)
    def test_progress(self, is_terminal):
        terminal = io.StringIO()
        terminal.isatty = lambda: is_terminal
        with mock.patch.object(server_memory.sys, 'stderr', terminal):
            self.wait(FakeCompute(
                resize=[accepted()], server=[server('resize_prep'), server()],
                memory=[memory(current_mb=512)] * is_terminal + [
                    memory(usable_mb=640)]))
        self.assertEqual(
            '\r0 of 512 MiB \r128 of 512 MiB \n' if is_terminal else '',
            terminal.getvalue())

    def test_wait_until_it_is_given_back(self):
        compute = FakeCompute(
            resize=[accepted(memory_mb=512, devices=[], removed=[PLANNED])],
            server=[server()], memory=[memory(current_mb=512)])
        after = self.wait(compute)
        self.assertEqual((512, 'given back by the guest'),
                         (after['current_mb'], after['message']))

    def test_wait_for_what_the_guest_keeps(self):
        self.assert_failed(
            'The resize failed: it is not on record why. The server has 1024 '
            'MiB.', FakeCompute(
                resize=[accepted(memory_mb=512, removed=[PLANNED])],
                server=[server()], memory=[memory(last_resize=None)]))

    def test_give_back(self):
        compute = FakeCompute(
            resize=[accepted(memory_mb=512)], memory=[memory()])
        self.set(compute, '--size', '-512')
        self.assertEqual({'resizeMemory': {'memory_mb': 512}},
                         compute.requests[-1][2])

    def test_wait_for_a_repeated_request(self):
        compute = FakeCompute(resize=[accepted(changed=False)])
        self.assertIs(False, self.wait(compute)['changed'])

    @ddt.data('The host is full.', 'The host is full')
    def test_wait_shows_why_it_failed(self, message):
        self.assert_failed(
            'The resize failed: The host is full. The server has 512 MiB.',
            FakeCompute(resize=[accepted()], server=[server()],
                        memory=[memory(current_mb=512, last_resize=last(
                            'failed', message))]))

    def test_wait_for_a_failure_that_left_the_memory(self):
        self.assert_failed(
            'The resize failed: The database is away. '
            'The server has 1024 MiB.',
            FakeCompute(resize=[accepted()], server=[server()],
                        memory=[memory(last_resize=last(
                            'failed', 'The database is away.'))]))

    def test_wait_for_the_record(self):
        """The outcome is written a moment after the task is over."""
        compute = FakeCompute(
            resize=[accepted()], server=[server()], memory=[
                memory(last_resize=last('running')), memory()])
        self.assertEqual(1024, self.wait(compute)['current_mb'])
        self.assertEqual(1, self.sleep.call_count)

    @ddt.data(None, last('running'), last('done', request_id='req-other'),
              last('failed', 'Another one failed.', 'req-other'))
    def test_wait_without_a_record(self, outcome):
        """What the server has decides; other requests do not matter."""
        def compute(current_mb):
            return FakeCompute(
                resize=[accepted()], server=[server()], memory=[memory(
                    current_mb=current_mb, last_resize=outcome)])

        self.assertEqual(1024, self.wait(compute(1024))['current_mb'])
        self.assert_failed(
            'The resize failed: it is not on record why. '
            'The server has 512 MiB.', compute(512))

    def test_wait_takes_too_long(self):
        compute = FakeCompute(
            resize=[accepted()], server=[server('resize_prep')])
        with mock.patch.object(client.time, 'monotonic',
                               side_effect=[0, 1, 2, 8]):
            exc = self.assertRaises(
                exceptions.CommandError, self.wait, compute,
                '--timeout', '7')
        self.assertIn('after 7 seconds', str(exc))
        # Members read there why it failed.
        self.assertIn('openstack server memory show ' + ID, str(exc))


@ddt.ddt
class ArgumentsTestCase(testtools.TestCase):

    @ddt.data(('8192', 8192, False), ('+2048', 2048, True),
              ('-512', -512, True), ('8G', 8192, False), ('512M', 512, False),
              ('+2G', 2048, True), ('-1G', -1024, True))
    @ddt.unpack
    def test_size(self, text, mb, relative):
        self.assertEqual(server_memory.Size(mb, relative),
                         server_memory.parse_size(text))

    @ddt.data('', '0', '+0', '-0', '0G', '8T', '8g', '8 G', '--512', '1.5',
              '+', 'G', '1 024', '٣')
    def test_bad_size(self, text):
        exc = self.assertRaises(argparse.ArgumentTypeError,
                                server_memory.parse_size, text)
        self.assertIn('total in MiB (8192, or 8G)', str(exc))

    @ddt.data('', '0', '-1', '1.5', 'x')
    def test_bad_number(self, text):
        self.assertRaises(argparse.ArgumentTypeError,
                          server_memory.parse_number, text)

    @ddt.data('', '0', '-1', '1.5', 'x')
    def test_bad_timeout(self, text):
        self.assertRaises(argparse.ArgumentTypeError,
                          server_memory.parse_timeout, text)
