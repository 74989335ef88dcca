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

"""How servers become elastic, and what shows where they are not.

The recipes of the section "Servers that exist already" of the
administrator's guide are walked through here.
"""

import re

import ddt

from nova_memhotplug.core import errors
from nova_memhotplug.core import memory_spec
from tests.functional import base
from tests.functional import test_destination
from tests.functional import test_moves

#: ``base.ELASTIC`` for hosts without the extension.
WITHOUT_TRAIT = {
    key: value for key, value in base.ELASTIC.items()
    if key.startswith(memory_spec.NAMESPACE + ':')}
#: What a sentence has to say about each code.
SENTENCES = {
    'not_elastic': str(errors.NotElastic()),
    'booted_inelastic': str(errors.BootedInelastic()),
    'no_target_cell': str(errors.NoTargetCell()),
    'host_unaware': str(errors.HostUnaware()),
}
#: What is wrong with a guest that Nova's own driver has started.
NO_ROOM = ('booted_inelastic', 'no_target_cell')


class DriversMixin:
    """Each host has a driver of its own, that of Nova or ours."""

    #: By the name of the host.
    DRIVERS = {'compute1': base.DRIVER, 'compute2': base.DRIVER}

    def setUp(self):
        self.drivers = dict(self.DRIVERS)
        super().setUp()

    def start_compute(self, hostname='compute1', *args, **kwargs):
        """Start a compute service with the driver of that host."""
        self.flags(compute_driver=self.drivers[hostname])
        return super().start_compute(hostname, *args, **kwargs)

    def install(self, host='compute1', driver=base.DRIVER):
        """Have an operator change the driver of a host."""
        self.drivers[host] = driver
        self.restart_compute_service(host)
        self.assertEqual(driver.rsplit('.', 1)[1],
                         type(self.computes[host].driver).__name__)

    def assert_cannot_grow(self, server, source, *codes):
        """The status shows why, the action refuses with the first reason,
        and nothing has changed.

        :returns: the document
        """
        before = self.state(server)
        status, body = self.show(server)
        self.assertEqual(200, status, body)
        memory = body['memory']
        self.assertEqual([
            {'code': code, 'message': SENTENCES[code]} for code in codes],
            memory['reasons'])
        self.assertIs(False, memory['can_grow'])
        self.assertEqual(source, memory['source'])
        status, body = self.resize(server, 2048)
        self.assertEqual(409, status, body)
        self.assertEqual(SENTENCES[codes[0]],
                         body['conflictingRequest']['message'])
        self.assertEqual(before, self.state(server))
        return memory

    def assert_plan(self, server, source, *codes):
        """A plan has these reasons, and no devices."""
        before = self.state(server)
        memory, plan, found = self.plan(server, 2048)
        self.assertEqual(
            (list(codes), source, []),
            (found, memory['source'], plan['devices']))
        self.assertEqual(before, self.state(server))

    def assert_elastic(self, server, total_mb, wanted_mb):
        """It has room for growth, and grows."""
        self.assert_books(server, total_mb)
        memory = self.show(server)[1]['memory']
        self.assertEqual(
            (True, [], base.CEILING_MB, total_mb), (
                memory['can_grow'], memory['reasons'], memory['max_mb'],
                memory['boot_mb']))
        self.assertEqual([], self.plan(server, wanted_mb)[2])
        self.grow(server, wanted_mb)
        self.assert_books(server, wanted_mb)
        self.assertEqual(1, len(self.guest(server).devices))


class OptingInTestBase(DriversMixin, base.MemoryTestBase):
    """One host, on which servers can be resized cold."""

    def setUp(self):
        super().setUp()
        self.flags(allow_resize_to_same_host=True)
        # The fake hypervisor has no disks to move.
        self.stub_out('nova.virt.libvirt.driver.LibvirtDriver.'
                      'migrate_disk_and_power_off', test_moves.power_off)

    def timeless_xml(self, server):
        """Return the XML that Nova wrote, but for the time when it did.

        When Nova starts a server the first time, it writes another one than
        it does ever after.
        """
        return re.sub('<nova:creationTime>.*?</nova:creationTime>', '',
                      self.defined_xml(server))


class TestServersFromBefore(OptingInTestBase):
    """Servers that were created before the host had the extension."""

    DRIVERS = {'compute1': base.STOCK_DRIVER}

    def test_without_the_extension(self):
        """Nobody can say anything but what the flavor says."""
        server = self.boot()
        memory = self.assert_cannot_grow(
            server, 'flavor', 'host_unaware', 'not_elastic')
        self.assertEqual({
            'boot_mb': 512, 'current_mb': 512, 'requested_mb': 512,
            'min_mb': 512, 'max_mb': 512, 'step_mb': None,
            'slots': {'total': 0, 'used': 0, 'free': 0},
            'devices': [], 'zero_node': None, 'strategy': None,
            'usable_mb': None, 'usable_evidence': 'none',
            'bounce_buffer_mb': None, 'guest': None, 'last_resize': None,
        }, {key: memory[key] for key in memory if key not in (
            'reasons', 'can_grow', 'source')})
        self.assert_plan(server, 'flavor', 'host_unaware', 'not_elastic')

    def test_cold_resize(self):
        server = self.boot()
        self.install()
        self.assert_cannot_grow(server, 'host', 'not_elastic')
        self._resize_server(server, self.create_flavor(base.ELASTIC))
        self._confirm_resize(server)
        self.assert_elastic(server, base.BOOT_MB, 1024)

    def test_reverted_cold_resize(self):
        server = self.boot()
        self._reboot_server(server, hard=True)
        plain = self.timeless_xml(server)
        self.install()
        self._resize_server(server, self.create_flavor(base.ELASTIC))
        self.assertEqual(base.SLOTS, self.guest(server).slots)
        self._revert_resize(server)
        self.assert_books(server, base.BOOT_MB)
        self.assertEqual(plain, self.timeless_xml(server))
        self.assert_cannot_grow(server, 'host', 'not_elastic')
        self.assert_plan(server, 'flavor', 'not_elastic')

    def test_elastic_flavor(self):
        """The copy of the flavor has the keys, the guest has no room."""
        server = self.boot(WITHOUT_TRAIT)
        memory = self.assert_cannot_grow(server, 'flavor', 'host_unaware')
        self.assertEqual(
            (512, 4096, {'total': 8, 'used': 0, 'free': 8}),
            (memory['current_mb'], memory['max_mb'], memory['slots']))
        self.assert_plan(server, 'flavor', 'host_unaware')
        self.install()
        memory = self.assert_cannot_grow(server, 'host', *NO_ROOM)
        self.assertEqual(
            (512, 512, {'total': 0, 'used': 0, 'free': 0}),
            (memory['current_mb'], memory['max_mb'], memory['slots']))
        # The service has made the note that was missing when it started.
        self.assert_plan(server, 'note', *NO_ROOM)
        self._reboot_server(server)
        self.assert_cannot_grow(server, 'host', *NO_ROOM)
        self._reboot_server(server, hard=True)
        self.assert_elastic(server, base.BOOT_MB, 1024)

    def test_locked_and_paused(self):
        """The state of the server is looked at first, as by the action."""
        server = self.boot(WITHOUT_TRAIT)
        self.api.post_server_action(server['id'], {'pause': {}})
        self._wait_for_state_change(server, 'PAUSED')
        self.api.post_server_action(server['id'], {'lock': None})
        self.assert_plan(
            server, 'flavor', 'locked', 'not_active', 'host_unaware')


class TestKeysThatCameLater(OptingInTestBase):
    """The copy of the flavor that a server has decides."""

    def setUp(self):
        super().setUp()
        self.flavor = self.create_flavor()
        self.server = self._create_server(
            flavor_id=self.flavor, networks='none')
        self._reboot_server(self.server, hard=True)
        self.plain = self.timeless_xml(self.server)
        self.admin_api.post_extra_spec(
            self.flavor, {'extra_specs': base.ELASTIC})

    def assert_still_plain(self):
        self.assertEqual(self.plain, self.timeless_xml(self.server))
        self.assert_cannot_grow(self.server, 'host', 'not_elastic')

    def test_hard_reboot_and_rebuild(self):
        self.assert_still_plain()
        self._reboot_server(self.server, hard=True)
        self.assert_still_plain()
        self._stop_server(self.server)
        self._start_server(self.server)
        self.assert_still_plain()
        self._rebuild_server(
            self.server, '155d900f-4e14-4e4c-a73d-069cbf4541e6')
        # That was a first start again.
        self._reboot_server(self.server, hard=True)
        self.assert_still_plain()

    def test_flavor_of_the_same_name(self):
        """Neither Nova nor the action takes it for another."""
        before = self.state(self.server)
        status, body = self.call(
            self.api, 'POST', self.server['id'], 'action',
            {'resize': {'flavorRef': self.flavor}})
        self.assertEqual(400, status, body)
        self.assertIn('must change flavor', body['badRequest']['message'])
        status, body = self.call(
            self.api, 'POST', self.server['id'], 'action',
            {'resizeMemory': {'flavorRef': self.flavor}})
        self.assertEqual(409, status, body)
        self.assertEqual('not_elastic', body['conflictingRequest']['reason'])
        self.assertEqual(before, self.state(self.server))

    def test_cold_resize_there_and_back(self):
        self._resize_server(self.server, self.create_flavor(base.ELASTIC))
        self._confirm_resize(self.server)
        self.assertEqual(base.SLOTS, self.guest(self.server).free_slots)
        self._resize_server(self.server, self.flavor)
        self._confirm_resize(self.server)
        self.assert_elastic(self.server, base.BOOT_MB, 1024)


class TestWayBack(OptingInTestBase):
    """From a total that was asked for by size (P11)."""

    def test_by_way_of_another_flavor(self):
        server = self.boot_elastic()
        own = self.instance(server).flavor.flavorid
        self.grow(server, 1024)
        status, body = self.call(
            self.api, 'POST', server['id'], 'action',
            {'resize': {'flavorRef': own}})
        self.assertEqual(400, status, body)
        self.assertIn('must change flavor', body['badRequest']['message'])
        for flavor in (self.create_flavor(base.ELASTIC, 768), own):
            self._resize_server(server, flavor)
            self._confirm_resize(server)
        self.assert_elastic(server, base.BOOT_MB, 1024)


class StockHostTestBase(DriversMixin, test_destination.DestinationTestBase):
    """An elastic server, and a second host without the extension."""

    DRIVERS = {'compute1': base.DRIVER, 'compute2': base.STOCK_DRIVER}

    def assert_unaware(self, total_mb):
        """The status shows what is known; the action refuses."""
        memory = self.assert_cannot_grow(
            self.server, 'flavor', 'host_unaware')
        # Whatever the note says that was left behind.
        self.assertIsNotNone(self.note(self.server))
        self.assert_plan(self.server, 'flavor', 'host_unaware')
        self.assertEqual(
            (total_mb, total_mb, base.CEILING_MB, [], None),
            (memory['current_mb'], memory['requested_mb'],
             memory['max_mb'], memory['devices'], memory['guest']))


@ddt.ddt
class TestScheduling(StockHostTestBase):
    """The required trait keeps elastic servers from the stock host."""

    def assert_no_valid_host(self, server, action):
        newest = self.admin_api.get_instance_actions(server['id'])[0]
        self.assertEqual(action, newest['action'])
        details = self.admin_api.api_get(
            'servers/%s/os-instance-actions/%s' % (
                server['id'], newest['request_id'])).body['instanceAction']
        self.assertEqual('Error', details['message'])
        self.assertIn('No valid host', ' '.join(
            event['details'] or '' for event in details['events']))
        self.assertEqual(0, self.placed_mb('compute2'))
        self.assert_no_domain('compute2')

    def test_boot(self):
        self._disable('compute1')
        server = self.boot(base.ELASTIC, expected_state='ERROR')
        self.assertIn('No valid host', server['fault']['message'])
        self.assert_no_domain('compute2')
        self.assertEqual(
            'compute2', self.boot()['OS-EXT-SRV-ATTR:host'])

    @ddt.data(
        ('migrate', {'migrate': None}),
        ('migrate', {'migrate': {'host': 'compute2'}}),
        ('live-migration', {'os-migrateLive': {
            'host': None, 'block_migration': 'auto'}}),
        ('live-migration', {'os-migrateLive': {
            'host': 'compute2', 'block_migration': 'auto'}}))
    @ddt.unpack
    def test_migration(self, action, body):
        self.grown()
        before = self.state(self.server) | {'actions': None}
        self.call(self.admin_api, 'POST', self.server['id'], 'action', body)
        self._wait_for_migration_status(self.server, ['error'])
        self.wait_idle(self.server)
        self._wait_for_assert(
            lambda: self.assert_no_valid_host(self.server, action))
        self.assertEqual(
            before, self.state(self.server) | {'actions': None})
        self.assertEqual('compute1', self.instance(self.server).host)
        self.grow(self.server, 1152)
        self.assert_books(self.server, 1152)


class TestForce(StockHostTestBase):
    """What was made to run on a host without the extension shows it."""

    def test_live_migration(self):
        total_mb = self.grown()
        self.assert_migrated(force='compute2')
        self.assert_unaware(total_mb)
        # The guest has what it had (T4).
        self.assert_books(self.server, total_mb)
        # The way back is a cold one: the source cannot be asked.
        self.cold_migrate()
        self.confirm()
        self.assertEqual('compute1', self.instance(self.server).host)
        self.assert_elastic(self.server, total_mb, 2048)

    def test_evacuation(self):
        total_mb = self.grown()
        self.take_down('compute1')
        self.admin_api.microversion = test_destination.FORCING
        self._evacuate_server(
            self.server, {'host': 'compute2', 'force': True},
            expected_host='compute2', expected_state='ACTIVE')
        self.admin_api.microversion = self.microversion
        # The host comes back and lets go of what it had.
        self.restart_compute_service('compute1')
        self.force_down('compute1', False)
        self.assert_unaware(total_mb)
        self.assert_books(self.server, total_mb)
        self.assertIsNone(self.guest(self.server).max_kib)
        # The host gets the extension.
        self.install('compute2')
        self.assert_cannot_grow(self.server, 'host', *NO_ROOM)
        self.assert_plan(self.server, 'note', *NO_ROOM)
        self._reboot_server(self.server, hard=True)
        self.assert_elastic(self.server, total_mb, 2048)

    def test_host_that_goes_back(self):
        """The guest stays as it is as long as it is not started again."""
        total_mb = self.grown()
        before = self.guest(self.server)
        self.install('compute1', base.STOCK_DRIVER)
        self.assert_unaware(total_mb)
        self.assertEqual(before, self.guest(self.server))
        note = self.note(self.server)
        self.install('compute1')
        self.assertEqual(before, self.guest(self.server))
        self.assertEqual(note, self.note(self.server))
        self.assertEqual([], self.plan(self.server, 2048)[2])
        self.grow(self.server, 1152)
        self.assert_books(self.server, 1152)

    def test_guest_that_the_stock_driver_starts(self):
        """It has all of its memory, and no room for more."""
        total_mb = self.grown()
        self.install('compute1', base.STOCK_DRIVER)
        self._reboot_server(self.server, hard=True)
        self.assert_unaware(total_mb)
        self.assert_books(self.server, total_mb)
        self.assertIsNone(self.guest(self.server).max_kib)
        self.install('compute1')
        self.assert_cannot_grow(self.server, 'host', *NO_ROOM)
        self.assert_plan(self.server, 'note', *NO_ROOM)

    def test_stopped(self):
        """A server that does not run is described by its flavor anywhere."""
        self.install('compute1', base.STOCK_DRIVER)
        self._stop_server(self.server)
        memory, plan, codes = self.plan(self.server, 1024)
        self.assertEqual(
            (['not_active'], 'flavor'), (codes, memory['source']))
