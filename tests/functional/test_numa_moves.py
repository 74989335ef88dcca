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

"""Servers that are bound to NUMA nodes and huge pages move.

They have grown before, and go on to grow where they come to.
"""

from unittest import mock

import ddt
from nova.tests.fixtures import libvirt as fakelibvirt

from nova_memhotplug.core import domain
from nova_memhotplug.core import units
from tests.functional import base
from tests.functional import test_moves
from tests.functional import test_numa

CASES = test_numa.CASES
HUGE_KIB = test_numa.HUGE_KIB
GROWN_MB = test_moves.GROWN_MB


class NumaMovesTestBase(test_numa.NumaMixin, test_moves.MovesTestBase):
    """Two such hosts."""

    case = CASES['huge pages, uneven nodes']

    def _boot(self):
        """Boot a server on the first host."""
        self._disable('compute2')
        server = self.boot_case(self.case)
        self._disable('compute2', False)
        return server

    def assert_there(self, host, total_mb):
        """The server is on a host, and all agree on what it has there."""
        self.assert_on(host, total_mb)
        self.assert_all(self.server, self.case, total_mb)

    def assert_empty(self, host):
        """Nothing is claimed on a host."""
        self.assert_host(host, 0)
        self.assertEqual([0, 0], self.used_by_node(host))
        self.assert_no_domain(host)

    def assert_goes_on(self, total_mb):
        """It grows on its new host."""
        self.grow(self.server, total_mb)
        self.assert_all(self.server, self.case, total_mb)


@ddt.ddt
class TestMoves(NumaMovesTestBase):

    def use(self, name):
        """Have the server be one of another flavor."""
        self.api.delete_server(self.server['id'])
        self._wait_until_deleted(self.server)
        self.case = CASES[name]
        self.server = self._boot()

    @ddt.data('huge pages, uneven nodes', 'pinned', 'no reserved cell')
    def test_cold_migration(self, name):
        self.use(name)
        self.grown()
        self.cold_migrate()
        self.assert_there('compute2', GROWN_MB)
        self.assert_layout(
            self.server, self.case, self.case.grown(GROWN_MB))
        self.confirm()
        self.assert_there('compute2', GROWN_MB)
        self.assert_empty('compute1')
        self.assert_goes_on(1280)
        self.assert_devices(self.server, self.case, 256)

    def test_reverted_cold_migration(self):
        self.grown()
        self.cold_migrate()
        self._revert_resize(self.server)
        self.assert_there('compute1', GROWN_MB)
        self.assert_layout(
            self.server, self.case, self.case.grown(GROWN_MB))
        self.assert_empty('compute2')
        self.assert_goes_on(1280)

    @ddt.data('huge pages, uneven nodes', 'pinned', 'no reserved cell')
    def test_live_migration(self, name):
        self.use(name)
        self.grown()
        self.live_migrate()
        self.assert_there('compute2', GROWN_MB)
        self.assert_devices(self.server, self.case, 512)
        self.assert_empty('compute1')
        self.assert_goes_on(1280)
        self.assert_devices(self.server, self.case, 512, 256)

    def test_evacuation(self):
        self.grown()
        self.evacuate()
        self.assert_on('compute2', GROWN_MB)
        self.assert_layout(
            self.server, self.case, self.case.grown(GROWN_MB))
        self.restart_compute_service('compute1')
        self.force_down('compute1', False)
        self.assert_there('compute2', GROWN_MB)
        self.assert_empty('compute1')
        self.assert_goes_on(1280)

    def test_unshelving(self):
        self.grown()
        self.shelve()
        self.assert_empty('compute1')
        self.unshelve()
        self.assert_there('compute2', GROWN_MB)
        self.assert_layout(
            self.server, self.case, self.case.grown(GROWN_MB))
        self.assert_goes_on(1280)

    def leave_uneven(self):
        """Have a guest keep one share of two."""
        self.use('pinned, two nodes')
        self.refuse_second_attach()
        self.keep_devices()
        self.grow(self.server, GROWN_MB)
        self.assert_cells(self.server, self.case, (512, 256))
        self.accept_attach()

    def test_live_migration_of_uneven_nodes(self):
        """Nova finds room for even nodes. The guest has what it has, and the
        books of its new host follow it (T2).
        """
        self.leave_uneven()
        self.live_migrate()
        self.run_periodic_task('compute2')
        self.assert_cells(self.server, self.case, (512, 256))
        self.assert_host_cells(self.server, self.case, (512, 256))

    def test_cold_migration_of_uneven_nodes(self):
        """The guest starts afresh, with even nodes."""
        self.leave_uneven()
        self.cold_migrate()
        self.confirm()
        self.assert_layout(self.server, self.case, (384, 384))
        self.assert_all(self.server, self.case, 768)

    def cold_resize(self, cells_mb):
        """Resize the server to a flavor with nodes of these sizes."""
        self._resize_server(self.server, self.create_flavor(
            dict(base.ELASTIC, **self.case.sized(cells_mb)), sum(cells_mb)))

    def test_cold_resize(self):
        """What the new flavor names counts, whatever was added before."""
        self.grown()
        self.cold_resize((256, 1024))
        self.assert_layout(self.server, self.case, (256, 1024))
        self.confirm()
        self.assert_cells(self.server, self.case, (256, 1024))
        self.assert_host_cells(self.server, self.case, (256, 1024))
        self.assert_empty('compute1')
        self.grow(self.server, 1536)
        self.assert_cells(self.server, self.case, (384, 1152))
        self.assert_request_spec(self.server, (384, 1152))

    def test_reverted_cold_resize(self):
        self.grown()
        self.cold_resize((256, 1024))
        self._revert_resize(self.server)
        self.assert_there('compute1', GROWN_MB)
        self.assert_empty('compute2')
        self.assert_goes_on(1280)


class TestOtherNodes(NumaMovesTestBase):
    """The server is bound to other nodes of its new host.

    There, its larger node finds no room on the first one.
    """

    def setUp(self):
        super().setUp()
        self.fill_nodes(512, host='compute2', page_kib=HUGE_KIB)

    def host_nodes(self):
        """List the nodes of the host that the guest is bound to: its own
        cells, its devices.
        """
        guest = self.guest(self.server)
        return ([cell.backing.host_nodes for cell in guest.own_cells],
                [dev.backing.host_nodes for dev in guest.devices])

    def test_live_migration(self):
        self.grown()
        self.assertEqual((['0', '1'], ['0', '1']), self.host_nodes())
        self.live_migrate()
        self.assertEqual('compute2', self.instance(self.server).host)
        self.assertEqual((['1', '0'], ['1', '0']), self.host_nodes())
        self.assert_devices(self.server, self.case, 512)
        self.assert_cells(self.server, self.case, (640, 384))
        self.assertEqual(
            [3584 + 384, 640], self.used_pages_mb('compute2', HUGE_KIB))
        self.assert_empty('compute1')

        self.grow(self.server, 1280)
        self.assertEqual(
            (['1', '0'], ['1', '0', '1', '0']), self.host_nodes())
        self.assert_cells(self.server, self.case, (768, 512))
        self.assertEqual(
            [4096, 768], self.used_pages_mb('compute2', HUGE_KIB))
        status, body = self.resize(self.server, 1536, self.admin_api)
        self.assertEqual(409, status, body)
        self.assertIn(
            'bound to NUMA node 0 of its host, which has 0 MiB in pages of '
            '2048 KiB free; 128 MiB more were asked for there.',
            body['conflictingRequest']['message'])

    def test_another_emulator(self):
        """The destination names nodes, and what starts an empty cell."""
        self.grown()
        self.memory_libvirt.domain.native_hosts.add('compute2')
        self.restart_compute_service('compute2')
        shim = self.memory_libvirt.shim_directory
        self.assertIn(shim, self.guest(self.server).emulator)
        self.live_migrate()
        self.assertEqual('compute2', self.instance(self.server).host)
        self.assertEqual((['1', '0'], ['1', '0']), self.host_nodes())
        self.assertNotIn(shim, self.guest(self.server).emulator)

    def test_there_and_back(self):
        self.grown()
        self.live_migrate()
        self.grow(self.server, 1280)
        self.live_migrate()
        self.assertEqual('compute1', self.instance(self.server).host)
        self.assertEqual(
            (['0', '1'], ['0', '1', '0', '1']), self.host_nodes())
        self.assert_there('compute1', 1280)
        self.assert_devices(self.server, self.case, 512, 256)

    def test_cold_migration(self):
        self.grown()
        self.cold_migrate()
        self.confirm()
        self.assertEqual((['1', '0'], []), self.host_nodes())
        self.grow(self.server, 1280)
        self.assertEqual((['1', '0'], ['1', '0']), self.host_nodes())
        self.assert_cells(self.server, self.case, (768, 512))
        self.assertEqual(
            [4096, 768], self.used_pages_mb('compute2', HUGE_KIB))

    def test_evacuation(self):
        self.grown()
        self.evacuate()
        self.assertEqual((['1', '0'], []), self.host_nodes())
        self.grow(self.server, 1280)
        self.assertEqual((['1', '0'], ['1', '0']), self.host_nodes())
        self.assertEqual(
            [4096, 768], self.used_pages_mb('compute2', HUGE_KIB))

    def test_failed_live_migration(self):
        """The devices stay where they are, and growth goes on there."""
        self.grown()
        seen = []

        def fail(this, destination, params, flags):
            seen.append(domain.read(params['destination_xml']))
            this.fail_job()

        with mock.patch.object(
                self.memory_libvirt.domain, 'migrateToURI3', fail):
            self._live_migrate(
                self.server, 'failed', api=self.admin_api)
        self.assertEqual(['1', '0'], [
            dev.backing.host_nodes for dev in seen[0].devices])
        self.assertEqual((['0', '1'], ['0', '1']), self.host_nodes())
        self.assert_there('compute1', GROWN_MB)
        self.assertEqual([3584, 0], self.used_by_node('compute2'))
        self.assert_goes_on(1280)
        self.assert_devices(self.server, self.case, 512, 256)

    def test_host_with_fewer_nodes(self):
        """A hypervisor takes no device on a node that it does not have."""
        self.api.delete_server(self.server['id'])
        self._wait_until_deleted(self.server)
        self.case = CASES['huge pages']
        self.fill_nodes(0, page_kib=HUGE_KIB)
        self.server = self._boot()
        self.grown()
        self.assertEqual((['1'], ['1']), self.host_nodes())
        self.start_compute('compute3', fakelibvirt.HostInfo(
            cpu_nodes=1, cpu_sockets=1, cpu_cores=8, cpu_threads=1,
            kB_mem=units.mb_to_kib(test_numa.NODE_MB),
            mempages=[test_numa.node_pages()]))
        self._live_migrate(
            self.server, api=self.admin_api, host='compute3')
        self.assertEqual('compute3', self.instance(self.server).host)
        self.assertEqual((['0'], ['0']), self.host_nodes())
        self.grow(self.server, 1280)
        self.assertEqual((['0'], ['0', '0']), self.host_nodes())
        self.assertEqual([1280], self.used_pages_mb('compute3', HUGE_KIB))

    def test_no_room_on_the_way(self):
        """A server that has grown finds no host: it stays where it is."""
        self.grow(self.server, 1536)
        self.admin_api.post_server_action(self.server['id'], {
            'os-migrateLive': {'host': None, 'block_migration': 'auto'}})
        self._wait_for_migration_status(self.server, ['error'])
        self.wait_idle(self.server)
        self.assert_there('compute1', 1536)
        self.assert_devices(self.server, self.case, 1024)
        self.assertEqual([3584, 0], self.used_by_node('compute2'))
