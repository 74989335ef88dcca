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

"""The transaction of a resize: what it costs, and what it leaves behind."""

import contextlib
import datetime
import json
import threading
import time
from unittest import mock

import ddt
from nova.compute import resource_tracker
from nova.conductor import manager as conductor_manager
from nova.objects import base as objects_base
from nova.scheduler.client import report
from nova.tests.unit import fake_requests
from nova import utils
from oslo_concurrency import lockutils
from oslo_messaging.rpc import server as rpc_server

from nova_memhotplug.common import rpcapi
from nova_memhotplug.compute import endpoint
from tests.functional import base
from tests.functional import fixtures

AGENT = {'hw_qemu_guest_agent': 'yes'}


def blocks_of(block_mib):
    """Answer as the agent of a guest with other memory blocks."""
    def answer(domain, question):
        if question['execute'] == 'guest-get-memory-block-info':
            return {'size': block_mib << 20}
        return [{'phys-index': number, 'online': True}
                for number in range(64 * 1024 // block_mib)]
    return staticmethod(answer)


class Conductor:
    """Nova's conductor in this process, which counts what it is asked."""

    def __init__(self):
        self._manager = conductor_manager.ConductorManager()
        self.calls = []

    def object_action(self, context, objinst, objmethod, args, kwargs):
        self.calls.append('%s.%s' % (objinst.obj_name(), objmethod))
        with self._directly():
            return self._manager.object_action(
                context, objinst.obj_clone(), objmethod, args, kwargs)

    def object_class_action_versions(
        self, context, objname, objmethod, versions, args, kwargs,
    ):
        self.calls.append('%s.%s' % (objname, objmethod))
        with self._directly():
            return self._manager.object_class_action_versions(
                context, objname, objmethod, versions, args, kwargs)

    def _directly(self):
        return mock.patch.object(
            objects_base.NovaObject, 'indirection_api', None)

    @contextlib.contextmanager
    def counted(self):
        """Count what this process asks for its objects meanwhile."""
        with mock.patch.object(
                objects_base.NovaObject, 'indirection_api', self):
            yield


class TestCosts(base.MemoryTestBase):
    """What one resize may cost (design, section 5)."""

    def setUp(self):
        self.counting, self.over = None, threading.Event()
        # Nova looks endpoints through when the service starts.
        resize = endpoint.MemHotplugEndpoint.resize_memory

        def counted(*args, **kwargs):
            with self.counting or contextlib.nullcontext():
                resize(*args, **kwargs)
            self.over.set()

        self.stub_out('nova_memhotplug.compute.endpoint.MemHotplugEndpoint.'
                      'resize_memory', counted)
        # A request that was on its way for longer costs two calls more: it may
        # have been given up. Here the machine may just be slow.
        self.stub_out('nova_memhotplug.compute.endpoint._ROUNDING',
                      datetime.timedelta(minutes=1))
        super().setUp()
        # Nova's own default; its tests have versioned notifications sent,
        # for which the instance is read.
        self.flags(notification_format='unversioned', group='notifications')
        self.memory_libvirt.domain.agent = staticmethod(
            fixtures.all_blocks_online)
        self.server = self.boot(base.ELASTIC, properties=AGENT)
        # From now on its host has heard the agent.
        self.grow(self.server, 640)
        self.assertTrue(self.over.wait(60))
        self.over.clear()

    def spy(self, owner, name, kept=lambda *args, **kwargs: True):
        """Record the calls of a function, and let them happen."""
        calls = []
        original = getattr(owner, name)

        def record(*args, **kwargs):
            if kept(*args, **kwargs):
                calls.append(args)
            return original(*args, **kwargs)

        patch = mock.patch.object(owner, name, record)
        patch.start()
        self.addCleanup(patch.stop)
        return calls

    def test_successful_resize(self):
        conductor = Conductor()
        calls = self.spy(rpcapi.MemHotplugAPI, 'observe_memory')
        dumps = self.spy(self.memory_libvirt.domain, 'XMLDesc')
        agent = mock.Mock(side_effect=fixtures.all_blocks_online)
        self.memory_libvirt.domain.agent = staticmethod(agent)
        requests = [
            self.spy(report.SchedulerReportClient, name)
            for name in ('get', 'put', 'post', 'delete')]
        self.counting = conductor.counted()
        status, body = self.resize(self.server, 1024)
        self.assertEqual(202, status, body)
        self.assertTrue(self.over.wait(60))
        self.counting = None
        self.assertEqual([], calls)
        self.assertLessEqual(len(dumps), 2)
        self.assertLessEqual(agent.call_count, 3)
        self.assertLessEqual(sum(map(len, requests)), 5, requests)
        self.assertLessEqual(len(conductor.calls), 7, conductor.calls)
        self.wait_idle(self.server)
        self.assert_books(self.server, 1024)


@ddt.ddt
class TestGivingBack(base.MemoryTestBase):
    """Placement refuses even a smaller allocation at times (T3)."""

    @ddt.data(
        (500, 'placement.undefined_code', 'deadlock'),
        (409, 'placement.undefined_code', 'over capacity in VCPU'))
    @ddt.unpack
    def test_placement_does_not_take_it_back(self, status, code, detail):
        server = self.boot_elastic()
        self.refuse_attach()
        put = report.SchedulerReportClient.put
        answers = [None, fake_requests.FakeResponse(
            status, json.dumps({'errors': [{
                'status': status, 'code': code, 'detail': detail}]}))]

        def answer(this, url, *args, **kwargs):
            if url != '/allocations/%s' % server['id'] or not answers:
                return put(this, url, *args, **kwargs)
            refusal = answers.pop(0)
            if refusal is not None:
                return refusal
            return put(this, url, *args, **kwargs)

        with mock.patch.object(report.SchedulerReportClient, 'put', answer):
            self.grow(server, 1024)
        self.assertEqual([], answers)
        self.assertEqual(1024, self.allocation(server))
        self.run_periodic_task()
        self.assert_books(server, 512)

    def test_another_was_faster(self):
        """A generation conflict is no refusal."""
        server = self.boot_elastic()
        put = report.SchedulerReportClient.put
        answers = [fake_requests.FakeResponse(409, json.dumps({'errors': [{
            'status': 409, 'code': 'placement.concurrent_update',
            'detail': 'consumer generation conflict'}]}))]

        def answer(this, url, *args, **kwargs):
            if answers:
                return answers.pop()
            return put(this, url, *args, **kwargs)

        with mock.patch.object(report.SchedulerReportClient, 'put', answer):
            self.grow(server, 1024)
        self.assertEqual([], answers)
        self.assert_books(server, 1024)


class TestBlocks(base.MemoryTestBase):
    """A guest refuses what is no whole block, and all that comes later."""

    def assert_refused(self, server, memory_mb):
        attached = []
        self.before_attach(lambda domain, xml: attached.append(xml))
        status, body = self.resize(server, memory_mb)
        if status == 202:
            self.wait_idle(server)
            self.assert_details(server, 'in steps of 512 MiB')
        else:
            self.assertEqual(400, status, body)
        self.assertEqual([], attached)
        self.assert_books(server, 512)

    def test_somebody_else_asks_the_agent(self):
        """Whoever looks meanwhile does not make a resize guess."""
        self.memory_libvirt.domain.agent = blocks_of(512)
        server = self.boot(base.ELASTIC, properties=AGENT)
        with lockutils.lock('memhotplug-agent-%s' % server['id']):
            self.assert_refused(server, 640)

    def test_heard_before(self):
        """An agent that falls silent has not taken back its word."""
        self.memory_libvirt.domain.agent = blocks_of(512)
        server = self.boot(base.ELASTIC, properties=AGENT)
        self.grow(server, 1024)
        self.memory_libvirt.domain.agent = None
        status, body = self.resize(server, 1152)
        self.assertEqual(400, status, body)


class TestPageMap(base.MemoryTestBase):
    """A guest needs memory that it uses for the page map of more."""

    #: 512 MiB take 8192 MiB at once, and with those in use the rest.
    TOTAL_MB, PIECES_MB = 12288, [8192, 3584]
    SPECS = dict(base.ELASTIC, **{'memhotplug:max_memory_mb': '14336'})

    def setUp(self):
        super().setUp()
        self.flags(confirm_timeout=1, group='memhotplug')
        self.what = []
        self.before_attach(
            lambda domain, xml: self.what.append('attach'))
        self.let_use(lambda number: True)

    def let_use(self, is_used):
        """Have an agent that says which of the guest's blocks are used."""
        def answer(domain, question):
            self.what.append(question['execute'])
            blocks = fixtures.all_blocks_online(domain, question)
            if isinstance(blocks, list):
                for number, block in enumerate(blocks):
                    block['online'] = is_used(number)
            return blocks

        self.memory_libvirt.domain.agent = staticmethod(answer)

    def boot_heard(self):
        """Boot a server whose agent has spoken."""
        server = self.boot(self.SPECS, properties=AGENT)
        self.assertEqual([], self.plan(server, 640)[2])
        self.what.clear()
        return server

    def assert_devices(self, server, sizes_mb):
        self.assertEqual(sizes_mb, [
            dev.size_mb for dev in self.guest(server).devices])
        self.assert_books(server, 512 + sum(sizes_mb))

    def test_piece_after_piece(self):
        server = self.boot_heard()
        plan = self.plan(server, self.TOTAL_MB)[1]
        self.assertEqual(
            self.PIECES_MB, [dev['size_mb'] for dev in plan['devices']])
        self.what.clear()
        answer = self.grow(server, self.TOTAL_MB)
        self.assertEqual(plan['devices'], answer['memory']['devices'])
        self.assert_devices(server, self.PIECES_MB)
        first = self.what.index('attach')
        # The second one when the agent has shown the first.
        self.assertEqual(
            ['attach', 'guest-get-memory-blocks', 'attach',
             'guest-get-memory-blocks'], self.what[first:])

    def test_one_piece(self):
        """What fits is one DIMM, and nobody is asked more."""
        server = self.boot_heard()
        self.grow(server, 512 + 8192)
        self.assert_devices(server, [8192])
        self.assertEqual(
            ['guest-get-memory-block-info', 'attach',
             'guest-get-memory-blocks'], self.what[-3:])

    def test_first_piece_stays_offline(self):
        server = self.boot_heard()
        self.let_use(lambda number: False)
        self.grow(server, self.TOTAL_MB)
        self.assert_details(server, 'not seen to use the first part')
        self.assertEqual(1, self.what.count('attach'))
        self.assert_devices(server, [])

    def test_second_piece_is_refused(self):
        server = self.boot_heard()
        self.refuse_second_attach()
        self.grow(server, self.TOTAL_MB)
        self.assert_details(server, 'only one a day')
        self.assert_devices(server, [])

    def test_second_piece_is_refused_and_the_first_kept(self):
        """The books follow the guest (T2)."""
        server = self.boot_heard()
        self.refuse_second_attach()
        self.keep_devices()
        self.grow(server, self.TOTAL_MB)
        self.assert_details(server, 'only one a day')
        self.assert_devices(server, [8192])

    def test_agent_falls_silent(self):
        """Nothing is attached for what cannot be seen."""
        server = self.boot_heard()
        self.grow(server, 640)
        self.memory_libvirt.domain.agent = None
        self.what.clear()
        self.grow(server, self.TOTAL_MB)
        self.assert_details(server, 'can be brought to 8704 MiB')
        self.assertEqual([], self.what)
        self.assert_devices(server, [128])

    def test_what_was_added_is_offline_by_now(self):
        """The note does not know; the host asks before it touches it."""
        server = self.boot_heard()
        self.grow(server, 8704)
        self.let_use(lambda number: False)
        self.what.clear()
        self.grow(server, 8832)
        self.assert_details(server, 'can be brought to 8704 MiB')
        self.assertNotIn('attach', self.what)
        self.assert_devices(server, [8192])
        # Whoever asks the guest now is told so.
        self.assertEqual(False, self.show_guest(server)['confirmed'])
        status, body = self.call(
            self.api, 'GET', server['id'], 'os-memory?guest=true')
        self.assertEqual(['page_map_too_large'], [
            reason['code'] for reason in body['memory']['reasons']])

    def test_nobody_can_tell(self):
        """Without an agent, only boot memory is known to be in use."""
        server = self.boot(self.SPECS)
        before = self.state(server)
        for total_mb, codes in ((8704, []), (8832, ['page_map_too_large'])):
            memory, plan, found = self.plan(server, total_mb)
            self.assertEqual(codes, found)
            self.assertTrue(memory['can_grow'])
        status, body = self.resize(server, 8832)
        self.assertEqual(409, status, body)
        self.assertEqual(plan['reasons'][0]['message'],
                         body['conflictingRequest']['message'])
        self.assertIn(
            'booted with 512 MiB and is known to use 512 MiB, so it can be '
            'brought to 8704 MiB', plan['reasons'][0]['message'])
        self.assertEqual(before, self.state(server))
        self.grow(server, 8704)
        self.assert_devices(server, [8192])
        self.assertFalse(self.show(server)[1]['memory']['can_grow'])
        self._reboot_server(server, hard=True)
        # All of it is boot memory now.
        self.grow(server, 8832)
        self.assert_books(server, 8832)


class TestCommitStays(base.MemoryTestBase):
    """Another record of the instance may bring an older flavor back (T11)."""

    def setUp(self):
        super().setUp()
        self.stub_out('nova_memhotplug.compute.resize.SECONDS_AFTER', 0.5)
        self.server = self.boot_elastic()

    def wait_books(self, total_mb):
        """Wait until somebody has looked again."""
        for _attempt in range(100):
            if self.instance(self.server).flavor.memory_mb == total_mb:
                break
            time.sleep(0.1)
        self.assert_books(self.server, total_mb)

    def test_rename(self):
        older = self.instance(self.server)
        self.grow(self.server, 1024)
        older.display_name = 'renamed'
        older.save()
        self.wait_books(1024)
        self.assertEqual(
            'renamed', self.instance(self.server).display_name)

    def test_rename_of_a_server_that_changes_its_flavor(self):
        flavor = self.create_flavor(base.ELASTIC, 1024)
        older = self.instance(self.server)
        status, body = self.call(
            self.api, 'POST', self.server['id'], 'action',
            {'resizeMemory': {'flavorRef': flavor}})
        self.assertEqual(202, status, body)
        self.wait_idle(self.server)
        older.display_name = 'renamed'
        older.save()
        self.wait_books(1024)
        self.assertEqual(
            flavor, self.instance(self.server).flavor.flavorid)

    def test_late_rename(self):
        """The periodic task looks once more."""
        older = self.instance(self.server)
        self.stub_out('nova_memhotplug.compute.resize.SECONDS_AFTER', 0)
        self.grow(self.server, 1024)
        older.display_name = 'renamed'
        older.save()
        self.run_periodic_task()
        self.assert_books(self.server, 1024)


class TestLocking(base.MemoryTestBase):

    def test_claim_of_a_server_without_nodes(self):
        """It does not queue behind the claims of others."""
        server = self.boot_elastic()
        waiting, go_on = self.hold_attach()

        @utils.synchronized(
            resource_tracker.COMPUTE_RESOURCE_SEMAPHORE, fair=True)
        def attach():
            status, body = self.resize(server, 1024)
            self.assertEqual(202, status, body)
            self.assertTrue(waiting.wait(30))

        attach()
        go_on.set()
        self.wait_idle(server)
        self.assert_books(server, 1024)


class TestExpectedRefusals(base.MemoryTestBase):
    """What a reader can bring about is no error of nova-compute."""

    def test_unreadable_domain(self):
        server = self.boot_elastic()
        with mock.patch.object(self.memory_libvirt.domain, 'XMLDesc',
                               lambda domain, flags: '<domain/>'), \
                mock.patch.object(rpc_server.LOG, 'exception') as logged:
            self.show(server)
        logged.assert_not_called()
