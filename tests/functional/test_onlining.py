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

"""Memory that the books count stays in use."""

import time
from unittest import mock

from nova import objects

from nova_memhotplug.common import rpcapi
from tests.functional import base
from tests.functional import fixtures

AGENT = {'hw_qemu_guest_agent': 'yes'}
#: libvirt's numbers for a channel that was connected, and one that was not.
CONNECTED, DISCONNECTED = 1, 2
AGENT_LIFECYCLE = 18


class ForgetfulGuest:
    """The agent of a guest whose kernel leaves new memory offline.

    It uses what it was told to, until it starts again.
    """

    def __init__(self, obeys=True):
        self.obeys = obeys
        self.online = set()
        #: How many blocks it was told to use, by command.
        self.told = []

    def __call__(self, domain, question):
        if question['execute'] == 'guest-set-memory-blocks':
            blocks = question['arguments']['mem-blks']
            self.told.append(len(blocks))
            if self.obeys:
                self.online |= {block['phys-index'] for block in blocks}
            return []
        answer = fixtures.all_blocks_online(domain, question)
        if isinstance(answer, list):
            for block in answer:
                block['online'] = block['phys-index'] in self.online
        return answer

    def start_again(self):
        self.online = set()
        self.told = []


class OnliningTestBase(base.MemoryTestBase):

    def setUp(self):
        super().setUp()
        self.flags(confirm_timeout=1, group='memhotplug')
        self.forgetful = ForgetfulGuest()
        self.memory_libvirt.domain.agent = staticmethod(self.forgetful)
        # Nova's tests have no thread that waits for libvirt's events.
        driver = self.computes['compute1'].driver
        handler = type(getattr(driver._host, '_event_handler', driver._host))
        self.stub_out(
            '%s.%s._queue_event' % (handler.__module__, handler.__name__),
            lambda _self, event: driver.emit_event(event))

    def boot_grown(self, memory_mb=1024):
        server = self.boot(base.ELASTIC, properties=AGENT)
        self.grow(server, memory_mb)
        self.assert_in_use(server, memory_mb)
        return server

    def agent_says(self, server, state):
        """Have libvirt tell of the agent of a server."""
        fake = self.fake_domain(server)
        connection = self.computes['compute1'].driver._host.get_connection()
        callback, opaque = connection._event_callbacks[AGENT_LIFECYCLE]
        callback(connection, fake, state, 1, opaque)

    def in_use_mb(self):
        return base.BOOT_MB + fixtures.BLOCK_MIB * len(self.forgetful.online)

    def assert_in_use(self, server, total_mb):
        """The guest uses what the books count, in a moment."""
        for _wait in range(100):
            if self.in_use_mb() == total_mb:
                break
            time.sleep(0.05)
        self.assertEqual(total_mb, self.in_use_mb())
        self.assert_books(server, total_mb)

    def wait_for_rest(self):
        """Wait until the host looks into no guest."""
        onliner = self.computes['compute1'].driver._onliner
        for _wait in range(100):
            if not onliner._errands._is_working:
                return
            time.sleep(0.05)
        self.fail('It still works.')


class TestOnlining(OnliningTestBase):

    def test_agent_begins_to_listen(self):
        server = self.boot_grown()
        self.forgetful.start_again()
        self.agent_says(server, DISCONNECTED)
        self.wait_for_rest()
        self.assertEqual(base.BOOT_MB, self.in_use_mb())
        self.agent_says(server, CONNECTED)
        self.assert_in_use(server, 1024)
        # Another time there is nothing to do.
        self.agent_says(server, CONNECTED)
        self.wait_for_rest()
        self.assertEqual([4], self.forgetful.told)

    def test_repeated_request(self):
        """It changes nothing, but it looks (report P2)."""
        server = self.boot_grown()
        self.forgetful.start_again()
        status, body = self.resize(server, 1024)
        self.assertEqual(202, status, body)
        self.assertIs(False, body['memory']['changed'])
        self.assert_in_use(server, 1024)
        self.assertEqual(1, len(self.events(server)))

    def test_service_start(self):
        """Nobody tells of agents that listened before."""
        server = self.boot_grown()
        self.forgetful.start_again()
        self.restart_compute_service('compute1')
        self.assert_in_use(server, 1024)

    def test_new_connection(self):
        """libvirt forgets with a connection who wanted to know."""
        server = self.boot_grown()
        self.run_periodic_task()
        self.wait_for_rest()
        self.forgetful.start_again()
        host = self.computes['compute1'].driver._host
        old = host.get_connection()
        new = mock.Mock(wraps=old, _event_callbacks=old._event_callbacks)
        with mock.patch.object(host, 'get_connection', return_value=new):
            self.run_periodic_task()
            self.assert_in_use(server, 1024)
            self.run_periodic_task()
            # Of agents, and of what guests have.
            self.assertEqual(2, new.domainEventRegisterAny.call_count)

    def test_no_connection(self):
        """A later periodic task tries again; Nova's goes on."""
        server = self.boot_grown()
        self.forgetful.start_again()
        events = self.computes['compute1'].driver._onliner._events
        events._connection = None
        with mock.patch.object(
                events, 'listen', side_effect=RuntimeError('no libvirt')):
            self.run_periodic_task()
        self.assertEqual(base.BOOT_MB, self.in_use_mb())
        self.run_periodic_task()
        self.assert_in_use(server, 1024)

    def test_guest_that_does_not_obey(self):
        """It is told once for each time that its agent comes."""
        server = self.boot_grown()
        self.forgetful.start_again()
        self.forgetful.obeys = False
        with self.assertLogs('nova_memhotplug.compute.onlining') as logged:
            self.agent_says(server, CONNECTED)
            self.wait_for_rest()
        self.assertIn('leaves 512 of 512 MiB offline', logged.output[-1])
        self.assertEqual([4], self.forgetful.told)

    def test_one_guest_does_not_keep_others_waiting(self):
        """Whatever goes wrong with one, the next is looked at."""
        server = self.boot_grown()
        self.forgetful.start_again()
        guests = self.computes['compute1'].driver._guests
        real = guests.find
        with mock.patch.object(guests, 'find', side_effect=lambda uuid: (
                real(uuid) if uuid == server['id'] else 1 / 0)):
            onliner = self.computes['compute1'].driver._onliner
            onliner.remember('another')
            self.agent_says(server, CONNECTED)
            self.assert_in_use(server, 1024)

    def test_server_of_another_host(self):
        self.computes['compute1'].driver._onliner.remember(
            '7e0c2b1f-7f0f-4f0f-8a0d-3c4f4cf0a001')
        self.wait_for_rest()
        self.assertEqual([], self.forgetful.told)

    def test_guest_that_never_grew(self):
        """Its agent is not asked."""
        server = self.boot(base.ELASTIC, properties=AGENT)
        agent = mock.Mock(side_effect=fixtures.all_blocks_online)
        self.memory_libvirt.domain.agent = staticmethod(agent)
        self.agent_says(server, CONNECTED)
        self.wait_for_rest()
        agent.assert_not_called()

    def test_operator_does_not_want_it(self):
        server = self.boot_grown()
        self.flags(online_guest_memory=False, group='memhotplug')
        self.forgetful.start_again()
        self.agent_says(server, CONNECTED)
        self.resize(server, 1024)
        self.wait_for_rest()
        self.assertEqual([], self.forgetful.told)

    def test_many_blocks(self):
        """A guest is told of 64 blocks at a time (review V13)."""
        server = self.boot(dict(
            base.ELASTIC, **{'memhotplug:max_memory_mb': '12288'}),
            properties=AGENT)
        self.grow(server, base.BOOT_MB + 70 * fixtures.BLOCK_MIB)
        self.assertEqual([64, 6], self.forgetful.told)

    def test_older_host(self):
        """A host that does not know the question is not asked."""
        server = self.boot_grown()
        self.forgetful.start_again()
        node = objects.ComputeNode.get_first_node_by_host_for_old_compat(
            self.ctxt, 'compute1')
        node.stats = dict(node.stats, **{rpcapi.STAT: '1.2'})
        node.save()
        with mock.patch.object(
                rpcapi.MemHotplugAPI, 'use_memory') as use_memory:
            status, body = self.resize(server, 1024)
        self.assertEqual(202, status, body)
        use_memory.assert_not_called()
