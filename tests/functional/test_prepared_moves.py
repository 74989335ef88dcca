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
"""Who and what gets past the preparation of a move, and what it writes."""

import threading
from unittest import mock

from nova.api.openstack import common
from nova.api.openstack import wsgi
from nova.compute import api as nova_compute_api
from nova import context as nova_context
from nova import exception
from nova import objects
from nova.scheduler.client import report
from nova.tests.functional.api import client
from nova import utils as nova_utils
from nova.virt.libvirt import driver
from oslo_concurrency import lockutils
from oslo_serialization import jsonutils
from oslo_utils import uuidutils

from nova_memhotplug.api import moves
from nova_memhotplug.api import request_spec
from nova_memhotplug.api import router
from nova_memhotplug.cmd import audit
from nova_memhotplug.cmd import census
from nova_memhotplug.common import rpcapi
from nova_memhotplug.compute import endpoint
from tests.functional import base
from tests.functional import fixtures
from tests.functional import test_moves

GROWN_MB = test_moves.GROWN_MB

#: Spellings of the path of a server action: of its start, of its end.
PREFIXES = ('', '/%(project)s', '/', '//', '/./', '/%%2e')
SERVERS = ('/servers/', '/%%73ervers/', '/SERVERS/', '/servers//',
           '//servers/')
SUFFIXES = ('/action', '/action/', '/action%%0a', '/action%%0A',
            '/action.json', '/action.json%%0a', '/action/%%0a', '/ACTION',
            '//action',
            '/%%61ction', '%%2faction', '/action%%0d', '/action%%00',
            '/action%%20', '/action;a=b', '/action?a=b', '/action%%0a%%0a',
            '%%0a/action')

#: The methods of ``nova.compute.api.API`` behind the actions that move.
BEHIND = {'migrate': 'resize', 'os-migrateLive': 'live_migrate',
          'resize': 'resize', 'evacuate': 'evacuate', 'unshelve': 'unshelve',
          'rebuild': 'rebuild'}


class PreparedTestBase(test_moves.MovesTestBase):
    """A server that has grown; its RequestSpec does not know yet."""

    def setUp(self):
        super().setUp()
        self.grown()
        self.bodies = {
            'migrate': {'migrate': None},
            'os-migrateLive': {'os-migrateLive': {
                'host': None, 'block_migration': 'auto'}},
            'resize': {'resize': {
                'flavorRef': self.create_flavor(memory_mb=2048)}},
            'evacuate': {'evacuate': {}},
            'unshelve': {'unshelve': None},
            'rebuild': {'rebuild': {'imageRef': self.glance.image1['id']}},
        }

    def spied(self, owner, name, **kwargs):
        """Replace something by a mock, for the time of the test."""
        patch = mock.patch.object(owner, name, **kwargs)
        self.addCleanup(patch.stop)
        return patch.start()

    def action(self, body, api=None, server=None):
        """Post an action; return the status and the message, if any."""
        status, body = self.call(
            api or self.admin_api, 'POST', (server or self.server)['id'],
            'action', body)
        fault = next(iter(body.values())) if body else None
        return status, fault['message'] if status >= 400 else None

    def leave_behind(self):
        """Let the RequestSpec have the size that the server booted with."""
        spec = objects.RequestSpec.get_by_instance_uuid(
            self.ctxt, self.server['id'])
        flavor = spec.flavor.obj_clone()
        flavor.memory_mb = base.BOOT_MB
        spec.flavor = flavor
        spec.save()

    def user(self, *roles):
        """Return a client of somebody of the server's project."""
        user = client.TestOpenStackClient(
            'somebody', self.api_fixture.base_url,
            project_id=self.api.project_id, roles=list(roles))
        user.microversion = self.microversion
        return user


class TestSpelling(PreparedTestBase):
    """What Nova's own router takes for an action is one."""

    def setUp(self):
        super().setUp()
        self.router = router.APIRouter()
        self.context = nova_context.RequestContext(
            'admin', self.api.project_id, is_admin=True,
            roles=['admin', 'member', 'reader'])
        self.reached = []
        for name in set(BEHIND.values()):
            self.spied(nova_compute_api.API, name, side_effect=self._reach)

    def _reach(self, *args, **kwargs):
        self.reached.append(self.request_spec_mb(self.server))

    def _request(self, path, body):
        self.leave_behind()
        request = wsgi.Request.blank(
            path, method='POST', body=jsonutils.dump_as_bytes(body),
            content_type='application/json',
            headers={'OpenStack-API-Version': 'compute 2.90'})
        request.environ['nova.context'] = self.context
        return request.get_response(self.router).status_int

    def _paths(self):
        where = {'project': self.api.project_id}
        for prefix in PREFIXES:
            for servers in SERVERS:
                for suffix in SUFFIXES if servers == SERVERS[0] else (
                        SUFFIXES[:3]):
                    yield (prefix % where + servers % () +
                           self.server['id'] + suffix % ())
        yield '/servers/%s/action' % self.server['id'].upper()

    def test_paths(self):
        body = self.bodies['unshelve']
        through = set()
        for path in self._paths():
            before = len(self.reached)
            self._request(path, body)
            if len(self.reached) > before:
                through.add(path)
        self.assertIn('/servers/%s/action' % self.server['id'], through)
        self.assertIn('/servers/%s/action%%0a' % self.server['id'], through)
        self.assertEqual({GROWN_MB}, set(self.reached))

    def test_actions(self):
        for action in moves.MOVES:
            for ending in ('', '%0a'):
                self._request('/servers/%s/action%s' % (
                    self.server['id'], ending), self.bodies[action])
        self.assertEqual([GROWN_MB] * 2 * len(moves.MOVES), self.reached)

    def test_unequal_bodies(self):
        """One action in a body, whatever else is wrong with it."""
        path = '/servers/%s/action' % self.server['id']
        for body in ([], {}, None, 1, 'unshelve', ['unshelve'],
                     {'unshelve': [1]}, {'unshelve': 'x'}, {'rebuild': 1},
                     {'unshelve': None, 'migrate': None},
                     {'os-migrateLive': None}, {'rebuild': {'imageRef': 1}}):
            self.assertIn(self._request(path, body), (400, 404), body)
        self.assertEqual([], self.reached)


class TestAnswers(PreparedTestBase):
    """Nova's own, by status and headers; ours look the same."""

    def _post(self, action, microversion='2.90'):
        self.admin_api.microversion = microversion
        return self.admin_api.api_request(
            'servers/%s/action' % self.server['id'], method='POST',
            body=jsonutils.dumps(self.bodies[action]))

    def assert_versioned(self, response):
        self.assertEqual('compute 2.90',
                         response.headers['OpenStack-API-Version'])
        self.assertIn('OpenStack-API-Version', response.headers['Vary'])

    def test_refusals(self):
        self.set_task_state(self.server, 'image_uploading')
        for action in moves.MOVES:
            response = self._post(action)
            self.assertEqual(
                400 if action == 'evacuate' else 409, response.status_code)
            self.assert_versioned(response)
            if action != 'evacuate':
                self.assertEqual(
                    "Cannot '%s' instance %s while it is in task_state "
                    'image_uploading' % (action, self.server['id']),
                    response.json()['conflictingRequest']['message'])
        self.set_task_state(self.server, None)
        self.spied(endpoint.MemHotplugEndpoint, 'reconcile_memory',
                   side_effect=exception.ResizeError(reason='not today'))
        response = self._post('os-migrateLive')
        self.assertEqual(503, response.status_code)
        self.assert_versioned(response)

    def test_other_answers(self):
        for name in set(BEHIND.values()):
            self.spied(nova_compute_api.API, name)
        for action in moves.MOVES:
            response = self._post(action)
            self.assertEqual(
                200 if action == 'evacuate' else 202, response.status_code)
            self.assert_versioned(response)
        self.assertEqual(406, self._post(
            'migrate', '2.999').status_code)
        self.bodies['evacuate']['evacuate']['onSharedStorage'] = False
        self.assertIn('adminPass', self._post('evacuate', '2.1').json())


class TestPolicy(PreparedTestBase):
    """Whom Nova refuses, for him nothing is read, asked or written."""

    def setUp(self):
        super().setUp()
        self.work = [
            self.spied(rpcapi.MemHotplugAPI, 'reconcile_memory'),
            self.spied(objects.RequestSpec, 'get_by_instance_uuid'),
            self.spied(objects.RequestSpec, 'save'),
            self.spied(objects.ImageMeta, 'from_image_ref')]

    def assert_refused(self, status, body, api):
        self.assertEqual(status, self.action(body, api)[0], body)
        for work in self.work:
            work.assert_not_called()

    def test_who_may_not(self):
        for action, body in self.bodies.items():
            self.assert_refused(403, body, self.user('reader'))
            self.assert_refused(404, body, self.other_project())
            if action in ('migrate', 'os-migrateLive', 'evacuate'):
                self.assert_refused(403, body, self.api)

    def test_rules_for_a_part(self):
        """Rules that are asked for certain requests alone."""
        self.useFixture(fixtures.PolicyFileFixture({
            'os_compute_api:servers:rebuild:trusted_certs': '!'}))
        manager = self.user('manager', 'member', 'reader')
        self.assert_refused(403, {'migrate': {'host': 'compute2'}}, manager)
        self.assert_refused(403, {'os-migrateLive': {
            'host': 'compute2', 'block_migration': 'auto'}}, manager)
        body = {'rebuild': dict(
            self.bodies['rebuild']['rebuild'],
            trusted_image_certificates=[uuidutils.generate_uuid()])}
        self.assert_refused(403, body, self.api)


class TestLateRules(PreparedTestBase):
    """Rules that Nova looks at late, or not at all."""

    def test_host_that_an_old_version_ignores(self):
        """Nova lets a manager through, so the move is prepared."""
        reached = self.spied(nova_compute_api.API, 'resize')
        manager = self.user('manager', 'member', 'reader')
        manager.microversion = '2.1'
        status, message = self.action(
            {'migrate': {'host': 'compute2'}}, manager)
        self.assertEqual(202, status, message)
        reached.assert_called_once()
        self.assertEqual(GROWN_MB, self.request_spec_mb(self.server))

    def test_who_may_not_choose_a_host(self):
        """Nova has read the RequestSpec by then, and nobody has written."""
        self.shelve()
        status, message = self.action(
            {'unshelve': {'host': 'compute2'}}, self.api)
        self.assertEqual(403, status, message)
        self.assertEqual(base.BOOT_MB, self.request_spec_mb(self.server))


class TestBusy(PreparedTestBase):

    def test_end_of_a_resize(self):
        """A resize ends after the move was looked at, before Nova does."""
        waiting, go_on = self.hold_attach()
        self.resize(self.server, 1536)
        self.assertTrue(waiting.wait(30))
        get_instance = common.get_instance

        def get_late(compute_api, context, instance_id, **kwargs):
            if not go_on.is_set():
                go_on.set()
                self.wait_idle(self.server)
            return get_instance(
                compute_api, context, instance_id, **kwargs)

        with mock.patch.object(common, 'get_instance', get_late):
            status, message = self.action(self.bodies['os-migrateLive'])
        go_on.set()
        self.wait_idle(self.server)
        self.assertEqual(409, status, message)
        self.assertIn('task_state resize_prep', message)
        self.live_migrate()
        self.assert_on('compute2', 1536)

    def test_lock_of_the_host_is_taken(self):
        """A device is detached, for example: that has no task state."""
        @nova_utils.synchronized(self.server['id'])
        def while_locked():
            return [self.action(self.bodies[action]) for action in asking]

        asking = ('migrate', 'os-migrateLive', 'resize')
        with mock.patch.object(endpoint, 'LOCK_WAIT', 0.2):
            answers = while_locked()
        self.assertEqual(
            [(409, "Instance %s is in an invalid state for '%s'" % (
                self.server['id'], action)) for action in asking], answers)
        self.assertEqual(base.BOOT_MB, self.request_spec_mb(self.server))
        self.live_migrate()
        self.assert_on('compute2', GROWN_MB)

    def test_lock_of_the_host_is_taken_for_a_moment(self):
        """The host looks at each server a second after its resize."""
        held = lockutils.lock(self.server['id'], 'nova-')
        held.__enter__()
        release = threading.Timer(0.3, held.__exit__, (None, None, None))
        release.start()
        self.addCleanup(release.join)
        self.live_migrate()
        self.assert_on('compute2', GROWN_MB)

    def test_resize_begins_while_books_are_settled(self):
        def settle(*args, **kwargs):
            self.set_task_state(self.server, 'resize_prep')

        self.spied(endpoint.MemHotplugEndpoint, 'reconcile_memory',
                   side_effect=settle)
        status, message = self.action(self.bodies['migrate'])
        self.assertEqual(409, status, message)
        self.assertIn('task_state resize_prep', message)
        self.assertEqual(base.BOOT_MB, self.request_spec_mb(self.server))


class TestRequestSpec(PreparedTestBase):
    """It is written while nothing goes on, or nothing will go on."""

    PLAIN_MB = 2048

    def hold_cold_resize(self):
        """Make a cold resize wait on its host.

        :returns: two events: set when it waits; to be set to let it go on
        """
        waiting, go_on = threading.Event(), threading.Event()
        self.addCleanup(go_on.set)
        move = driver.LibvirtDriver.migrate_disk_and_power_off

        def wait(this, *args, **kwargs):
            waiting.set()
            go_on.wait(60)
            return move(this, *args, **kwargs)

        self.spied(driver.LibvirtDriver, 'migrate_disk_and_power_off',
                   new=wait)
        return waiting, go_on

    def sync_all(self):
        """Have everybody who writes it try to."""
        for api, statuses in (
                (self.user('reader'), (403,)), (self.api, (403,)),
                # Its host is up.
                (self.admin_api, (400, 409))):
            self.assertIn(
                self.action(self.bodies['evacuate'], api)[0], statuses)
        for action in set(moves.MOVES) - {'evacuate'}:
            self.assertEqual(409, self.action(self.bodies[action])[0], action)
        result = audit.Audit(
            census.Census(report.report_client_singleton()), fix=True)
        result.run()
        for is_host_down in (False, True):
            request_spec.sync(
                self.ctxt, self.instance(self.server), is_host_down)

    def test_cold_resize(self):
        """Nova has written where the resize leads to, once and for all."""
        waiting, go_on = self.hold_cold_resize()
        self.api.post_server_action(
            self.server['id'], self.bodies['resize'])
        self.assertTrue(waiting.wait(30))
        self._wait_for_assert(lambda: self.assertEqual(
            self.PLAIN_MB, self.request_spec_mb(self.server)))
        self.assertEqual(GROWN_MB,
                         self.instance(self.server).flavor.memory_mb)
        self.sync_all()
        self.assertEqual(self.PLAIN_MB, self.request_spec_mb(self.server))
        go_on.set()
        self._wait_for_state_change(self.server, 'VERIFY_RESIZE')
        self.sync_all()
        self.assertEqual(self.PLAIN_MB, self.request_spec_mb(self.server))
        self.confirm()
        self.live_migrate()
        self.assertEqual(self.PLAIN_MB,
                         self.claimed_mb(self.server, 'compute1'))

    def test_who_may_write(self):
        """The rule, row by row."""
        def record(action):
            context = nova_context.get_admin_context()
            context.request_id = 'req-' + uuidutils.generate_uuid()
            objects.InstanceAction.action_start(
                context, self.server['id'], action, want_result=False)

        instance = self.instance(self.server)

        def may_write(vm_state, task_state):
            instance.vm_state, instance.task_state = vm_state, task_state
            return tuple(
                request_spec.may_write(self.ctxt, instance, is_host_down)
                for is_host_down in (False, True))

        for vm_state in ('active', 'stopped', 'error', 'shelved_offloaded'):
            self.assertEqual((True, True), may_write(vm_state, None))
            self.assertEqual((False, True), may_write(vm_state, 'rebooting'))
        for vm_state in ('resized', 'building', 'deleted', 'soft-delete'):
            for task_state in (None, 'resize_prep', 'rebooting'):
                self.assertEqual(
                    (False, False), may_write(vm_state, task_state))
        for task_state in ('resize_migrating', 'resize_migrated',
                           'resize_finish', 'resize_reverting'):
            self.assertEqual((False, False), may_write('active', task_state))
        for action, is_ours in (
                ('resizeMemory', True), ('reboot', True), ('resize', False),
                ('resizeMemory', True), ('migrate', False),
                ('live-migration', False)):
            record(action)
            self.assertEqual((False, is_ours),
                             may_write('active', 'resize_prep'), action)
        del instance.flavor.extra_specs['memhotplug:max_memory_mb']
        self.assertEqual((False, False), may_write('active', None))

    def test_other_extra_specs(self):
        """They say what is claimed, too."""
        self.leave_behind()
        instance = self.instance(self.server)
        instance.flavor.memory_mb = base.BOOT_MB
        instance.flavor.extra_specs['resources:MEMORY_MB'] = '768'
        request_spec.sync(self.ctxt, instance)
        self.assertEqual('768', objects.RequestSpec.get_by_instance_uuid(
            self.ctxt, self.server['id']).flavor.extra_specs[
                'resources:MEMORY_MB'])


class TestOtherActions(PreparedTestBase):
    """What is not prepared need not be."""

    def test_restored(self):
        """It stays on its host, and its next move is prepared."""
        self.flags(reclaim_instance_interval=3600)
        self.api.delete_server(self.server['id'])
        self._wait_for_state_change(self.server, 'SOFT_DELETED')
        self.admin_api.post_server_action(
            self.server['id'], {'restore': {}})
        self._wait_for_state_change(self.server, 'ACTIVE')
        self.assertEqual(GROWN_MB, self.claimed_mb(self.server, 'compute1'))
        self.live_migrate()
        self.assert_on('compute2', GROWN_MB)

    def test_state_that_was_reset(self):
        """In the middle of a cold resize, which comes to nothing then: the
        flavor of the server stays, and its next move claims that.
        """
        waiting, go_on = TestRequestSpec.hold_cold_resize(self)
        self.api.post_server_action(
            self.server['id'], self.bodies['resize'])
        self.assertTrue(waiting.wait(30))
        self._wait_for_assert(lambda: self.assertEqual(
            2048, self.request_spec_mb(self.server)))
        self.admin_api.post_server_action(
            self.server['id'], {'os-resetState': {'state': 'active'}})
        go_on.set()
        self._wait_for_state_change(self.server, 'ERROR')
        self.assertEqual(2048, self.request_spec_mb(self.server))
        self.admin_api.post_server_action(
            self.server['id'], {'os-resetState': {'state': 'active'}})
        request_spec.sync(self.ctxt, self.instance(self.server))
        self.assertEqual(GROWN_MB, self.request_spec_mb(self.server))
