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

"""Servers that move while their books are not what their guest has.

A resize that failed or was cut short leaves that to the periodic task, if
placement or the database is away. A move does not wait for it.
"""

from unittest import mock

import ddt
from keystoneauth1 import exceptions as ks_exc
from nova import context as nova_context
from nova import objects
from oslo_utils import uuidutils

from nova_memhotplug.common import rpcapi
from tests.functional import base
from tests.functional import fixtures
from tests.functional import test_moves

#: What a server may have been left with, in MiB: what its guest has, what its
#: flavor says, what it has allocated.
LEFT_BEHIND = {
    'killed before the commit': (1024, 512, 1024),
    'nothing claimed': (1024, 512, 512),
    'taken back by the guest late': (512, 1024, 1024),
    'flavor alone': (512, 1024, 512),
    'allocation alone': (512, 512, 768),
    'all three': (1024, 640, 768),
}
#: What a crash leaves, and the reverse.
BOTH_WAYS = ('killed before the commit', 'taken back by the guest late')


class UnsettledTestBase(test_moves.MovesTestBase):

    def leave(self, guest_mb, flavor_mb, allocated_mb):
        """Bring the guest and the books of the server apart."""
        self.claim(self.server, allocated_mb)
        if guest_mb > base.BOOT_MB:
            self.attach_unbooked(self.server, guest_mb - base.BOOT_MB)
        instance = self.instance(self.server)
        instance.flavor.memory_mb = flavor_mb
        instance.memory_mb = flavor_mb
        instance.save()

    def break_placement(self, host='compute1'):
        """Let one host have no answer from placement.

        :returns: what to call to mend it
        """
        patch = mock.patch.object(
            self.computes[host].manager.reportclient,
            'get_allocs_for_consumer', side_effect=ks_exc.ConnectFailure())
        patch.start()
        self.addCleanup(mock.patch.stopall)
        return patch.stop

    def request_lost(self):
        """Let the host die before it has a request to resize the memory."""
        self.set_task_state(self.server, 'resize_prep')
        context = nova_context.get_admin_context()
        context.request_id = 'req-' + uuidutils.generate_uuid()
        objects.InstanceAction.action_start(
            context, self.server['id'], 'resizeMemory', want_result=False)

    def reconciled(self):
        """Count the corrections that the server has a record of."""
        actions = self.admin_api.get_instance_actions(self.server['id'])
        return [action['action'] for action in actions].count(
            'reconcileMemory')

    def assert_refused(self, status, sentence, api=None):
        """Both ways to migrate are answered so, and nothing has moved."""
        before = self.state(self.server)
        for action in (
                {'migrate': None},
                {'os-migrateLive': {
                    'host': None, 'block_migration': 'auto'}}):
            got, body = self.call(
                api or self.admin_api, 'POST', self.server['id'], 'action',
                action)
            self.assertEqual(status, got, body)
            (fault,) = body.values()
            self.assertEqual(status, fault['code'])
            self.assertIn(sentence, fault['message'])
        self.assertEqual(before, self.state(self.server))
        self.assertEqual(0, self.placed_mb('compute2'))


@ddt.ddt
class TestMigrations(UnsettledTestBase):
    """The host is there: it settles the books first."""

    @ddt.data(*LEFT_BEHIND)
    def test_live_migration(self, name):
        guest_mb = LEFT_BEHIND[name][0]
        self.leave(*LEFT_BEHIND[name])
        self.live_migrate()
        self.assert_on('compute2', guest_mb)
        self.assert_books(self.server, guest_mb)
        self.assert_host('compute1', 0)
        self.assertEqual(1, self.reconciled())

    @ddt.data(*BOTH_WAYS)
    def test_cold_migration(self, name):
        guest_mb = LEFT_BEHIND[name][0]
        self.leave(*LEFT_BEHIND[name])
        self.cold_migrate()
        self.assert_on('compute2', guest_mb)
        self.assert_folded()
        self.assert_host('compute1', guest_mb)
        self._revert_resize(self.server)
        self.assert_on('compute1', guest_mb)
        self.assert_books(self.server, guest_mb)
        self.assert_host('compute2', 0)

    @ddt.data(*BOTH_WAYS)
    def test_reverted_cold_resize(self, name):
        """It gets back what its guest had, not what its flavor said."""
        guest_mb = LEFT_BEHIND[name][0]
        self.leave(*LEFT_BEHIND[name])
        self._resize_server(self.server, self.create_flavor(memory_mb=2048))
        self._revert_resize(self.server)
        self.assert_on('compute1', guest_mb)
        self.assert_books(self.server, guest_mb)
        self.assert_host('compute2', 0)

    def test_of_a_stopped_server(self):
        """It starts with what its flavor says; only that is claimed."""
        self.claim(self.server, 768)
        self._stop_server(self.server)
        self.cold_migrate()
        self.assert_on('compute2', base.BOOT_MB)
        self.assert_host('compute1', base.BOOT_MB)

    def test_settled_server(self):
        """Nothing is written where nothing differs."""
        self.live_migrate()
        self.assertEqual(0, self.reconciled())

    def test_full_host(self):
        """A host that cannot claim what the guest has lets it go."""
        self.attach_unbooked(self.server, 512)
        self.fill_host(free_mb=0)
        self.live_migrate()
        self.assert_on('compute2', 1024)
        self.assert_books(self.server, 1024)
        self.assertEqual(0, self.placed_mb('compute1'))

    def test_foreign_memory_is_adopted(self):
        self.attach_unbooked(self.server, 128, foreign=True)
        self.live_migrate()
        self.assert_on('compute2', 640)
        self.assert_books(self.server, 640)


class TestRefusedMigrations(UnsettledTestBase):
    """Nobody knows what the server has: it stays where it is."""

    def test_foreign_memory_is_not_adopted(self):
        self.flags(adopt_foreign_devices=False, group='memhotplug')
        self.attach_unbooked(self.server, 128, foreign=True)
        self.assert_refused(409, '128 MiB were attached to this server by '
                                 'other means than this API')
        self.flags(adopt_foreign_devices=True, group='memhotplug')
        self.cold_migrate()
        self.assert_on('compute2', 640)

    def test_placement_is_away(self):
        self.leave(1024, 512, 1024)
        mend = self.break_placement()
        self.assert_refused(503, 'not moved: The server\'s memory could not '
                                 'be accounted for')
        mend()
        self.live_migrate()
        self.assert_on('compute2', 1024)

    def test_what_a_tenant_is_told(self):
        """Not what placement or the hypervisor has said."""
        self.useFixture(fixtures.PolicyFileFixture({
            'os_compute_api:os-migrate-server:migrate': '@',
            'os_compute_api:os-migrate-server:migrate_live': '@',
        }))
        self.break_placement()
        self.assert_refused(
            503, 'The memory of this server cannot be accounted for right '
                 'now, so it is not moved.', api=self.api)

    def test_host_does_not_answer(self):
        """A host that is up, and whose RPC server is gone."""
        self.flags(rpc_response_timeout=1)
        self.computes['compute1'].rpcserver.stop()
        self.assert_refused(503, 'so it is not moved')


class TestLeftToNova(UnsettledTestBase):
    """What Nova itself answers as ever."""

    def _migrate(self, api):
        return self.call(api, 'POST', self.server['id'], 'action',
                         {'migrate': None})[0]

    def test_who_may_not(self):
        """A request that the policy refuses asks no host for anything."""
        self.attach_unbooked(self.server, 512)
        for status, api in (
                (403, self.api), (403, self.api_fixture.reader_api),
                (404, self.other_project())):
            self.assertEqual(status, self._migrate(api))
        self.assertEqual(0, self.reconciled())
        self.assertEqual(512, self.instance(self.server).flavor.memory_mb)

    def test_busy(self):
        """The books are in transit: the resize itself brings them home."""
        waiting, go_on = self.hold_attach()
        self.resize(self.server, 1024)
        self.assertTrue(waiting.wait(30))
        self.assertEqual(409, self._migrate(self.admin_api))
        self.assertEqual(1024, self.allocation(self.server))
        go_on.set()
        self.wait_idle(self.server)
        self.assert_books(self.server, 1024)

    def test_host_is_down(self):
        self.attach_unbooked(self.server, 512)
        self.take_down('compute1')
        self.assertEqual(409, self._migrate(self.admin_api))
        self.assertEqual(0, self.reconciled())

    def test_host_without_the_extension(self):
        """There is nobody to ask, so the books count as they are."""
        self.flags(compute_driver=base.STOCK_DRIVER)
        self.restart_compute_service('compute1')
        self.cold_migrate()
        self.assert_on('compute2', base.BOOT_MB)

    def test_server_without_the_key(self):
        """Its host is not even asked."""
        patch = mock.patch.object(rpcapi.MemHotplugAPI, 'reconcile_memory')
        asked = patch.start()
        self.addCleanup(patch.stop)
        instance = self.instance(self.server)
        del instance.flavor.extra_specs['memhotplug:max_memory_mb']
        instance.save()
        self.cold_migrate()
        asked.assert_not_called()

    def test_malformed(self):
        self.attach_unbooked(self.server, 512)
        status, body = self.call(
            self.admin_api, 'POST', self.server['id'], 'action',
            {'migrate': 'what'})
        self.assertEqual(400, status, body)


@ddt.ddt
class TestNobodyToAsk(UnsettledTestBase):
    """The host is dead, or the server has none: it starts with what its
    flavor says (design T4), and that is what it has allocated then.
    """

    @ddt.data(*BOTH_WAYS)
    def test_evacuation(self, name):
        _guest_mb, flavor_mb, allocated_mb = LEFT_BEHIND[name]
        self.leave(*LEFT_BEHIND[name])
        self.request_lost()
        self.evacuate()
        self.assert_on('compute2', flavor_mb)
        self.assert_folded()
        self.assertEqual(
            allocated_mb, self.claimed_mb(self.server, 'compute1'))
        # The host comes back and finds that the server has left.
        self.restart_compute_service('compute1')
        self.force_down('compute1', False)
        self.assert_books(self.server, flavor_mb)
        self.assert_host('compute1', 0)
        self.assert_no_domain('compute1')

    @ddt.data(*BOTH_WAYS)
    def test_unshelving(self, name):
        """The guest was looked at before it was stopped (T11)."""
        guest_mb = LEFT_BEHIND[name][0]
        self.leave(*LEFT_BEHIND[name])
        self.shelve()
        self.unshelve()
        self.assert_on('compute2', guest_mb)
        self.assert_books(self.server, guest_mb)
        self.assert_host('compute1', 0)
