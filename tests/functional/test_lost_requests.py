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

"""Requests that nova-api has accepted and no host has received."""

import datetime
from unittest import mock

from nova.compute import instance_actions
from nova import context as nova_context
from nova import objects

from nova_memhotplug.common import rpcapi
from tests.functional import base

TIMEOUT = 300
SENTENCE = ('The request has not reached the host of this server within 300 '
            'seconds, so it was given up; the server is as it was.')


class Queue:
    """A broker that keeps what is cast to hosts until it is told to deliver.

    :param deliver: what casts
    """

    def __init__(self, deliver):
        self._deliver = deliver
        self._requests = []

    def __call__(self, *request):
        self._requests.append(request)

    def grow_old(self, seconds):
        """Let time go by for the servers as they are in the requests."""
        for _context, instance, *_wanted in self._requests:
            instance.updated_at -= datetime.timedelta(seconds=seconds)

    def deliver(self):
        """Deliver the oldest request."""
        self._deliver(*self._requests.pop(0))


class LostRequestsTestBase(base.MemoryTestBase):

    def setUp(self):
        super().setUp()
        self.flags(lost_request_timeout=TIMEOUT, group='memhotplug')
        self.server = self.boot_elastic()
        self.queue = None

    def lose_casts(self):
        """Let requests to resize memory reach no host.

        :returns: the ``Queue`` that has them
        """
        cast = rpcapi.MemHotplugAPI.resize_memory
        self.queue = queue = Queue(
            lambda *request: cast(self._hosts, *request))
        self._hosts = rpcapi.MemHotplugAPI()
        patch = mock.patch.object(
            rpcapi.MemHotplugAPI, 'resize_memory', side_effect=queue)
        patch.start()
        self.addCleanup(patch.stop)
        return queue

    def request(self, memory_mb):
        """Ask for a resize; return the task state of the server then."""
        status, body = self.resize(self.server, memory_mb)
        self.assertEqual(202, status, body)
        return self.task_state

    @property
    def task_state(self):
        """What goes on with the server."""
        return self.instance(self.server).task_state

    @property
    def last_resize(self):
        """Status and message of the last resize, as a tenant sees them."""
        last = self.show(self.server)[1]['memory']['last_resize']
        return last['status'], last['message']

    def wait_in_vain(self, seconds=TIMEOUT + 1):
        """Let time go by, and then the host's periodic task run."""
        self.grow_old(self.server, seconds)
        if self.queue is not None:
            self.queue.grow_old(seconds)
        self.run_periodic_task()

    def wait_for_log(self, sentence):
        """Wait until a host has said something."""
        self._wait_for_assert(
            lambda: self.assertIn(sentence, self.stdlog.logger.output))


class TestRelease(LostRequestsTestBase):

    def test_released(self):
        self.lose_casts()
        self.assertEqual('resize_prep', self.request(1024))
        self.wait_in_vain(TIMEOUT - 60)
        self.assertEqual('resize_prep', self.task_state)
        self.assertEqual(('running', None), self.last_resize)

        self.wait_in_vain(61)
        self.assertIsNone(self.task_state)
        self.assertEqual(('failed', SENTENCE), self.last_resize)
        self.assert_details(self.server, SENTENCE)
        self.assertEqual(1, self.stdlog.logger.output.count(
            'has not arrived after 300 seconds: given up.'))
        self.assert_books(self.server, base.BOOT_MB)
        # Once is enough.
        self.wait_in_vain()
        self.assertEqual(1, len(self.events(self.server)[0]['events']))

    def test_quota(self):
        """What nova-api has reserved for the request is given back."""
        self.lose_casts()
        self.request(1024)
        instance = self.instance(self.server)
        instance.memory_mb = 1024
        instance.save()
        self.wait_in_vain()
        self.assert_books(self.server, base.BOOT_MB)

    def test_usable_afterwards(self):
        queue = self.lose_casts()
        self.request(1024)
        self.wait_in_vain()
        self.assertEqual('resize_prep', self.request(1024))
        queue.deliver()
        queue.deliver()
        self.wait_idle(self.server)
        self.assert_books(self.server, 1024)
        self.assertEqual(('done', None), self.last_resize)

    def test_several_servers(self):
        """One that cannot be released keeps no other waiting."""
        self.lose_casts()
        others = [self.boot_elastic() for _ in range(2)]
        for server in (self.server, *others):
            self.assertEqual(202, self.resize(server, 1024)[0])
        find = objects.InstanceActionList.get_by_instance_uuid

        def fail_once(context, uuid, *args, **kwargs):
            if uuid == others[0]['id']:
                raise ValueError('what')
            return find(context, uuid, *args, **kwargs)

        for server in (self.server, *others):
            self.grow_old(server, TIMEOUT + 1)
        with mock.patch.object(objects.InstanceActionList,
                               'get_by_instance_uuid', fail_once):
            self.run_periodic_task()
        self.assertIsNone(self.instance(self.server).task_state)
        self.assertIsNone(self.instance(others[1]).task_state)
        self.assertEqual(
            'resize_prep', self.instance(others[0]).task_state)
        self.run_periodic_task()
        self.assertIsNone(self.instance(others[0]).task_state)

    def test_before_the_cast(self):
        """Where nova-api may be killed: busy, on record, and not cast."""
        queue = self.lose_casts()
        seen = []

        cast = rpcapi.MemHotplugAPI.resize_memory

        def look(*args, **kwargs):
            seen.append((self.task_state, len(self.events(self.server)),
                         len(queue._requests)))
            # What has replaced the method takes no self.
            cast(*args[1:], **kwargs)

        with mock.patch.object(rpcapi.MemHotplugAPI, 'resize_memory', look):
            self.request(1024)
        self.assertEqual([('resize_prep', 1, 0)], seen)


class TestLateArrival(LostRequestsTestBase):
    """The message was not lost, only slow."""

    def test_ignored(self):
        queue = self.lose_casts()
        self.request(1024)
        self.wait_in_vain()
        before = self.state(self.server)
        queue.deliver()
        self.wait_for_log('was given up before it arrived')
        self.assertEqual(before, self.state(self.server))
        self.assertEqual(('failed', SENTENCE), self.last_resize)

    def test_not_served_in_place_of_a_newer_one(self):
        queue = self.lose_casts()
        self.request(1024)
        self.wait_in_vain()
        self.request(1280)
        before = self.state(self.server)
        queue.deliver()
        self.wait_for_log('was given up before it arrived')
        self.assertEqual(before, self.state(self.server))
        self.assertEqual('resize_prep', self.task_state)
        queue.deliver()
        self.wait_idle(self.server)
        self.assert_books(self.server, 1280)
        self.assertEqual(('done', None), self.last_resize)

    def test_refused_where_nothing_was_recorded(self):
        """nova-compute was restarted, so Nova itself has released it."""
        queue = self.lose_casts()
        self.request(1024)
        self.restart_compute_service('compute1')
        self.assertIsNone(self.task_state)
        before = self.state(self.server)
        queue.deliver()
        self.wait_for_log('Task possibly preempted')
        self._wait_for_assert(
            lambda: self.assertEqual('failed', self.last_resize[0]))
        self.assertEqual(before, self.state(self.server))


class TestNotLost(LostRequestsTestBase):
    """Servers that wait for something else than a lost request."""

    def test_at_work(self):
        """The host has it; it holds the lock of the server meanwhile."""
        waiting, go_on = self.hold_attach()
        self.request(1024)
        self.assertTrue(waiting.wait(30))
        self.wait_in_vain()
        self.assertEqual('resize_prep', self.task_state)
        go_on.set()
        self.wait_idle(self.server)
        self.assert_books(self.server, 1024)
        self.assertEqual(('done', None), self.last_resize)

    def test_cold_resize(self):
        """Nova's own task state is left alone, whatever came before."""
        self.lose_casts()
        self.request(1024)
        self.restart_compute_service('compute1')
        for action in (instance_actions.RESIZE, instance_actions.MIGRATE):
            self.set_task_state(self.server, 'resize_prep')
            objects.InstanceAction.action_start(
                nova_context.get_admin_context(), self.server['id'], action,
                want_result=False)
            self.wait_in_vain()
            self.assertEqual('resize_prep', self.task_state)

    def test_cold_resize_not_recorded_yet(self):
        """Nova saves the task state first."""
        self.lose_casts()
        self.request(1024)
        self.grow_old(self.server, TIMEOUT + 1)
        self.set_task_state(self.server, None)
        self.set_task_state(self.server, 'resize_prep')
        self.run_periodic_task()
        self.assertEqual('resize_prep', self.task_state)

    def test_other_host(self):
        """A host looks after its own servers."""
        self.lose_casts()
        self.request(1024)
        self.start_compute('compute2', self.host_info())
        self.grow_old(self.server, TIMEOUT + 1)
        self.run_periodic_task('compute2')
        self.assertEqual('resize_prep', self.task_state)
