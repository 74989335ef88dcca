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

"""An older flavor that another writer of Nova has put back after a commit.

Whatever has read a server before, and saves it afterwards, writes the flavor
that it has read: to rename it, for example.
"""

import os
from unittest import mock

import ddt
from nova import conf as nova_conf
from nova import exception
from nova import objects
from nova.objects import instance as instance_obj
from nova.virt.libvirt import driver as libvirt_driver

from nova_memhotplug.compute import reconcile
from nova_memhotplug.core import errors
from nova_memhotplug.virt import guest
from tests.functional import base
from tests.functional import fixtures
from tests.functional import test_moves

GROWN_MB = 1024
#: Another image of Nova's fixture.
OTHER_IMAGE = '155d900f-4e14-4e4c-a73d-069cbf4541e6'


class OlderFlavorTestBase(base.MemoryTestBase):

    def grow_and_lose(self, server):
        """Grow a server, and rename it by a copy from before."""
        older = objects.Instance.get_by_uuid(
            self.ctxt, server['id'], expected_attrs=['flavor'])
        self.grow(server, GROWN_MB)
        self.assert_books(server, GROWN_MB)
        older.display_name = 'renamed'
        older.save()
        self.assertEqual(
            base.BOOT_MB, self.instance(server).flavor.memory_mb)
        self.assertEqual(GROWN_MB, self.guest(server).present_mb)

    def forget(self):
        """Let no periodic task look at a server again."""
        for compute in self.computes.values():
            compute.driver._reconciler._due.fill([])
            compute.driver._reconciler._due._entries.clear()

    def corrections(self, server):
        return [action['action'] for action in (
            self.admin_api.get_instance_actions(server['id']))].count(
                reconcile.RECONCILE_MEMORY)


@ddt.ddt
class TestStop(OlderFlavorTestBase):
    """The guest is looked at once more before it goes."""

    def setUp(self):
        super().setUp()
        self.server = self.boot_elastic()

    def hard_reboot(self):
        self._reboot_server(self.server, hard=True)

    def stop_and_start(self):
        self._stop_server(self.server)
        self._start_server(self.server)

    def shelve(self):
        self.flags(shelved_offload_time=-1)
        self._shelve_server(self.server, expected_state='SHELVED')
        self._unshelve_server(self.server)

    def shelve_and_offload(self):
        self.flags(shelved_offload_time=0)
        self._shelve_server(
            self.server, expected_state='SHELVED_OFFLOADED')
        self._unshelve_server(self.server)

    def rescue(self):
        # Nova's fixtures make no disks, and no directory for them.
        os.makedirs(os.path.join(
            nova_conf.CONF.instances_path, self.server['id']))
        self._rescue_server(self.server)
        self._unrescue_server(self.server)

    def rebuild(self):
        self._rebuild_server(self.server, OTHER_IMAGE)

    @ddt.data('hard_reboot', 'stop_and_start', 'shelve',
              'shelve_and_offload', 'rescue', 'rebuild')
    def test_nothing_lost(self, operation):
        self.grow_and_lose(self.server)
        self.forget()
        getattr(self, operation)()
        self.assert_books(self.server, GROWN_MB)
        self.assertEqual(1, self.corrections(self.server))

    def test_soft_reboot_that_becomes_hard(self):
        self.grow_and_lose(self.server)
        self.forget()
        with mock.patch.object(
                libvirt_driver.LibvirtDriver, '_soft_reboot',
                lambda this, instance: this._host.get_guest(
                    instance).poweroff()):
            self._reboot_server(self.server)
        self.assert_books(self.server, GROWN_MB)

    def test_numa(self):
        server = self.boot_elastic(**{'hw:numa_nodes': '2'})
        self.grow_and_lose(server)
        self.forget()
        self._reboot_server(server, hard=True)
        self.assert_books(server, GROWN_MB)
        self.assertEqual(
            [512, 512], [cell.memory for cell in self.instance(
                server).numa_topology.cells])

    def test_object_from_before(self):
        """Only the message of nova-api has the older flavor."""
        older = objects.Instance.get_by_uuid(
            self.ctxt, self.server['id'],
            expected_attrs=list(instance_obj.INSTANCE_DEFAULT_FIELDS) + [
                'flavor'])
        self.grow(self.server, GROWN_MB)
        driver = self.computes['compute1'].driver
        driver.power_off(older)
        self.assertEqual(
            (GROWN_MB, GROWN_MB), (older.flavor.memory_mb, older.memory_mb))
        self.assertEqual(0, self.corrections(self.server))
        self.assertEqual(GROWN_MB, self.used_mb('compute1'))

    def test_next_periodic_task(self):
        """A server that something has happened to is looked at again."""
        self.grow_and_lose(self.server)
        self.computes['compute1'].driver._reconciler.remember(
            self.instance(self.server))
        self.run_periodic_task()
        self.assert_books(self.server, GROWN_MB)
        self.assertEqual(1, self.corrections(self.server))


class TestNeverInTheWay(OlderFlavorTestBase):
    """What fails is in the log; the guest is stopped all the same."""

    def setUp(self):
        super().setUp()
        self.server = self.boot_elastic()

    def test_libvirt_does_not_tell(self):
        self.grow_and_lose(self.server)
        self.forget()
        with mock.patch.object(
                guest.LiveGuest, 'read',
                side_effect=errors.HypervisorRefused(reason='busy')):
            self._stop_server(self.server)
        self.assertIn('It could not be made sure that this server keeps',
                      self.stdlog.logger.output)

    def test_database_is_away(self):
        self.grow_and_lose(self.server)
        self.forget()
        with mock.patch.object(
                reconcile.Reconciler, '_keep',
                side_effect=exception.ServiceUnavailable()):
            self._stop_server(self.server)

    def test_host_is_full(self):
        """The flavor follows the guest; the rest is tried later."""
        self.grow_and_lose(self.server)
        self.forget()
        self.claim(self.server, base.BOOT_MB)
        self.fill_host()
        self._reboot_server(self.server, hard=True)
        self.assertEqual(
            GROWN_MB, self.instance(self.server).flavor.memory_mb)
        self.assertEqual(GROWN_MB, self.guest(self.server).present_mb)
        self.assertEqual(base.BOOT_MB, self.allocation(self.server))
        self.assertIn(
            self.server['id'],
            self.computes['compute1'].driver._reconciler._due.entries())

    def test_memory_that_must_not_be_adopted(self):
        self.flags(adopt_foreign_devices=False, group='memhotplug')
        self.attach_unbooked(self.server, 512, foreign=True)
        self._reboot_server(self.server, hard=True)
        self.assert_books(self.server, base.BOOT_MB)

    def test_deleted(self):
        """Nothing is claimed for a server that goes for good."""
        self.attach_unbooked(self.server, 512)
        with fixtures.HostCallsFixture(
                self.memory_libvirt.domain) as host:
            self._delete_server(self.server)
        self.assertEqual(
            [], [one for one in host.requests if one.startswith(
                'put /allocations')])

    def test_cost_without_the_key(self):
        server = self.boot()
        driver = self.computes['compute1'].driver
        with mock.patch.object(
                reconcile.Reconciler, 'before_stop') as look:
            self._reboot_server(server, hard=True)
            self._stop_server(server)
        look.assert_not_called()
        self.assertIsNotNone(driver._reconciler)


class TestColdMigration(OlderFlavorTestBase, test_moves.MovesTestBase):
    """nova-api settles the books before the move; here it goes wrong later."""

    def setUp(self):
        super().setUp()
        # The host is not asked to bring the books to the guest.
        self.stub_out('nova_memhotplug.common.rpcapi.MemHotplugAPI.'
                      'reconcile_memory', lambda *arguments: None)
        self.grow_and_lose(self.server)
        for compute in self.computes.values():
            compute.driver._reconciler._due._entries.clear()

    def test_confirmed(self):
        self.cold_migrate()
        self.assertEqual(
            GROWN_MB, self.instance(self.server).flavor.memory_mb)
        self.assertEqual(GROWN_MB, self.claimed_mb(self.server, 'compute2'))
        self.confirm()
        self.assert_books(self.server, GROWN_MB)

    def test_reverted(self):
        self.cold_migrate()
        self._revert_resize(self.server)
        self.run_periodic_task('compute1')
        self.assert_books(self.server, GROWN_MB)
        self.assertEqual(0, self.placed_mb('compute2'))
