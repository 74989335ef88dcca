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
"""A running server gives memory back."""

import json
from unittest import mock

from nova import objects
from nova.scheduler.client import report
from nova.tests.unit import fake_requests

from nova_memhotplug.common import rpcapi
from tests.functional import base
from tests.functional import fixtures


class ShrinkTestBase(base.MemoryTestBase):

    def setUp(self):
        super().setUp()
        self.stub_out('nova_memhotplug.virt.guest.DETACH_TIMEOUT', 0.3)

    def boot_grown(self, *totals_mb, **how):
        server = self.boot_elastic(**how)
        for total_mb in totals_mb:
            self.grow(server, total_mb)
        self.assert_books(server, totals_mb[-1])
        return server

    def keep(self, *sizes_mb):
        """Have guests keep devices of these sizes."""
        kept = {str(size_mb * 1024) for size_mb in sizes_mb}
        self.memory_libvirt.domain.keeps = staticmethod(
            lambda device: device.findtext('target/size') in kept)

    def last(self, server):
        return self.show(server)[1]['memory']['last_resize']


class TestShrink(ShrinkTestBase):

    def test_device_by_device(self):
        server = self.boot_grown(1024, 1152, 2176)
        body = self.grow(server, 1152)
        self.assertEqual(
            {'memory_mb': 1152, 'current_mb': 2176, 'changed': True,
             'devices': [], 'removed': [
                 {'model': 'dimm', 'node': 1, 'size_mb': 1024}],
             'message': 'The guest is being asked to give back 1024 MiB.'},
            body['memory'])
        self.assert_books(server, 1152)
        self.grow(server, 512)
        self.assert_books(server, 512)
        self.assertEqual(512, self.used_mb('compute1'))
        self.assertEqual(512, self.placed_mb('compute1'))
        self.assertEqual('done', self.last(server)['status'])
        self.assertEqual(
            ('confirmed', 640, 640, 'device', True), self.outcome(server))
        self.prepare_move(server)
        self.assertEqual(512, self.request_spec_mb(server))
        # What was given back can be had again.
        self.grow(server, 2560)
        self.assert_books(server, 2560)

    def test_hard_reboot_after_it(self):
        server = self.boot_grown(1024, 1536)
        self.grow(server, 1024)
        self.api.post_server_action(
            server['id'], {'reboot': {'type': 'HARD'}})
        self.wait_idle(server)
        self.assert_books(server, 1024)
        self.assertEqual(1024, self.guest(server).boot_mb)

    def test_order(self):
        """The last one goes first, and each when the one before is gone."""
        server = self.boot_grown(640, 896, 1408)
        sizes_mb = {dev.alias: dev.size_mb
                    for dev in self.guest(server).devices}
        asked = []
        self.memory_libvirt.domain.before_detach = staticmethod(
            lambda domain, alias: asked.append(
                (sizes_mb[alias], len(domain.live))))
        self.grow(server, 512)
        live = [one for one in asked if one[1]]
        self.assertEqual([512, 256, 128], list(dict(live)))
        self.assert_books(server, 512)

    def test_plan(self):
        server = self.boot_grown(1024)
        memory, plan, codes = self.plan(server, 512)
        self.assertEqual(
            ([], [], [{'model': 'dimm', 'node': 1, 'size_mb': 512}]),
            (codes, plan['devices'], plan['removed']))
        self.assertEqual((512, 'host'), (memory['min_mb'], memory['source']))
        memory, plan, codes = self.plan(server, 1152)
        self.assertEqual(([], None, 'note'), (
            plan['removed'], memory['min_mb'], memory['source']))

    def test_total_between_devices(self):
        server = self.boot_grown(1024, 1536)
        self.assertEqual(
            ['below_present_size'], self.plan(server, 1152)[2])
        before = self.state(server)
        for total_mb in (1152, 256):
            status, body = self.resize(server, total_mb)
            self.assertEqual((400, 'below_present_size'), (
                status, body['badRequest']['reason']))
            self.assertIn('be brought to 1024 or 512 MiB',
                          body['badRequest']['message'])
        self.assertEqual(before, self.state(server))

    def test_what_somebody_else_has_attached_stays(self):
        server = self.boot_grown(1024)
        self.fake_domain(server).attachDeviceFlags(
            base.MEMORY_DEVICE % (256 * 1024, ''), 3)
        self.assertEqual(768, self.show(server)[1]['memory']['min_mb'])
        self.grow(server, 768)
        self.assert_books(server, 768)
        self.assertEqual(256, self.guest(server).foreign_mb)

    def test_flavor(self):
        small = self.create_flavor(base.ELASTIC, memory_mb=512)
        large = self.create_flavor(base.ELASTIC, memory_mb=1024)
        server = self._create_server(flavor_id=small, networks='none')
        for flavor_id, total_mb in ((large, 1024), (small, 512)):
            status, body = self.call(
                self.api, 'POST', server['id'], 'action',
                {'resizeMemory': {'flavorRef': flavor_id}})
            self.assertEqual(202, status, body)
            self.wait_idle(server)
            self.assert_books(server, total_mb)
            self.assertEqual(
                flavor_id, self.instance(server).flavor.flavorid)

    def test_project_above_its_quota(self):
        server = self.boot_grown(1024)
        self.flags(ram=512, group='quota')
        self.grow(server, 512)
        self.assert_books(server, 512)

    def test_counts_until_it_is_given_back(self):
        server = self.boot_grown(1024)
        seen = []

        def look(domain, alias):
            instance = self.instance(server)
            seen.append((instance.memory_mb, instance.flavor.memory_mb,
                         self.allocation(server)))

        self.memory_libvirt.domain.before_detach = staticmethod(look)
        self.grow(server, 512)
        self.assertEqual((1024, 1024, 1024), seen[0])
        self.assert_books(server, 512)

    def test_nodes_of_the_host(self):
        """Bound to a node, and with two nodes of the flavor."""
        server = self.boot_grown(
            1024, 1536, **{'hw:numa_nodes': '2'})
        self.assertEqual(4, len(self.guest(server).devices))
        self.grow(server, 1024)
        self.assert_books(server, 1024)
        self.assertEqual((512, 512), tuple(
            cell.memory for cell in
            self.instance(server).numa_topology.cells))
        self.assertEqual((512, 512), self.guest(server).own_cells_mb)

    def test_older_host(self):
        """It would take the request, and fail."""
        server = self.boot_grown(1024)
        node = objects.ComputeNode.get_first_node_by_host_for_old_compat(
            self.ctxt, 'compute1')
        node.stats = dict(node.stats, **{rpcapi.STAT: '1.2'})
        node.save()
        before = self.state(server)
        status, body = self.resize(server, 512)
        self.assertEqual((409, 'host_unaware'), (
            status, body['conflictingRequest']['reason']), body)
        self.assertEqual(before, self.state(server))


class TestGuestKeeps(ShrinkTestBase):

    def assert_kept(self, server, total_mb):
        """The request has failed, and the books are what the guest has."""
        self.assert_details(server, 'The guest keeps ua-memhotplug-')
        last = self.last(server)
        self.assertEqual(('failed', True), (
            last['status'], 'let go of is taken away' in last['message']))
        self.assert_books(server, total_mb)

    def test_all(self):
        server = self.boot_grown(1024)
        self.keep(512)
        self.grow(server, 512)
        self.assert_kept(server, 1024)

    def test_half(self):
        server = self.boot_grown(1024, 1280)
        self.keep(512)
        self.grow(server, 512)
        self.assert_kept(server, 1024)
        self.keep()
        self.grow(server, 512)
        self.assert_books(server, 512)

    def test_libvirt_refuses(self):
        server = self.boot_grown(1024)
        self.memory_libvirt.domain.before_detach = staticmethod(
            mock.Mock(side_effect=fixtures.libvirt_error(1, 'device_del')))
        self.grow(server, 512)
        self.assert_kept(server, 1024)

    def test_it_lets_go_later(self):
        server = self.boot_grown(1024)
        self.keep(512)
        self.grow(server, 512)
        self.assert_kept(server, 1024)
        fake = self.fake_domain(server)
        fake.live.clear()
        self.run_periodic_task()
        self.assert_books(server, 512)
        self.assertEqual(512, self.placed_mb('compute1'))

    def test_placement_is_away(self):
        """The guest has given it back, and placement learns it later."""
        server = self.boot_grown(1024)
        put = report.SchedulerReportClient.put

        def answer(this, url, *args, **kwargs):
            if url != '/allocations/%s' % server['id']:
                return put(this, url, *args, **kwargs)
            return fake_requests.FakeResponse(500, json.dumps({'errors': [{
                'status': 500, 'code': 'placement.undefined_code',
                'detail': 'deadlock'}]}))

        with mock.patch.object(report.SchedulerReportClient, 'put', answer):
            self.grow(server, 512)
            self.assertEqual('done', self.last(server)['status'])
            self.assertEqual(1024, self.allocation(server))
            self.assertEqual(512, self.guest(server).present_mb)
        self.run_periodic_task()
        self.assert_books(server, 512)

    def test_host_dies_before_the_commit(self):
        """What it finds when it starts again is what the guest has."""
        server = self.boot_grown(1024)
        with mock.patch(
                'nova_memhotplug.compute.resize.MemoryResize._shrink',
                side_effect=SystemExit):
            self.resize(server, 512)
        self.fake_domain(server).live.clear()
        self.fake_domain(server).persistent.clear()
        self.restart_compute_service('compute1')
        self.wait_idle(server)
        self.assert_books(server, 512)
