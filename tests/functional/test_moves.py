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

"""Every move claims what a server really has (design T5).

Each move is the first one after a resize: nothing looks at the memory of the
server in between, so its RequestSpec still has the size that it booted with.
"""

import ddt
import fixtures
from nova.virt.libvirt import driver

from tests.functional import base

GROWN_MB = 1024


def power_off(this, context, instance, *args, **kwargs):
    """Do what the libvirt driver does to the guest before a cold migration,
    and nothing to its disks, which Nova's fixtures do not have.
    """
    this.power_off(instance)
    return '[]'


class MovesTestBase(base.MemoryTestBase):
    """Two hosts, and servers that move from the first to the second."""

    def setUp(self):
        super().setUp()
        self.start_compute('compute2', self.host_info())
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.driver.LibvirtDriver.'
            'migrate_disk_and_power_off', power_off))
        self.useFixture(fixtures.MockPatchObject(
            driver.LibvirtDriver, 'snapshot'))
        self.flags(shelved_offload_time=0)
        self.server = self._boot()

    def _boot(self):
        """Boot a server on the first host."""
        self._disable('compute2')
        server = self.boot(base.ELASTIC)
        self._disable('compute2', False)
        return server

    def _disable(self, host, is_disabled=True):
        (service,) = self.admin_api.get_services(
            host=host, binary='nova-compute')
        self.admin_api.put_service(service['id'], {
            'status': 'disabled' if is_disabled else 'enabled'})

    # What came before

    def grown(self):
        """Grow; return what the server has then."""
        self.grow(self.server, GROWN_MB)
        return GROWN_MB

    def refused(self):
        """Grow, and let the hypervisor refuse."""
        self.refuse_attach()
        self.grow(self.server, GROWN_MB)
        return base.BOOT_MB

    def crashed(self):
        """Let nova-compute die half way, and start again."""
        self.crash_before_commit(self.server, GROWN_MB)
        self.restart_compute_service('compute1')
        self.wait_idle(self.server)
        return GROWN_MB

    # What comes next

    def live_migrate(self):
        """Migrate the running server."""
        self._live_migrate(self.server, api=self.admin_api)

    def cold_migrate(self):
        """Migrate the server, up to the point where it waits for a word."""
        self._migrate_server(self.server, api=self.admin_api)

    def confirm(self):
        """Let the server stay where it is."""
        # All services of a test share one configuration. Here the name of
        # the host counts that the server has left.
        (host,) = set(self.computes) - {self.instance(self.server).host}
        self.flags(host=host)
        self._confirm_resize(self.server)

    def evacuate(self):
        """Let the first host die and start the server on the second."""
        self.take_down('compute1')
        self._evacuate_server(self.server, expected_task_state=None)
        self._start_server(self.server)

    def shelve(self):
        """Take the server off its host."""
        self._shelve_server(self.server)
        self.assertEqual(0, self.placed_mb('compute1'))

    def unshelve(self):
        """Start the shelved server on the second host."""
        self.admin_api.post_server_action(
            self.server['id'], {'unshelve': {'host': 'compute2'}})
        self._wait_for_state_change(self.server, 'ACTIVE')

    # What there is to see

    def assert_host(self, host, total_mb):
        """Placement and the host itself have the same in use."""
        self.run_periodic_task(host)
        self.assertEqual(total_mb, self.placed_mb(host), host)
        self.assertEqual(total_mb, self.used_mb(host), host)

    def assert_on(self, host, total_mb):
        """The server is on a host, and all agree on what it has there."""
        self.assertEqual(host, self.instance(self.server).host)
        self.assertEqual(total_mb, self.claimed_mb(self.server, host))
        self.assertEqual(total_mb, self.request_spec_mb(self.server))
        instance = self.instance(self.server)
        self.assertEqual((total_mb, total_mb), (
            instance.flavor.memory_mb, instance.memory_mb))
        self.assertEqual(total_mb, self.guest(self.server).present_mb)
        self.assert_host(host, total_mb)

    def assert_folded(self):
        """All of the memory is boot memory, and all slots are free."""
        guest = self.guest(self.server)
        self.assertEqual((), guest.devices)
        self.assertEqual(base.SLOTS, guest.free_slots)

    def assert_no_domain(self, host):
        """Nothing is left of the server on a host."""
        connection = self.computes[host].driver._host.get_connection()
        self.assertEqual({}, connection._vms)


@ddt.ddt
class TestMoves(MovesTestBase):

    def resized(self, outcome):
        """Have a resize end in one way or another.

        :returns: what the server has then, in MiB
        """
        total_mb = getattr(self, outcome)()
        self.assertEqual(base.BOOT_MB, self.request_spec_mb(self.server))
        self.assert_books(self.server, total_mb)
        return total_mb

    @ddt.data('grown', 'refused', 'crashed')
    def test_live_migration(self, outcome):
        total_mb = self.resized(outcome)
        before = self.guest(self.server)
        self.live_migrate()
        self.assert_on('compute2', total_mb)
        self.assert_books(self.server, total_mb)
        self.assertEqual(before, self.guest(self.server))
        self.assert_host('compute1', 0)
        self.assert_no_domain('compute1')

    @ddt.data('grown', 'refused', 'crashed')
    def test_cold_migration(self, outcome):
        total_mb = self.resized(outcome)
        self.cold_migrate()
        self.assert_on('compute2', total_mb)
        self.assert_folded()
        # Until somebody says which it is to be, both hosts hold it.
        self.assert_host('compute1', total_mb)
        self.confirm()
        self.assert_on('compute2', total_mb)
        self.assert_books(self.server, total_mb)
        self.assert_host('compute1', 0)
        self.assert_no_domain('compute1')

    @ddt.data('grown', 'refused', 'crashed')
    def test_reverted_cold_migration(self, outcome):
        total_mb = self.resized(outcome)
        self.cold_migrate()
        self._revert_resize(self.server)
        self.assert_on('compute1', total_mb)
        self.assert_books(self.server, total_mb)
        self.assert_folded()
        self.assert_host('compute2', 0)
        self.assert_no_domain('compute2')

    @ddt.data('grown', 'refused', 'crashed')
    def test_evacuation(self, outcome):
        total_mb = self.resized(outcome)
        self.evacuate()
        self.assert_on('compute2', total_mb)
        self.assert_folded()
        # Until it is back, the dead host holds what it had.
        self.assertEqual(total_mb, self.claimed_mb(self.server, 'compute1'))
        self.restart_compute_service('compute1')
        self.force_down('compute1', False)
        self.assert_books(self.server, total_mb)
        self.assert_host('compute1', 0)
        self.assert_no_domain('compute1')

    @ddt.data('grown', 'refused', 'crashed')
    def test_unshelving(self, outcome):
        total_mb = self.resized(outcome)
        self.shelve()
        self.assert_no_domain('compute1')
        self.unshelve()
        self.assert_on('compute2', total_mb)
        self.assert_books(self.server, total_mb)
        self.assert_folded()
        self.assert_host('compute1', 0)

    def test_grows_after_a_move(self):
        """The books are right on the new host, so it goes on from there."""
        self.grown()
        self.live_migrate()
        self.grow(self.server, 1536)
        self.assert_books(self.server, 1536)
        self.cold_migrate()
        self.confirm()
        self.grow(self.server, 2048)
        self.assert_books(self.server, 2048)
        self.assert_host('compute1', 2048)
        self.assert_host('compute2', 0)


@ddt.ddt
class TestMovesOfOverride(MovesTestBase):
    """The flavor claims something else than its memory, by
    ``resources:MEMORY_MB``: the real size counts, where that is more.
    """

    def boot_with(self, override_mb):
        """Boot a server on the first host."""
        self._disable('compute2')
        server = self.boot_elastic(
            **{'resources:MEMORY_MB': str(override_mb)})
        self._disable('compute2', False)
        return server

    @ddt.data('live_migrate', 'cold_migrate', 'evacuate', 'unshelve')
    def test_between_boot_size_and_ceiling(self, move):
        self.server = self.boot_with(768)
        self.assertEqual(768, self.claimed_mb(self.server, 'compute1'))
        self.assertEqual(GROWN_MB, self.grown())
        self.assertEqual(GROWN_MB, self.claimed_mb(self.server, 'compute1'))
        if move == 'unshelve':
            self._shelve_server(self.server)
        getattr(self, move)()
        self.assertEqual(GROWN_MB, self.claimed_mb(self.server, 'compute2'))
        self.assertEqual(
            str(GROWN_MB), self.instance(self.server).flavor.extra_specs[
                'resources:MEMORY_MB'])

    def test_nothing_to_raise(self):
        """The ceiling is claimed from the start, or nothing at all."""
        for override_mb in (base.CEILING_MB, 0):
            self.server = self.boot_with(override_mb)
            self.grown()
            self.live_migrate()
            self.assertEqual(
                override_mb, self.claimed_mb(self.server, 'compute2'))
            self.assertEqual(
                str(override_mb), self.instance(
                    self.server).flavor.extra_specs['resources:MEMORY_MB'])


class TestMovesWithoutRoom(MovesTestBase):
    """The other host has room for the boot size, not for the real one."""

    def setUp(self):
        super().setUp()
        self.grown()
        self.fill_host(free_mb=GROWN_MB - 1, host='compute2')

    def _refused(self, action):
        """The newest action failed because no host was found."""
        def failed():
            actions = self.admin_api.get_instance_actions(self.server['id'])
            (newest,) = [one for one in actions[:1]
                         if one['action'] == action]
            details = self.admin_api.api_get(
                'servers/%s/os-instance-actions/%s' % (
                    self.server['id'], newest['request_id'])
            ).body['instanceAction']
            self.assertEqual('Error', details['message'])
            self.assertIn('No valid host', ' '.join(
                event['details'] or '' for event in details['events']))

        self._wait_for_assert(failed)
        self.assertEqual(0, self.placed_mb('compute2'))
        self.assert_no_domain('compute2')

    def _stays(self):
        self.wait_idle(self.server)
        self.assert_on('compute1', GROWN_MB)
        self.assert_books(self.server, GROWN_MB)

    def test_live_migration(self):
        self.admin_api.post_server_action(self.server['id'], {
            'os-migrateLive': {'host': None, 'block_migration': 'auto'}})
        self._refused('live-migration')
        self._stays()

    def test_cold_migration(self):
        self.admin_api.post_server_action(
            self.server['id'], {'migrate': None})
        self._refused('migrate')
        self._stays()

    def test_evacuation(self):
        self.take_down('compute1')
        self.admin_api.post_server_action(self.server['id'], {'evacuate': {}})
        self._refused('evacuate')
        self.assertEqual('compute1', self.instance(self.server).host)
        self.assertEqual(GROWN_MB, self.request_spec_mb(self.server))
        self.assertEqual(GROWN_MB, self.claimed_mb(self.server, 'compute1'))

    def test_unshelving(self):
        self.shelve()
        self.fill_host(free_mb=GROWN_MB - 1)
        self.api.post_server_action(self.server['id'], {'unshelve': None})
        self._refused('unshelve')
        self.assertEqual(0, self.placed_mb('compute1'))
        self.assertEqual('SHELVED_OFFLOADED', self.api.get_server(
            self.server['id'])['status'])

    def test_just_enough_room(self):
        """It is that one MiB that was missing."""
        self._reserve_placement_resource('compute2', 'MEMORY_MB', 0)
        self.fill_host(free_mb=GROWN_MB, host='compute2')
        self.cold_migrate()
        self.confirm()
        self.assert_books(self.server, GROWN_MB)
        self.assertEqual(GROWN_MB, self.placed_mb('compute2'))


class TestMovesAarch64(base.Aarch64Mixin, MovesTestBase):

    def boot(self, *args, **kwargs):
        # Its kernel has the blocks of today.
        self.flags(aarch64_memory_block_mb=128, group='memhotplug')
        return super().boot(*args, **kwargs)

    def test_live_and_cold_migration(self):
        self.grown()
        self.live_migrate()
        self.assert_on('compute2', GROWN_MB)
        self.assertEqual(1, len(self.guest(self.server).devices))
        self.cold_migrate()
        self.confirm()
        self.assert_on('compute1', GROWN_MB)
        self.assert_folded()
        self.assert_host('compute2', 0)

    def test_evacuation(self):
        self.crashed()
        self.evacuate()
        self.assert_on('compute2', GROWN_MB)
