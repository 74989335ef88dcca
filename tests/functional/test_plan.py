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
"""Plans: where they come from, and that the action agrees with them."""

from concurrent import futures
import os
import threading
import time
from unittest import mock

import ddt
import fixtures as os_fixtures
from nova.compute import task_states
from nova import exception
from nova import objects
from nova.scheduler.client import report
from nova.virt.libvirt import utils
import oslo_messaging as messaging
from oslo_messaging import transport
from oslo_utils.fixture import uuidsentinel as uuids
from sqlalchemy import engine
from sqlalchemy import event

from nova_memhotplug.common import rpcapi
from nova_memhotplug.compute import look
from nova_memhotplug.compute import resize
from nova_memhotplug.core import errors
from nova_memhotplug.core import notes
from nova_memhotplug.policies import server_memory as policies
from tests.functional import base
from tests.functional import fixtures


class PlanTestBase(base.MemoryTestBase):

    def setUp(self):
        super().setUp()
        ask = rpcapi.MemHotplugAPI.observe_memory
        self.asked = []

        def observe_memory(this, context, instance, ask_guest=False):
            self.asked.append(ask_guest)
            return ask(this, context, instance, ask_guest)

        self.stub_out(
            'nova_memhotplug.common.rpcapi.MemHotplugAPI.observe_memory',
            observe_memory)

    def put_note(self, server, text):
        """Have somebody else write into the server's record."""
        instance = self.instance(server)
        if text is None:
            instance.system_metadata.pop(notes.KEY, None)
        else:
            instance.system_metadata[notes.KEY] = text
        instance.save()

    def plan_from(self, source, server, memory_mb, api=None):
        """Plan, and check who was asked."""
        del self.asked[:]
        memory, plan, codes = self.plan(server, memory_mb, api)
        self.assertEqual(source, memory['source'])
        self.assertEqual([True] if source == 'host' else [], self.asked)
        return memory, plan, codes

    def assert_note_is_true(self, server, memory_mb):
        """The note and the host say the same of a guest and of a total."""
        self.assertIsNotNone(self.note(server))
        from_note = self.plan_from('note', server, memory_mb)[0]
        text = self.note(server)
        self.put_note(server, None)
        from_host = self.plan_from('host', server, memory_mb)[0]
        self.put_note(server, text)
        self.assertIsNone(from_note.pop('guest'))
        self.assertIsNotNone(from_host.pop('guest'))
        self.assertIsNone(from_note.pop('min_mb'))
        self.assertIsNotNone(from_host.pop('min_mb'))
        for said in (from_note, from_host):
            # The guest was asked in one of them alone.
            del said['source'], said['usable_mb'], said['usable_evidence']
        for dev in from_host['devices']:
            dev['alias'] = dev['address'] = None
        self.assertEqual(from_host, from_note)

    def refused(self, server, status, memory_mb, api=None, inner=None,
                code=None):
        """Have the action refuse, with nothing changed; return why."""
        before = self.state(server)
        got, body = self.call(
            api or self.api, 'POST', server['id'], 'action',
            {'resizeMemory': inner or {'memory_mb': memory_mb}})
        self.assertEqual(status, got, body)
        self.assertEqual(before, self.state(server))
        (fault,) = body.values()
        self.assertEqual(status, fault['code'])
        if code is not None:
            self.assertEqual(code, fault['reason'])
        return fault['message']


class TestSource(PlanTestBase):

    def test_plan_of_fresh_server(self):
        server = self.boot_elastic()
        before = self.state(server)
        memory, plan, codes = self.plan_from('note', server, 1024)
        self.assertEqual({
            'boot_mb': 512, 'current_mb': 512, 'requested_mb': 512,
            'min_mb': None, 'max_mb': 4096, 'step_mb': 128,
            'slots': {'total': 8, 'used': 0, 'free': 8},
            'devices': [], 'zero_node': 1, 'strategy': 'shim',
            'usable_mb': 512, 'usable_evidence': 'device',
            'bounce_buffer_mb': 64,
            'guest': None, 'can_grow': True, 'reasons': [],
            'last_resize': None, 'source': 'note',
            'plan': {
                'memory_mb': 1024, 'possible': True, 'reasons': [],
                'devices': [{'model': 'dimm', 'node': 1, 'size_mb': 512}],
                'removed': []},
        }, memory)
        self.assertEqual(before, self.state(server))

    def test_plan_of_grown_server(self):
        server = self.boot_elastic()
        self.grow(server, 1024)
        self.grow(server, 1280)
        memory, plan, codes = self.plan_from('note', server, 2048)
        self.assertEqual({'total': 8, 'used': 2, 'free': 6}, memory['slots'])
        self.assertEqual(
            [{'model': 'dimm', 'node': 1, 'slot': slot, 'alias': None,
              'address': None, 'size_mb': size_mb, 'capacity_mb': size_mb,
              'requested_mb': size_mb, 'taken_mb': size_mb}
             for slot, size_mb in enumerate((512, 256))], memory['devices'])
        self.assertEqual('done', memory['last_resize']['status'])
        self.assert_note_is_true(server, 2048)

    def test_show_asks_the_host(self):
        server = self.boot_elastic()
        memory = self.show(server)[1]['memory']
        self.assertEqual([False], self.asked)
        self.assertEqual('host', memory['source'])
        # It has none: nobody need be asked for that.
        self.assertIs(False, memory['guest']['agent'])

    def test_server_that_does_not_run(self):
        server = self.boot_elastic()
        self._stop_server(server)
        memory, plan, codes = self.plan_from('flavor', server, 1024)
        self.assertEqual(['not_active'], codes)
        self.assertIsNone(memory['guest'])
        self.assertEqual('flavor', self.show(server)[1]['memory']['source'])

    def test_server_without_the_key(self):
        """It has no note, and the one of another is not read (T6)."""
        server = self.boot()
        self.assertIsNone(self.note(server))
        elastic = self.boot_elastic()
        self.put_note(server, self.note(elastic))
        memory, plan, codes = self.plan_from('flavor', server, 1024)
        self.assertEqual(['not_elastic'], codes)

    def test_host_without_notes(self):
        """A guest that an older version has started."""
        server = self.boot_elastic()
        self.put_note(server, None)
        memory, plan, codes = self.plan_from('host', server, 1024)
        self.assertEqual([], codes)
        self.grow(server, 1024)
        self.assert_note_is_true(server, 1280)

    def test_note_that_cannot_be_true(self):
        """The books hold another total: somebody else has written it."""
        server = self.boot_elastic()
        before = self.note(server)
        self.assertIn('"boot":512', before)
        self.put_note(server, before.replace('"boot":512', '"boot":640'))
        memory, plan, codes = self.plan_from('host', server, 640)
        self.assertEqual(1, len(plan['devices']))
        self.assertEqual(512, memory['boot_mb'])

    def test_broken_note(self):
        server = self.boot_elastic()
        good = self.note(server)
        for text in ('', 'x', '{}', '[]', good[:-1], '"' * 255,
                     good.replace('"v":4', '"v":3'),
                     good.replace('"dev":[]', '"dev":[[0,9,512,1]]')):
            self.assertNotEqual(good, text)
            self.put_note(server, text)
            memory, plan, codes = self.plan_from('host', server, 1024)
            self.assertEqual([], codes, text)
        # It is nobody's book: what it says changes nothing.
        self.grow(server, 1024)
        self.assert_books(server, 1024)
        self.assert_note_is_true(server, 1280)

    def test_more_devices_than_a_note_holds(self):
        server = self.boot_elastic(**{'memhotplug:slots': '64'})
        for size_mb in (128, 256) * 8:
            self.attach_unbooked(server, size_mb, foreign=True)
        self.grow(server, 3712)
        self.assert_books(server, 3712)
        self.assertIsNone(self.note(server))
        self.assertEqual([], self.plan_from('host', server, 3840)[2])
        self._reboot_server(server, hard=True)
        self.assert_note_is_true(server, 3840)

    def test_false_note(self):
        """It can keep a request from the host, until it is made anew."""
        server = self.boot_elastic()
        self.put_note(server, self.note(server).replace(
            '"max":4096', '"max":1024'))
        memory, plan, codes = self.plan_from('note', server, 2048)
        self.assertEqual(['above_ceiling'], codes)
        self.refused(server, 400, 2048, code='above_ceiling')
        self.grow(server, 1024)
        self.grow(server, 2048)
        self.assert_books(server, 2048)

    def test_note_that_promises_more(self):
        """The host plans again from the live domain (T2)."""
        server = self.boot_elastic()
        # The ceiling of its flavor counts, too.
        instance = self.instance(server)
        instance.flavor.extra_specs['memhotplug:max_memory_mb'] = '8192'
        instance.save()
        self.put_note(server, self.note(server).replace(
            '"max":4096', '"max":8192'))
        self.assertEqual([], self.plan_from('note', server, 8192)[2])
        self.grow(server, 8192)
        last = self.show(server)[1]['memory']['last_resize']
        self.assertEqual('failed', last['status'])
        self.assertIn('above the ceiling of 4096 MiB', last['message'])
        self.assert_books(server, 512)

    def test_agent_that_was_never_heard(self):
        """It may know of larger blocks than the note: it is asked first."""
        self.memory_libvirt.domain.agent = staticmethod(
            fixtures.all_blocks_online)
        server = self.boot(
            base.ELASTIC, properties={'hw_qemu_guest_agent': 'yes'})
        self.put_note(server, self.note(server).replace(
            '"ga":128', '"ga":0'))
        self.assertIn('"ga":0', self.note(server))
        self.assertEqual([], self.plan_from('host', server, 1024)[2])
        # The agent is not asked for somebody who may only look.
        del self.asked[:]
        self.plan(server, 1024, api=self.api_fixture.reader_api)
        self.assertEqual([False], self.asked)
        del self.asked[:]
        self.grow(server, 1024)
        self.assertEqual([True], self.asked)
        # It has been heard.
        self.assert_note_is_true(server, 1280)

    def test_live_plan(self):
        """Who wants to know what the guest says has the host asked."""
        server = self.boot_elastic()
        status, body = self.show(server, '1024&guest=true')
        self.assertEqual((200, 'host'), (status, body['memory']['source']))
        self.assertEqual([True], self.asked)
        self.assertIs(False, body['memory']['guest']['agent'])

    def test_host_with_an_older_version(self):
        """It is not asked: what it was told would be lost."""
        server = self.boot_elastic()
        node = objects.ComputeNode.get_first_node_by_host_for_old_compat(
            self.ctxt, 'compute1')
        node.stats = dict(node.stats, memhotplug='1.1')
        node.save()
        memory, plan, codes = self.plan_from('flavor', server, 1024)
        self.assertEqual(['host_unaware'], codes)
        self.assertIn('older version',
                      self.refused(server, 409, 1024, code='host_unaware'))
        self.assertEqual([], self.asked)

    def test_domain_is_gone(self):
        """The server is there all the same."""
        server = self.boot_elastic()
        self.fake_domain(server)._connection._vms.pop(
            self.fake_domain(server).name())
        status, body = self.show(server)
        self.assertEqual((200, 'host'), (status, body['memory']['source']))
        self.assertEqual(['guest_missing'], [
            reason['code'] for reason in body['memory']['reasons']])
        self.assertIs(False, body['memory']['can_grow'])
        self.put_note(server, None)
        status, body = self.resize(server, 1024)
        self.assertEqual((409, 'guest_missing'), (
            status, body['conflictingRequest']['reason']))

    def test_host_cannot_tell(self):
        server = self.boot_elastic()
        with mock.patch(
                'nova_memhotplug.core.domain.read',
                side_effect=errors.UnreadableDomain(reason='<secret/>')):
            for api, has_reason in ((self.api, False),
                                    (self.admin_api, True)):
                status, body = self.show(server, api=api)
                self.assertEqual(503, status, body)
                fault = body['serviceUnavailable']
                self.assertEqual('guest_unreadable', fault['reason'])
                self.assertEqual(has_reason, 'secret' in fault['message'])

    def test_host_does_not_answer(self):
        server = self.boot_elastic()
        with mock.patch.object(
                rpcapi.MemHotplugAPI, 'observe_memory',
                side_effect=messaging.MessagingTimeout):
            status, body = self.show(server)
        self.assertEqual((503, 'host_down'), (
            status, body['serviceUnavailable']['reason']))


class TestNote(PlanTestBase):
    """It follows the guest."""

    def test_starts(self):
        """Whatever starts a guest afresh folds its devices, and says so."""
        server = self.boot_elastic()
        self.assert_note_is_true(server, 1024)
        for start in (
            lambda: self._reboot_server(server, hard=True),
            lambda: (self._stop_server(server), self._start_server(server)),
            lambda: self._rebuild_server(
                server, '155d900f-4e14-4e4c-a73d-069cbf4541e6'),
            lambda: (self._shelve_server(server),
                     self._unshelve_server(server)),
        ):
            total_mb = self.instance(server).flavor.memory_mb
            self.grow(server, total_mb + 128)
            self.assertEqual(1, len(self.guest(server).devices))
            start()
            self.assertEqual(0, len(self.guest(server).devices))
            self.assertEqual(
                total_mb + 128,
                notes.read(self.note(server)).guest.boot_mb)
            self.assert_note_is_true(server, total_mb + 256)

    def test_what_keeps_the_devices(self):
        server = self.boot_elastic()
        self.grow(server, 1024)
        before = self.note(server)
        self._reboot_server(server)
        self.restart_compute_service('compute1')
        self.assertEqual(before, self.note(server))
        self.api.post_server_action(server['id'], {'pause': {}})
        self._wait_for_state_change(server, 'PAUSED')
        self.assertEqual(['not_active'], self.plan_from(
            'note', server, 1280)[2])
        self.api.post_server_action(server['id'], {'unpause': {}})
        self._wait_for_state_change(server, 'ACTIVE')
        self.assert_note_is_true(server, 1280)

    def test_reboot_of_the_host(self):
        """Nova starts guests and does not save the instance afterwards."""
        self.flags(resume_guests_state_on_host_boot=True)
        server = self.boot_elastic()
        self.grow(server, 1024)
        self.fake_domain(server).destroy()
        self.restart_compute_service('compute1')
        self._wait_for_server_parameter(
            server, {'OS-EXT-STS:power_state': 1})
        self.assertEqual(0, len(self.guest(server).devices))
        self.assert_note_is_true(server, 1280)

    def cold_resize(self, server, memory_mb):
        """Resize a server as Nova does, on its own host."""
        self.flags(allow_resize_to_same_host=True)
        flavor = self.create_flavor(dict(base.ELASTIC), memory_mb)
        # As in Nova's own tests: the fake hypervisor has no disks to move.
        with mock.patch('nova.virt.libvirt.driver.LibvirtDriver.'
                        'migrate_disk_and_power_off', return_value='{}'):
            return self._resize_server(server, flavor)

    def test_cold_resize(self):
        server = self.boot_elastic()
        server = self.cold_resize(server, 1024)
        server = self._revert_resize(server)
        self.assert_note_is_true(server, 640)
        server = self.cold_resize(server, 1024)
        server = self._confirm_resize(server)
        self.assert_note_is_true(server, 1152)
        self.assertEqual(1024, notes.read(self.note(server)).guest.boot_mb)

    def test_flavor_whose_ceiling_is_another(self):
        """A plan goes by the ceiling that the guest booted with."""
        server = self.boot_elastic()
        larger = self.create_flavor(dict(
            base.ELASTIC, **{'memhotplug:max_memory_mb': '8192'}), 1024)
        status, body = self.call(
            self.api, 'POST', server['id'], 'action',
            {'resizeMemory': {'flavorRef': larger}})
        self.assertEqual(202, status, body)
        self.wait_idle(server)
        self.assert_note_is_true(server, 4096)
        memory, plan, codes = self.plan_from('note', server, 8192)
        self.assertEqual(['above_ceiling'], codes)
        self.assertEqual(4096, memory['max_mb'])

    def test_failed_resize(self):
        server = self.boot_elastic()
        before = self.note(server)
        self.refuse_attach()
        self.grow(server, 1024)
        self.assertEqual(before, self.note(server))

    def test_what_is_found_after_a_crash(self):
        """The books are corrected, and the note with them."""
        server = self.boot_elastic()
        self.crash_before_commit(server, 640)
        self.restart_compute_service('compute1')
        self.assert_books(server, 640)
        self.assert_note_is_true(server, 1024)

    def test_of_an_earlier_version(self):
        server = self.boot_elastic()
        self.put_note(server, '{"v":1}')
        self.plan_from('host', server, 1024)
        self.restart_compute_service('compute1')
        self.assert_note_is_true(server, 1024)

    def test_commit_keeps_what_the_api_writes(self):
        """System metadata is saved as a whole."""
        server = self.boot_elastic()
        waiting, go_on = self.hold_attach()
        self.resize(server, 1024)
        self.assertTrue(waiting.wait(30))
        self.api.post_server_action(
            server['id'], {'lock': {'locked_reason': 'mine'}})
        go_on.set()
        self.wait_idle(server)
        self.assertEqual(
            'mine', self.api.get_server(server['id'])['locked_reason'])
        self.assertEqual(
            1024, notes.read(self.note(server)).guest.present_mb)

    def test_commit_after_a_slow_guest_keeps_what_the_api_writes(self):
        server = self.boot_elastic()
        confirm = look.Look.confirm

        def confirm_late(seen, changes):
            time.sleep(2 * resize.METADATA_AGE)
            self.api.post_server_action(
                server['id'], {'lock': {'locked_reason': 'mine'}})
            return confirm(seen, changes)

        with mock.patch.object(look.Look, 'confirm', confirm_late):
            self.grow(server, 1024)
        self.assertEqual(
            'mine', self.api.get_server(server['id'])['locked_reason'])

    def test_start_keeps_what_the_api_writes(self):
        server = self.boot_elastic()
        self.grow(server, 1024)
        take = look.take_note

        def take_late(guests, instance):
            self.api.post_server_action(
                server['id'], {'lock': {'locked_reason': 'mine'}})
            return take(guests, instance)

        with mock.patch.object(look, 'take_note', take_late):
            self._reboot_server(server, hard=True)
        self.assertEqual(
            'mine', self.api.get_server(server['id'])['locked_reason'])
        self.assertEqual(
            1024, notes.read(self.note(server)).guest.boot_mb)

    def test_commit_fails(self):
        """Nothing is left in the instance for Nova to save later."""
        server = self.boot_elastic()
        before = self.note(server)
        save = objects.Instance.save
        failed = []

        def fail_once(this, *args, **kwargs):
            if ('flavor' in this.obj_what_changed() and not failed and
                    this.flavor.memory_mb == 1024):
                failed.append(this)
                raise exception.InternalError(err='not today')
            return save(this, *args, **kwargs)

        with mock.patch.object(objects.Instance, 'save', fail_once):
            self.grow(server, 1024)
        (instance,) = failed
        self.assertEqual('Error', self.events(server)[0]['message'])
        self.assertEqual(before, self.note(server))
        self.assertEqual(before, instance.system_metadata[notes.KEY])
        self.assert_books(server, 512)
        self.grow(server, 1024)
        self.assert_note_is_true(server, 1280)

    def test_rescue(self):
        """A rescued server is described by its flavor; unrescue keeps the
        devices.
        """
        server = self.boot_elastic()
        self.grow(server, 1024)
        before = self.note(server)
        # Nova's fixture makes no disks, and so not their directory.
        os.makedirs(utils.get_instance_path(self.instance(server)))
        self._rescue_server(server)
        self.assertEqual(['not_active'], self.plan_from(
            'flavor', server, 1280)[2])
        self._unrescue_server(server)
        self.assertEqual(before, self.note(server))
        self.assert_note_is_true(server, 1280)

    def test_suspend(self):
        server = self.boot_elastic()
        self.grow(server, 1024)
        self._suspend_server(server)
        self._resume_server(server)
        self.assert_note_is_true(server, 1280)

    def test_guest_without_a_note_starts_all_the_same(self):
        with mock.patch('nova_memhotplug.compute.look.seen',
                        side_effect=ValueError('what')):
            server = self.boot_elastic()
        self.assertIsNone(self.note(server))
        self.assertEqual([], self.plan_from('host', server, 1024)[2])

    def test_start_without_power(self):
        """There is no guest that a note could be of."""
        server = self.boot_elastic()
        self._stop_server(server)
        self.cold_resize(server, 1024)
        self.assertIsNone(self.note(server))
        self.api.post_server_action(server['id'], {'confirmResize': None})
        self._wait_for_state_change(server, 'SHUTOFF')
        self._start_server(server)
        self.assert_note_is_true(server, 1152)

    def test_snapshot(self):
        """With Nova's option, images are without it."""
        self.flags(non_inheritable_image_properties=[notes.KEY])
        server = self.boot_elastic()
        image = self.snapshot(server)
        properties = image['properties']
        self.assertNotIn(notes.KEY, properties)
        self.assertIn('boot_roles', properties)

    def snapshot(self, server):
        """Take a snapshot; return the image."""
        def snapshot(_driver, context, instance, image_id, update_task_state):
            """The fake hypervisor has no disks to copy."""
            update_task_state(task_state=task_states.IMAGE_PENDING_UPLOAD)
            update_task_state(
                task_state=task_states.IMAGE_UPLOADING,
                expected_state=task_states.IMAGE_PENDING_UPLOAD)

        with mock.patch('nova.virt.libvirt.driver.LibvirtDriver.snapshot',
                        snapshot):
            self._snapshot_server(server, 'one')
            self.wait_idle(server)
        (image,) = [image for image in self.glance.detail(self.ctxt)
                    if image['name'] == 'one']
        return image

    def test_server_of_a_snapshot(self):
        """A note in an image is no note of its servers."""
        server = self.boot_elastic()
        self.grow(server, 1024)
        image = self.snapshot(server)
        properties = image['properties']
        self.assertIn(notes.KEY, properties)
        other = self._create_server(
            image_uuid=image['id'], networks='none',
            flavor_id=self.create_flavor(dict(base.ELASTIC)))
        self.assert_note_is_true(other, 640)
        fixed = self._create_server(
            image_uuid=image['id'], networks='none',
            flavor_id=self.create_flavor())
        self.assertIsNone(self.note(fixed))


class TestMovingNote(PlanTestBase):
    """It goes where its server goes."""

    def setUp(self):
        super().setUp()
        self.server = self.boot_elastic()
        self.grow(self.server, 1024)
        self.start_compute('compute2')

    def host(self):
        return self.instance(self.server).host

    def test_live_migration(self):
        before = self.note(self.server)
        self._live_migrate(self.server, api=self.admin_api)
        self.assertEqual('compute2', self.host())
        self.assertEqual(1, len(self.guest(self.server).devices))
        self.assertEqual(before, self.note(self.server))
        self.assert_note_is_true(self.server, 1280)

    def test_evacuation(self):
        self.take_down('compute1')
        self.assertEqual(['host_down'], self.plan_from(
            'note', self.server, 1280)[2])
        self._evacuate_server(self.server, expected_host='compute2')
        self._start_server(self.server)
        self.assertEqual(0, len(self.guest(self.server).devices))
        self.assert_note_is_true(self.server, 1280)


@ddt.ddt
class TestReasons(PlanTestBase):
    """What a plan names is what the action refuses with."""

    def _agree(self, server, status, memory_mb, *codes, api=None,
               source='note'):
        """The action's answer is the plan's first reason."""
        memory, plan, found = self.plan_from(source, server, memory_mb, api)
        self.assertEqual(list(codes), found)
        self.assertEqual([], plan['devices'])
        sentence = self.refused(
            server, status, memory_mb, api, code=codes[0])
        return plan['reasons'], sentence

    @ddt.data((4224, 'above_ceiling', 'note'), (1000, 'unaligned', 'note'),
              (384, 'below_present_size', 'host'))
    @ddt.unpack
    def test_size(self, memory_mb, code, source):
        """Which devices can be taken away, only the host can tell."""
        server = self.boot_elastic()
        reasons, sentence = self._agree(
            server, 400, memory_mb, code, source=source)
        self.assertEqual(reasons[0]['message'], sentence)

    def test_every_one_of_them(self):
        """All at once, in the order in which the action would say them."""
        self.fill_quota(768)
        server = self.boot_elastic(**{'memhotplug:slots': '1'})
        self.grow(server, 640)
        self.fill_host(free_mb=128)
        self.api.post_server_action(server['id'], {'lock': None})
        self.take_down('compute1')
        memory, plan, codes = self.plan_from('note', server, 1152)
        self.assertEqual(
            ['locked', 'host_down', 'no_free_slot', 'over_quota',
             'host_full'], codes)
        self.assertEqual([], plan['devices'])
        self.refused(server, 409, 1152, code='locked')
        self.assertFalse(memory['can_grow'])
        self.assertEqual(
            ['locked', 'host_down', 'no_free_slot'],
            [reason['code'] for reason in memory['reasons']])

    def test_room_is_told_to_nobody_who_cannot_have_it(self):
        """Neither how full a host is, nor whether it is full."""
        server = self.boot_elastic()
        self.fill_host(free_mb=128)
        for memory_mb, api, *codes in (
                (99999, self.api, 'above_ceiling', 'unaligned'),
                (4224, self.api, 'above_ceiling'),
                (1000, self.api, 'unaligned'),
                (1024, self.api_fixture.reader_api, 'not_allowed')):
            self.assertEqual(
                codes, self.plan_from('note', server, memory_mb, api)[2])

    def test_slots(self):
        server = self.boot_elastic(**{'memhotplug:slots': '1'})
        self.grow(server, 1024)
        reasons, sentence = self._agree(server, 409, 1152, 'no_free_slot')
        self.assertEqual(reasons[0]['message'], sentence)

    def test_folded_at_the_ceiling(self):
        server = self.boot_elastic()
        self.grow(server, 4096)
        self._reboot_server(server, hard=True)
        reasons, sentence = self._agree(server, 409, 4224, 'at_ceiling')
        self.assertEqual(reasons[0]['message'], sentence)

    def test_locked(self):
        server = self.boot_elastic()
        self.api.post_server_action(server['id'], {'lock': None})
        memory, plan, codes = self.plan_from('note', server, 1024)
        self.assertEqual(['locked'], codes)
        self.refused(server, 409, 1024)
        self.assertEqual([], self.plan_from(
            'note', server, 1024, api=self.admin_api)[2])

    def test_busy(self):
        server = self.boot_elastic()
        waiting, go_on = self.hold_attach()
        self.resize(server, 1024)
        self.assertTrue(waiting.wait(30))
        memory, plan, codes = self.plan_from('note', server, 1152)
        self.assertEqual(['busy'], codes)
        self.assertEqual(512, memory['current_mb'])
        self.refused(server, 409, 1152)
        go_on.set()
        self.wait_idle(server)
        self.assertEqual([], self.plan_from('note', server, 1152)[2])

    def test_not_allowed(self):
        server = self.boot_elastic()
        reader = self.api_fixture.reader_api
        memory, plan, codes = self.plan_from(
            'note', server, 1024, api=reader)
        self.assertEqual(['not_allowed'], codes)
        # It says nothing of the server.
        self.assertEqual((True, []), (memory['can_grow'], memory['reasons']))
        self.refused(server, 403, 1024, reader)

    def test_policy_of_the_operator(self):
        path = os.path.join(
            self.useFixture(os_fixtures.TempDir()).path, 'policy.yaml')
        with open(path, 'w') as policy:
            policy.write('"%s": "rule:context_is_admin"\n' % policies.RESIZE)
        self.flags(policy_file=path, group='oslo_policy')
        server = self.boot_elastic()
        self.assertEqual(
            ['not_allowed'], self.plan_from('note', server, 1024)[2])
        self.refused(server, 403, 1024)
        self.assertEqual([], self.plan_from(
            'note', server, 1024, api=self.admin_api)[2])

    def test_host_down(self):
        server = self.boot_elastic()
        self.take_down('compute1')
        memory, plan, codes = self.plan_from('note', server, 1024)
        self.assertEqual(['host_down'], codes)
        self.assertEqual(1, len(plan['devices']))
        self.refused(server, 503, 1024)
        # There, nothing but the host can answer.
        self.assertEqual(503, self.show(server)[0])
        self.put_note(server, None)
        self.assertEqual(503, self.show(server, 1024)[0])

    def test_host_of_stopped_server_down(self):
        server = self.boot_elastic()
        self._stop_server(server)
        self.take_down('compute1')
        self.assertEqual(
            ['not_active', 'host_down'],
            self.plan_from('flavor', server, 1024)[2])

    def fill_quota(self, ram_mb):
        """Leave the project so much memory in all."""
        self.flags(ram=ram_mb, group='quota')

    def test_quota(self):
        server = self.boot_elastic()
        self.fill_quota(768)
        memory, plan, codes = self.plan_from('note', server, 1024)
        self.assertEqual(['over_quota'], codes)
        sentence = self.refused(server, 403, 1024)
        self.assertEqual(plan['reasons'][0]['message'], sentence)
        for number in ('512', '768'):
            self.assertIn(number, sentence)
        self.assertEqual([], self.plan_from('note', server, 768)[2])
        self.assertEqual([], self.plan_from('note', server, 512)[2])


class TestRoom(PlanTestBase):
    """The host as placement sees it."""

    def _full(self, server, memory_mb, free_mb, asked_mb):
        sentences = []
        for api in (self.api, self.admin_api):
            memory, plan, codes = self.plan_from(
                'note', server, memory_mb, api)
            self.assertEqual(['host_full'], codes)
            sentences.append(self.refused(
                server, 409, memory_mb, api, code='host_full'))
            self.assertEqual(plan['reasons'][0]['message'], sentences[-1])
        # What other servers leave free is the operator's business.
        self.assertEqual('The host of this server has not enough memory free.',
                         sentences[0])
        self.assertIn('%d MiB of memory free' % free_mb, sentences[1])
        self.assertIn('%d MiB more' % asked_mb, sentences[1])

    def test_host_full(self):
        server = self.boot_elastic()
        self.fill_host(free_mb=256)
        self._full(server, 1024, 256, 512)
        self._full(server, 896, 256, 384)
        self.assertEqual([], self.events(server))
        self.assertEqual([], self.plan_from('note', server, 768)[2])
        self.grow(server, 768)
        self.assert_books(server, 768)
        self._full(server, 896, 0, 128)
        # Nothing is asked for.
        self.assertEqual([], self.plan_from('note', server, 768)[2])
        status, body = self.resize(server, 768)
        self.assertEqual((202, False), (status, body['memory']['changed']))

    def test_allocation_ratio(self):
        server = self.boot_elastic()
        self.fill_host()
        self.change_inventory(allocation_ratio=16.0)
        self.assertEqual([], self.plan_from('note', server, 1024)[2])
        self.grow(server, 1024)
        self.assert_books(server, 1024)

    def test_lowered_allocation_ratio(self):
        server = self.boot_elastic()
        # The fake host is a large one.
        self.change_inventory(allocation_ratio=0.00001)
        self._full(server, 1024, 0, 512)

    def test_largest_server_of_the_host(self):
        """Nova lets no server have more than the host has, whatever ratio."""
        server = self.boot_elastic()
        self.change_inventory(allocation_ratio=16.0, max_unit=1024)
        self.shrink_host(1024)
        for api, words in ((self.api, 'takes no server that is so large'),
                           (self.admin_api, 'of more than 1024 MiB; 1152')):
            memory, plan, codes = self.plan_from('note', server, 1152, api)
            self.assertEqual(['host_too_small'], codes)
            sentence = self.refused(
                server, 409, 1152, api, code='host_too_small')
            self.assertEqual(plan['reasons'][0]['message'], sentence)
            self.assertIn(words, sentence)
        self.assertEqual([], self.plan_from('note', server, 1024)[2])
        self.grow(server, 1024)
        self.assert_books(server, 1024)

    def shrink_host(self, memory_mb):
        """Let Nova know the host as a smaller one."""
        node = objects.ComputeNode.get_first_node_by_host_for_old_compat(
            self.ctxt, 'compute1')
        node.memory_mb = memory_mb
        node.save()

    def test_too_much_of_another_class_is_given_away(self):
        """Placement takes a claim that makes that no worse."""
        server = self.boot_elastic()
        self.change_inventory('VCPU', allocation_ratio=0.1)
        self.assertEqual([], self.plan_from('note', server, 1024)[2])
        self.grow(server, 1024)
        self.assert_books(server, 1024)

    def test_allocation_that_is_ahead_of_the_books(self):
        """What the server has already is not asked for again."""
        server = self.boot_elastic()
        self.claim(server, 1024)
        self.fill_host()
        self.assertEqual([], self.plan_from('note', server, 1024)[2])
        self._full(server, 1152, 0, 128)

    def change_inventory(self, name='MEMORY_MB', **changes):
        """Do what an operator can do to the inventory of the host."""
        url = '/resource_providers/%s/inventories/%s' % (
            self._get_provider_uuid_by_name('compute1'), name)
        inventory = self.placement.get(url, version='1.26').body
        answer = self.placement.put(
            url, version='1.26', body=dict(inventory, **changes))
        self.assertEqual(200, answer.status, answer.body)

    def test_reserved_by_the_flavor(self):
        """Nothing is claimed that the operator has claimed already."""
        server = self.boot_elastic(**{'resources:MEMORY_MB': '2048'})
        self.assertEqual(2048, self.allocation(server))
        self.fill_host()
        self.assertEqual([], self.plan_from('note', server, 2048)[2])
        self._full(server, 2304, 0, 256)
        self.grow(server, 2048)
        self.assertEqual(2048, self.allocation(server))

    def test_flavor_that_reserves_more(self):
        """The new flavor's reservation is what is asked for."""
        reserving = dict(base.ELASTIC, **{'resources:MEMORY_MB': '2048'})
        server = self.boot(reserving)
        self.fill_host(free_mb=256)
        flavor = self.create_flavor(reserving, memory_mb=2560)
        sentence = self.refused(
            server, 409, None, self.admin_api, {'flavorRef': flavor})
        self.assertIn('512 MiB more', sentence)

    def test_placement_does_not_say(self):
        """A plan cannot promise then; the action is left to the host."""
        server = self.boot_elastic()
        with mock.patch('nova.scheduler.client.report.SchedulerReportClient.'
                        'get', side_effect=KeyError('x')):
            memory, plan, codes = self.plan_from('note', server, 1024)
            self.assertEqual(['accounting_failed'], codes)
            self.assertEqual(
                "The server's memory could not be accounted for.",
                plan['reasons'][0]['message'])
            self.assertIn('x', self.plan_from(
                'note', server, 1024, api=self.admin_api)[1][
                    'reasons'][0]['message'])
            self.grow(server, 1024)
        self.assertEqual('Error', self.events(server)[0]['message'])
        self.assert_books(server, 512)
        self.grow(server, 1024)
        self.assert_books(server, 1024)

    def test_claim_of_somebody_else(self):
        """What other servers have is not free."""
        server = self.boot_elastic()
        url = '/resource_providers/%s' % (
            self._get_provider_uuid_by_name('compute1'))
        inventory = self.placement.get(
            url + '/inventories').body['inventories']['MEMORY_MB']
        used = self.placement.get(url + '/usages').body['usages']
        free_mb = (inventory['total'] - inventory['reserved'] -
                   used['MEMORY_MB'])
        answer = self.placement.put(
            '/allocations/%s' % uuids.somebody, version='1.28', body={
                'allocations': {url.rsplit('/', 1)[1]: {
                    'resources': {'MEMORY_MB': free_mb - 256}}},
                'consumer_generation': None,
                'project_id': uuids.project, 'user_id': uuids.user})
        self.assertEqual(204, answer.status, answer.body)
        self._full(server, 1024, 256, 512)


class TestCosts(PlanTestBase):
    """What one request makes others do. Nova's own part is not counted."""

    def setUp(self):
        super().setUp()
        self.sent, self.asked_placement, self.written = [], [], []
        self.server = self.boot_elastic()
        self.thread = threading.get_ident()
        self.stub_out('nova_memhotplug.common.ahead.start', self._in_turn)
        self._watch(transport.Transport, '_send', self.sent)
        for verb in ('get', 'put', 'post', 'delete'):
            self._watch(report.SchedulerReportClient, verb,
                        self.asked_placement)
        event.listen(engine.Engine, 'before_cursor_execute', self._execute)
        self.addCleanup(event.remove, engine.Engine, 'before_cursor_execute',
                        self._execute)

    @staticmethod
    def _in_turn(context, function, *arguments):
        """Do in this thread what has one of its own."""
        done = futures.Future()
        try:
            done.set_result(function(*arguments))
        except Exception as exc:
            done.set_exception(exc)
        return done

    def _watch(self, kind, name, calls):
        """Record what this thread, which is the API's, calls."""
        function = getattr(kind, name)

        def watched(this, *args, **kwargs):
            if threading.get_ident() == self.thread:
                calls.append((name, args, kwargs))
            return function(this, *args, **kwargs)

        self.useFixture(os_fixtures.MockPatchObject(kind, name, watched))

    def _execute(self, connection, cursor, statement, *args):
        if (threading.get_ident() == self.thread and
                statement.lstrip().upper().startswith(
                    ('INSERT', 'UPDATE', 'DELETE'))):
            self.written.append(statement)

    def forget(self):
        for calls in (self.sent, self.asked_placement, self.written):
            del calls[:]

    def test_resize(self):
        """Everything is known before the cast, and nobody is waited for."""
        self.forget()
        status, body = self.resize(self.server, 1024)
        self.assertEqual(202, status, body)
        ((_send, (_target, _context, message), details),) = self.sent
        self.assertEqual('resize_memory', message['method'])
        self.assertFalse(details.get('wait_for_reply'))
        self.assertEqual(1, len(self.asked_placement), self.asked_placement)
        self.wait_idle(self.server)
        self.assert_books(self.server, 1024)

    def test_plan(self):
        self.forget()
        self.plan_from('note', self.server, 1024)
        self.assertEqual([], self.sent)
        self.assertEqual(1, len(self.asked_placement))
        self.assertEqual([], self.written)

    def test_show(self):
        self.grow(self.server, 1024)
        # The next move would claim another total; who looks changes nothing.
        self.assertEqual(512, self.request_spec_mb(self.server))
        self.forget()
        self.assertEqual(200, self.show(self.server)[0])
        ((_send, (_target, _context, message), _),) = self.sent
        self.assertEqual('observe_memory', message['method'])
        self.assertEqual([], self.asked_placement)
        self.assertEqual([], self.written)
        self.show_guest(self.server)
        self.plan(self.server, 1152)
        self.assertEqual([], self.written)
        self.assertEqual(512, self.request_spec_mb(self.server))

    def test_refusal(self):
        """What the state of a server tells is told before anything else."""
        self.api.post_server_action(self.server['id'], {'lock': None})
        self.forget()
        status, body = self.resize(self.server, 1024)
        self.assertEqual((409, 'locked'), (
            status, body['conflictingRequest']['reason']))
        self.assertEqual(
            ([], [], []), (self.sent, self.asked_placement, self.written))
