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

"""The memory of a server over the real API, on a real placement."""

import copy

import ddt
from nova import context as nova_context
from nova import objects
from oslo_utils.fixture import uuidsentinel as uuids

from tests.functional import base
from tests.functional import fixtures

#: Sizes that a server of 512 MiB with a ceiling of 4096 cannot have, and what
#: the answer has to name.
BAD_SIZES = (
    (1000, '1000', '128', '896', '1024'),  # no multiple of the block
    (513, '513', '512', '640'),
    (4224, '4224', '4096'),                # above the ceiling
    (2 ** 31 - 1, '2147483647', '4096'),
    (384, '384', '512'),                   # below what it has
    (1, '1', '512'),
)

MALFORMED = (
    {'memory_mb': 'x'}, {'memory_mb': '1024.0'}, {'memory_mb': '-1024'},
    {'memory_mb': ' 1024'}, {'memory_mb': '1_024'},
    {'memory_mb': ''}, {'memory_mb': '\u0661\u0660\u0662\u0664'},
    {'memory_mb': 1024.5}, {'memory_mb': -1}, {'memory_mb': 0},
    {'memory_mb': '0'}, {'memory_mb': 2 ** 31}, {'memory_mb': '2147483648'},
    {'memory_mb': 10 ** 30}, {'memory_mb': '1' * 5000},
    {'memory_mb': True}, {'memory_mb': None}, {'memory_mb': [1024]},
    {'memory_mb': {'mb': 1024}}, {'memory_mb': 1024, 'slot': 1},
    {'memory_mb': 1024, 'flavorRef': '1'}, {}, [], None, 1024, '1024',
)

MALFORMED_QUERIES = (
    'x', '-1', '1.5', '0', '', '2147483648', '1' * 5000, '%D9%A3',
    '1024&memory_mb=2048', '1024&other=1',
)


#: What os-memory says of a device: a DIMM gives all it has.
SIZES = ('size_mb', 'capacity_mb', 'requested_mb', 'taken_mb')


class TestShow(base.MemoryTestBase):

    def test_fresh_server(self):
        server = self.boot_elastic()
        status, body = self.show(server)
        self.assertEqual(200, status, body)
        self.assertEqual({'memory': {
            'boot_mb': 512, 'current_mb': 512, 'requested_mb': 512,
            'min_mb': 512, 'max_mb': 4096, 'step_mb': 128,
            'slots': {'total': 8, 'used': 0, 'free': 8},
            'devices': [], 'zero_node': 1, 'strategy': 'shim',
            'bounce_buffer_mb': 64,
            'guest': {'agent': False, 'online_mb': None, 'confirmed': None},
            'can_grow': True, 'reasons': [], 'last_resize': None,
            'source': 'host', 'usable_mb': 512, 'usable_evidence': 'device',
        }}, body)

    def test_grown_server(self):
        server = self.boot_elastic()
        self.grow(server, 1024)
        self.grow(server, 1280)
        memory = self.show(server)[1]['memory']
        self.assertEqual(512, memory['boot_mb'])
        self.assertEqual(1280, memory['current_mb'])
        self.assertEqual(1280, memory['requested_mb'])
        self.assertEqual({'total': 8, 'used': 2, 'free': 6}, memory['slots'])
        aliases = {dev.pop('alias') for dev in memory['devices']}
        self.assertEqual(2, len(aliases - {None}))
        self.assertEqual(
            [{'model': 'dimm', 'node': 1, 'slot': 0,
              'address': '0x100000000', **dict.fromkeys(SIZES, 512)},
             {'model': 'dimm', 'node': 1, 'slot': 1,
              'address': '0x120000000', **dict.fromkeys(SIZES, 256)}],
            memory['devices'])

    def test_plan(self):
        server = self.boot_elastic()
        before = self.state(server)
        status, body = self.show(server, 1024)
        self.assertEqual(200, status, body)
        self.assertEqual(
            {'memory_mb': 1024, 'possible': True, 'reasons': [],
             'devices': [{'model': 'dimm', 'node': 1, 'size_mb': 512}],
             'removed': []}, body['memory']['plan'])
        # For what it has already.
        plan = self.show(server, 512)[1]['memory']['plan']
        self.assertEqual((True, []), (plan['possible'], plan['devices']))
        # Every reason is told, with its numbers.
        plan = self.show(server, 5000)[1]['memory']['plan']
        self.assertEqual((False, []), (plan['possible'], plan['devices']))
        self.assertEqual(['above_ceiling', 'unaligned'],
                         [reason['code'] for reason in plan['reasons']])
        self.assertIn('4096', plan['reasons'][0]['message'])
        self.assertIn('128', plan['reasons'][1]['message'])
        self.assertEqual(before, self.state(server))

    def test_plan_of_stopped_server(self):
        server = self.boot_elastic()
        self._stop_server(server)
        status, body = self.show(server, 1024)
        self.assertEqual(200, status, body)
        memory = body['memory']
        self.assertFalse(memory['can_grow'])
        self.assertIn('not_active', [
            reason['code'] for reason in memory['reasons']])
        self.assertFalse(memory['plan']['possible'])
        self.assertIn('not_active', [
            reason['code'] for reason in memory['plan']['reasons']])

    def test_server_without_the_key(self):
        server = self.boot()
        status, body = self.show(server, 1024)
        self.assertEqual(200, status, body)
        memory = body['memory']
        self.assertFalse(memory['can_grow'])
        self.assertEqual(512, memory['current_mb'])
        self.assertEqual(512, memory['max_mb'])
        self.assertEqual(['not_elastic'], [
            reason['code'] for reason in memory['reasons']])

    def test_paused_server(self):
        server = self.boot_elastic()
        self.api.post_server_action(server['id'], {'pause': {}})
        self._wait_for_state_change(server, 'PAUSED')
        memory = self.show(server)[1]['memory']
        self.assertEqual(8, memory['slots']['total'])
        self.assertFalse(memory['can_grow'])

    def test_who_may_look(self):
        server = self.boot_elastic()
        for status, api in (
                (200, self.api), (200, self.admin_api),
                (200, self.api_fixture.reader_api),
                (403, self.api_fixture.other_api),
                (404, self.other_project())):
            self.assertEqual(status, self.show(server, api=api)[0])
            self.assertEqual(status, self.show(server, 1024, api=api)[0])
        self.assertEqual(404, self.show({'id': uuids.nowhere})[0])

    def test_host_down(self):
        server = self.boot_elastic()
        service_id = self.admin_api.get_services(
            host='compute1', binary='nova-compute')[0]['id']
        self.computes['compute1'].stop()
        self.admin_api.put_service_force_down(service_id, True)
        for status, body in (
                self.show(server), self.resize(server, 1024)):
            self.assertIn(status, (409, 503), body)
        self.assertIsNone(self.instance(server).task_state)


class TestLastResize(base.MemoryTestBase):

    def test_actions_since(self):
        """Only the newest actions are looked at, however old a server is."""
        server = self.boot_elastic()
        self.grow(server, 1024)
        before = self.show(server)[1]['memory']['last_resize']
        self.assertEqual('done', before['status'])
        self.act(server, 49)
        self.assertEqual(
            before, self.show(server)[1]['memory']['last_resize'])
        self.act(server, 1)
        self.assertIsNone(self.show(server)[1]['memory']['last_resize'])

    def act(self, server, count):
        for _ in range(count):
            context = nova_context.get_admin_context()
            objects.InstanceAction.action_start(
                context, server['id'], 'lock', want_result=False)


class TestFlavors(base.MemoryTestBase):
    """resizeMemory with a flavorRef."""

    def to_flavor(self, server, flavor_id):
        status, body = self.call(
            self.api, 'POST', server['id'], 'action',
            {'resizeMemory': {'flavorRef': flavor_id}})
        self.wait_idle(server)
        return status, body

    def assert_refused(self, server, flavor_id, code, *words):
        before = self.state(server)
        status, body = self.to_flavor(server, flavor_id)
        self.assertEqual((400, code), (
            status, list(body.values())[0].get('reason')), body)
        for word in words:
            self.assertIn(word, body['badRequest']['message'])
        self.assertEqual(before, self.state(server))
        return body['badRequest']['message']

    def assert_unchanged(self, server, flavor_id):
        before = self.state(server)
        status, body = self.to_flavor(server, flavor_id)
        self.assertEqual(202, status, body)
        self.assertIs(False, body['memory']['changed'])
        self.assertEqual(before, self.state(server))

    def test_larger(self):
        server = self.boot_elastic()
        flavor_id = self.create_flavor(base.ELASTIC, memory_mb=1024)
        status, body = self.to_flavor(server, flavor_id)
        self.assertEqual(202, status, body)
        self.assert_books(server, 1024)
        self.assertEqual(
            flavor_id, self.instance(server).flavor.flavorid)

    def test_own_flavor(self):
        """Also after growth by size, and when it has been deleted."""
        server = self.boot_elastic()
        flavor_id = self.instance(server).flavor.flavorid
        self.assert_unchanged(server, flavor_id)
        self.grow(server, 1024)
        self.assert_unchanged(server, flavor_id)
        self.admin_api.delete_flavor(flavor_id)
        self.assert_unchanged(server, flavor_id)

    def test_own_flavor_with_numa_nodes(self):
        """Growth has written the sizes of its nodes into its extra specs."""
        numa = {'hw:numa_nodes': '2'}
        for node in (0, 1):
            numa.update({'hw:numa_mem.%d' % node: '256',
                         'hw:numa_cpus.%d' % node: str(node)})
        server = self.boot_elastic(**numa)
        flavor_id = self.instance(server).flavor.flavorid
        self.grow(server, 1024)
        self.assert_unchanged(server, flavor_id)

    def test_flavor_made_again(self):
        """It has the ID of the server's own, and is another."""
        server = self.boot_elastic()
        flavor = self.instance(server).flavor
        # SQLite, other than real databases, gives the last number out again.
        self.create_flavor()
        self.admin_api.delete_flavor(flavor.flavorid)
        self.admin_api.post_flavor({'flavor': {
            'id': flavor.flavorid, 'name': flavor.name, 'vcpus': 2,
            'ram': 1024, 'disk': 1}})
        self.admin_api.post_extra_spec(
            flavor.flavorid, {'extra_specs': base.ELASTIC})
        status, body = self.to_flavor(server, flavor.flavorid)
        self.assertEqual((202, True), (status, body['memory']['changed']))
        self.assert_books(server, 1024)

    def test_no_such_flavor(self):
        self.assert_refused(self.boot_elastic(), 'nowhere',
                            'flavor_not_found', 'nowhere')

    def test_flavor_without_the_key(self):
        """The server has it; that flavor has not."""
        server = self.boot_elastic()
        flavor_id = self.create_flavor(
            {'trait:CUSTOM_MEMORY_HOTPLUG': 'required'}, memory_mb=1024)
        name = self.api.get_flavor(flavor_id)['name']
        self.assert_refused(server, flavor_id, 'flavor_inelastic',
                            "Flavor '%s'" % name, 'max_memory_mb')

    def test_flavor_that_cannot_boot(self):
        server = self.boot_elastic()
        flavor_id = self.create_flavor(
            dict(base.ELASTIC, **{'memhotplug:max_memory_mb': '1024'}),
            memory_mb=1024)
        self.assert_refused(
            server, flavor_id, 'flavor_invalid', 'must be above', '1024')

    def test_values_of_extra_specs(self):
        """Nova has a policy for who may read them."""
        server = self.boot_elastic()
        flavor_id = self.create_flavor(dict(
            base.ELASTIC, **{'aggregate_instance_extra_specs:x': 'secret'}),
            memory_mb=1024)
        sentence = self.assert_refused(
            server, flavor_id, 'flavor_differs',
            'aggregate_instance_extra_specs:x')
        self.assertNotIn('secret', sentence)

    def test_state_is_looked_at_first(self):
        server = self.boot_elastic()
        self._stop_server(server)
        status, body = self.to_flavor(server, 'nowhere')
        self.assertEqual((409, 'not_active'), (
            status, body['conflictingRequest']['reason']))


class TestShowWithProjectInUrl(base.MemoryTestBase):
    """The older URL form, which Nova still serves."""

    USE_PROJECT_ID = True

    def test_show_and_resize(self):
        server = self.boot_elastic()
        self.assertEqual(200, self.show(server)[0])
        self.grow(server, 1024)
        self.assertEqual(1024, self.show(server)[1]['memory']['current_mb'])

    def test_nova_itself_is_untouched(self):
        """Other actions and sub-resources still answer."""
        server = self.boot()
        self._reboot_server(server, hard=True)
        self.assertEqual(200, self.call(
            self.api, 'GET', server['id'], 'os-instance-actions')[0])
        self.assertEqual(400, self.call(
            self.api, 'POST', server['id'], 'action',
            {'noSuchAction': {}})[0])


class TestResize(base.MemoryTestBase):

    def test_grow_twice(self):
        server = self.boot_elastic()
        self.assert_books(server, 512)

        body = self.grow(server, 1024)
        self.assertEqual(
            {'memory': {
                'memory_mb': 1024, 'current_mb': 512, 'changed': True,
                'devices': [{'model': 'dimm', 'node': 1, 'size_mb': 512}],
                'removed': [],
                'message': 'Memory is being added: 512 MiB.'}}, body)
        self.assert_books(server, 1024)

        (action,) = self.events(server)
        event = action['events'][-1]
        self.assertEqual(
            ('compute_resize_memory', 'Success', 'compute1'),
            (event['event'], event['result'], event['host']))
        self.assertIsNone(action['message'])

        self.grow(server, '1152')
        self.assert_books(server, 1152)
        self.assertEqual([(0, 1, 512), (1, 1, 128)], [
            (dev.slot, dev.node, dev.size_mb)
            for dev in self.guest(server).devices])

    def test_repeated_request_is_a_no_op(self):
        server = self.boot_elastic()
        self.grow(server, 1024)
        before = self.state(server)
        status, body = self.resize(server, 1024)
        self.assertEqual(202, status, body)
        self.assertFalse(body['memory']['changed'])
        self.assertEqual([], body['memory']['devices'])
        self.assertIn('1024 MiB already', body['memory']['message'])
        self.assertEqual(before, self.state(server))

    def test_to_the_ceiling(self):
        server = self.boot_elastic()
        self.grow(server, 4096)
        self.assert_books(server, 4096)
        memory = self.show(server)[1]['memory']
        self.assertFalse(memory['can_grow'])

    def test_other_things_of_the_flavor_stay(self):
        """Only the memory of the server's own copy of the flavor changes."""
        server = self.boot_elastic()
        before = self.instance(server).flavor
        self.grow(server, 1024)
        after = self.instance(server).flavor
        for field in ('id', 'flavorid', 'name', 'vcpus', 'root_gb',
                      'ephemeral_gb', 'swap', 'extra_specs'):
            self.assertEqual(getattr(before, field), getattr(after, field))
        self.assertEqual(512, self.api.get_flavor(before.flavorid)['ram'])
        self.assertEqual(1024, self.api.get_limits()['absolute'][
            'totalRAMUsed'])

    def test_hard_reboot_folds(self):
        server = self.boot_elastic()
        self.grow(server, 1024)
        self._reboot_server(server, hard=True)
        guest = self.guest(server)
        self.assertEqual((1024, 0), (guest.boot_mb, len(guest.devices)))
        self.assertEqual([0, 1], [cell.id for cell in guest.cells])
        self.assertEqual(0, guest.cells[1].memory_kib)
        self.assertEqual(8, guest.free_slots)
        self.assert_books(server, 1024)
        self.grow(server, 1152)
        self.assert_books(server, 1152)

    def test_hard_reboot_at_the_ceiling(self):
        """No maxMemory, no slots; the empty cell stays (T4)."""
        server = self.boot_elastic()
        self.grow(server, 4096)
        self._reboot_server(server, hard=True)
        guest = self.guest(server)
        self.assertEqual((4096, None, 0), (
            guest.boot_mb, guest.max_kib, guest.slots))
        self.assertEqual(0, guest.cells[1].memory_kib)
        status, body = self.resize(server, 4096)
        self.assertEqual((202, False), (status, body['memory']['changed']))
        status, body = self.resize(server, 4224)
        self.assertIn(status, (400, 409), body)
        self.assertIn('4096', body[
            'badRequest' if status == 400 else 'conflictingRequest'][
                'message'])

    def test_stop_and_start_folds(self):
        server = self.boot_elastic()
        self.grow(server, 1024)
        self._stop_server(server)
        self._start_server(server)
        guest = self.guest(server)
        self.assertEqual((1024, 0), (guest.boot_mb, len(guest.devices)))

    def test_soft_reboot_keeps_the_devices(self):
        server = self.boot_elastic()
        self.grow(server, 1024)
        self._reboot_server(server)
        guest = self.guest(server)
        self.assertEqual((512, 1), (guest.boot_mb, len(guest.devices)))
        self.assert_books(server, 1024)

    def test_service_restart_keeps_the_devices(self):
        server = self.boot_elastic()
        self.grow(server, 1024)
        self.restart_compute_service('compute1')
        self.assert_books(server, 1024)
        self.grow(server, 1152)
        self.assert_books(server, 1152)

    def test_resource_tracker_agrees(self):
        """At the latest after the periodic task that corrects it."""
        server = self.boot_elastic()
        self.grow(server, 1024)
        self._run_periodics()
        self.assert_books(server, 1024)
        node = objects.ComputeNode.get_first_node_by_host_for_old_compat(
            self.ctxt, 'compute1')
        self.assertEqual(512 + 1024, node.memory_mb_used)


class TestLegacyClients(base.MemoryTestBase):
    """The endpoint /v2, which ignores what it does not know."""

    def test_unknown_keys(self):
        server = self.boot_elastic()
        legacy = copy.copy(self.api)
        self.assertIn('/v2.1', legacy.base_url)
        legacy.base_url = legacy.base_url.replace('/v2.1', '/v2')
        for inner in ({'x': 1}, {'memory': 1024}, {'MEMORY_MB': 1024}, {},
                      {'memory_mb': 1024, 'flavorRef': '1'}):
            status, body = self.call(
                legacy, 'POST', server['id'], 'action',
                {'resizeMemory': inner})
            self.assertEqual(400, status, (inner, body))
        self.assertEqual(202, self.resize(server, 1024, api=legacy)[0])
        self.wait_idle(server)
        self.assert_books(server, 1024)


class TestRefusals(base.MemoryTestBase):

    def test_form(self):
        """Nova's own, with the code for programs and the version."""
        server = self.boot_elastic()
        response = self.api.api_request(
            'servers/%s/action' % server['id'], method='POST',
            body=base.jsonutils.dumps(
                {'resizeMemory': {'memory_mb': 8192}}))
        self.assertEqual(400, response.status_code)
        self.assertEqual({'badRequest': {
            'code': 400, 'reason': 'above_ceiling',
            'message': '8192 MiB is above the ceiling of 4096 MiB this '
                       'server booted with.'}}, response.json())
        self.assertIn('compute 2.',
                      response.headers['OpenStack-API-Version'])
        self.assertIn('OpenStack-API-Version', response.headers['Vary'])
        self.assertEqual('application/json',
                         response.headers['Content-Type'].split(';')[0])

    def test_policy(self):
        server = self.boot_elastic()
        status, body = self.resize(
            server, 1024, api=self.api_fixture.reader_api)
        self.assertEqual((403, 'not_allowed'), (
            status, body['forbidden']['reason']))

    def test_never_started(self):
        """An administrator has called it active."""
        server = self.boot_elastic()
        instance = self.instance(server)
        instance.launched_at = None
        instance.save()
        self.assertEqual(['never_started'], self.plan(server, 1024)[2])
        status, body = self.resize(server, 1024)
        self.assertEqual((409, 'never_started'), (
            status, body['conflictingRequest']['reason']))

    def test_model_that_is_not_installed_here(self):
        """Whoever asks is told the same, and may look all the same."""
        server = self.boot_elastic()
        instance = self.instance(server)
        instance.flavor.extra_specs['memhotplug:model'] = 'thirds'
        instance.save()
        memory = self.show(server)[1]['memory']
        self.assertEqual(512, memory['current_mb'])
        (reason,) = memory['reasons']
        self.assertEqual('invalid_extra_spec', reason['code'])
        self.assertEqual([reason], self.plan(server, 1024)[1]['reasons'])
        status, body = self.resize(server, 1024)
        self.assertEqual(
            (409, reason['code'], reason['message']),
            (status, body['conflictingRequest']['reason'],
             body['conflictingRequest']['message']))

    def test_another_request_was_faster(self):
        server = self.boot_elastic()
        self.before_start(
            lambda: self.set_task_state(server, 'rebooting'))
        status, body = self.resize(server, 1024)
        self.assertEqual((409, 'busy'), (
            status, body['conflictingRequest']['reason']))
        self.assertIn('rebooting', body['conflictingRequest']['message'])
        self.assertEqual(512, self.instance(server).memory_mb)

    def test_ceiling_that_is_no_whole_step(self):
        """No size is named that nobody has asked for."""
        server = self.boot_elastic(**{'memhotplug:max_memory_mb': '641'})
        memory = self.show(server)[1]['memory']
        self.assertEqual([], memory['reasons'])
        self.grow(server, 640)
        (reason,) = self.show(server)[1]['memory']['reasons']
        self.assertEqual('no_step_left', reason['code'])
        self.assertNotIn('768', reason['message'])

    def _refused(self, server, status, memory_mb, *parts, api=None):
        before = self.state(server)
        got, body = self.resize(server, memory_mb, api)
        self.assertEqual(status, got, body)
        (fault,) = body.values()
        for part in parts:
            self.assertIn(part, fault['message'])
        self.assertEqual(before, self.state(server))

    def test_size(self):
        server = self.boot_elastic()
        for memory_mb, *parts in BAD_SIZES:
            self._refused(server, 400, memory_mb, *parts)

    def test_malformed_body(self):
        server = self.boot_elastic()
        before = self.state(server)
        for inner in MALFORMED:
            status, body = self.call(
                self.api, 'POST', server['id'], 'action',
                {'resizeMemory': inner})
            self.assertEqual(400, status, (inner, body))
        status, body = self.call(
            self.api, 'POST', server['id'], 'action',
            {'resizeMemory': {'memory_mb': 1024}, 'pause': None})
        self.assertEqual(400, status, body)
        self.assertEqual(before, self.state(server))

    def test_malformed_query(self):
        server = self.boot_elastic()
        for memory_mb in MALFORMED_QUERIES:
            status, body = self.show(server, memory_mb)
            self.assertEqual(400, status, (memory_mb, body))
        for server_id in ('x', "' or 1=1"):
            status = self.call(self.api, 'GET', server_id, 'os-memory')[0]
            self.assertEqual(404, status)

    def test_all_slots_used(self):
        server = self.boot_elastic(**{'memhotplug:slots': '1'})
        self.grow(server, 1024)
        self._refused(server, 409, 1152, '1 of 1')

    def test_not_elastic(self):
        self._refused(
            self.boot(), 409, 1024, 'memhotplug:max_memory_mb')

    def test_stopped(self):
        server = self.boot_elastic()
        self._stop_server(server)
        self._refused(server, 409, 1024, 'stopped')

    def test_paused(self):
        server = self.boot_elastic()
        self.api.post_server_action(server['id'], {'pause': {}})
        self._wait_for_state_change(server, 'PAUSED')
        self._refused(server, 409, 1024, 'paused')

    def test_locked(self):
        server = self.boot_elastic()
        self.api.post_server_action(server['id'], {'lock': None})
        self._refused(server, 409, 1024, 'locked')

    def test_locked_but_administrator(self):
        """As everywhere in Nova, a lock does not stop an administrator."""
        server = self.boot_elastic()
        self.api.post_server_action(server['id'], {'lock': None})
        status, body = self.resize(server, 1024, api=self.admin_api)
        self.assertEqual(202, status, body)
        self.wait_idle(server)
        self.assert_books(server, 1024)

    def test_who_may_not(self):
        server = self.boot_elastic()
        self._refused(server, 403, 1024, api=self.api_fixture.reader_api)
        self._refused(server, 403, 1024, api=self.api_fixture.other_api)
        self._refused(server, 404, 1024, api=self.other_project())
        status, body = self.resize({'id': uuids.nowhere}, 1024)
        self.assertEqual(404, status, body)

    def test_busy(self):
        """A second request while the first is at work (T8)."""
        server = self.boot_elastic()
        waiting, go_on = self.hold_attach()
        status, body = self.resize(server, 1024)
        self.assertEqual(202, status, body)
        self.assertTrue(waiting.wait(30))
        self._refused(server, 409, 1152, 'resize_prep')
        self.assertEqual('RESIZE', self.api.get_server(
            server['id'])['status'])
        memory = self.show(server)[1]['memory']
        self.assertFalse(memory['can_grow'])
        self.assertIn('busy', [
            reason['code'] for reason in memory['reasons']])
        go_on.set()
        self.wait_idle(server)
        self.assert_books(server, 1024)


@ddt.ddt
class TestFailures(base.MemoryTestBase):

    def _usable(self, server, memory_mb):
        """The same resize succeeds afterwards, on a usable server."""
        self.assertEqual('ACTIVE', self.api.get_server(
            server['id'])['status'])
        self.accept_attach()
        self.grow(server, memory_mb)
        self.assert_books(server, memory_mb)

    def test_hypervisor_refuses(self):
        server = self.boot_elastic()
        self.refuse_attach('no room at the inn')
        self.grow(server, 1024)
        self.assert_details(server, 'no room at the inn')
        # What libvirt says is the operator's business.
        last = self.show(server)[1]['memory']['last_resize']
        self.assertEqual(
            ('failed', 'The hypervisor did not take the memory.'),
            (last['status'], last['message']))
        self.assert_books(server, 512)
        self.assertEqual((), self.guest(server).devices)
        self._usable(server, 1024)

    def test_hypervisor_refuses_the_second_time(self):
        server = self.boot_elastic()
        self.grow(server, 1024)
        self.refuse_attach()
        self.grow(server, 1280)
        self.assert_details(server, 'not today')
        self.assert_books(server, 1024)
        self._usable(server, 1280)

    @ddt.data(ValueError('what'), KeyError('what'))
    def test_unexpected_failure(self, failure):
        """What nobody thought of gives back what was claimed, too."""
        server = self.boot_elastic()

        def fail(domain, xml):
            raise failure

        self.before_attach(fail)
        self.grow(server, 1024)
        self.assertEqual('Error', self.events(server)[0]['message'])
        self.assert_books(server, 512)
        self._usable(server, 1024)

    def test_placement_is_full(self):
        """The room that there was when it was asked for is gone."""
        server = self.boot_elastic()
        self.before_start(lambda: self.fill_host(free_mb=256))
        attached = []
        self.before_attach(lambda domain, xml: attached.append(xml))
        self.grow(server, 1024)
        self.assert_details(server, '256 MiB of memory free; 512 MiB more')
        self.assertEqual([], attached)
        self.assert_books(server, 512)
        self.grow(server, 768)
        self.assert_books(server, 768)

    def test_claim_comes_first(self):
        """When the device is attached, its memory is allocated (T3)."""
        server = self.boot_elastic()
        seen = []
        self.before_attach(
            lambda domain, xml: seen.append(self.allocation(server)))
        self.grow(server, 1024)
        self.assertEqual([1024], seen)

    def test_guest_changed_since_the_request(self):
        """The plan is made again on the host, under the lock."""
        server = self.boot_elastic(**{'memhotplug:slots': '1'})
        fake = self.fake_domain(server)
        self.before_start(lambda: fake.attachDeviceFlags(
            '<memory model="dimm"><target><size unit="KiB">131072</size>'
            '<node>1</node></target></memory>', 3))
        self.grow(server, 1024)
        self.assertEqual('Error', self.events(server)[0]['message'])
        self.assertEqual(1, len(self.guest(server).devices))

    def test_server_was_deleted_meanwhile(self):
        server = self.boot_elastic()
        waiting, go_on = self.hold_attach()
        self.resize(server, 1024)
        self.assertTrue(waiting.wait(30))
        self.api.delete_server(server['id'])
        go_on.set()
        self._wait_until_deleted(server)
        self.assertEqual(
            {}, self._get_allocations_by_server_uuid(server['id']))

    def test_compute_restarts_half_way(self):
        """A crash between the request and its end leaves no busy server."""
        server = self.boot_elastic()
        instance = self.instance(server)
        instance.task_state = 'resize_prep'
        instance.save()
        self.restart_compute_service('compute1')
        self.wait_idle(server)
        self._usable(server, 1024)


class TestGuestAgent(base.MemoryTestBase):
    """Success means that the guest has it (T7)."""

    def setUp(self):
        super().setUp()
        self.flags(confirm_timeout=1, group='memhotplug')

    def _boot(self):
        return self.boot(
            base.ELASTIC, properties={'hw_qemu_guest_agent': 'yes'})

    def test_agent_confirms(self):
        self.memory_libvirt.domain.agent = staticmethod(
            fixtures.all_blocks_online)
        server = self._boot()
        self.grow(server, 1024)
        self.assert_books(server, 1024)
        guest = self.show_guest(server)
        self.assertTrue(guest['agent'])
        self.assertTrue(guest['confirmed'])
        self.assertEqual(
            ('confirmed', 512, 512, 'agent', True), self.outcome(server))

    def test_guest_refuses(self):
        self.memory_libvirt.domain.agent = staticmethod(
            fixtures.no_new_blocks)
        server = self._boot()
        self.grow(server, 1024)
        self.assert_details(server, 'The guest did not take the memory')
        self.assert_books(server, 512)
        self.assertEqual(
            ('refused', 0, 512, 'agent', True), self.outcome(server))

    def test_agent_that_is_not_asked(self):
        self.memory_libvirt.domain.agent = staticmethod(
            fixtures.all_blocks_online)
        server = self._boot()
        self.assertEqual(
            {'agent': None, 'online_mb': None, 'confirmed': None},
            self.show(server)[1]['memory']['guest'])
        self.assertIs(True, self.show_guest(server)['agent'])

    def test_silent_agent(self):
        """Attached, and said to be unconfirmed."""
        server = self._boot()
        self.grow(server, 1024)
        self.assert_books(server, 1024)
        guest = self.show_guest(server)
        self.assertEqual((False, None), (
            guest['agent'], guest['confirmed']))
        self.assertEqual(
            ('unconfirmed', 0, 512, 'none', True), self.outcome(server))
