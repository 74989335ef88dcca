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


"""The audit of a deployment that lives in this process."""

from nova.cmd import manage
from nova import objects
from nova.scheduler.client import report

from nova_memhotplug.cmd import audit
from nova_memhotplug.cmd import census
from nova_memhotplug.common import nodes
from tests.functional import base

FOREIGN_DIMM = ('<memory model="dimm"><target><size unit="KiB">131072</size>'
                '<node>1</node></target></memory>')


class TestAudit(base.MemoryTestBase):

    def audit(self, fix=False):
        """Look at everything."""
        result = audit.Audit(
            census.Census(report.report_client_singleton()), fix)
        result.run()
        return result

    def assert_clean(self, result):
        self.assertEqual((audit.Code.CLEAN, [], []), (
            result.code, result.remaining, result.problems))

    @staticmethod
    def rows(found):
        """List differences without their host."""
        return sorted((one.uuid, one.what, one.found_mb, one.expected_mb)
                      for one in found)

    def assert_corrects(self, expected):
        """These differences are named, and corrected when that is asked."""
        result = self.audit()
        self.assertEqual(audit.Code.DIFFERENT, result.code)
        self.assertEqual(expected, self.rows(result.remaining))
        result = self.audit(fix=True)
        self.assert_clean(result)
        self.assertEqual(expected, self.rows(result.corrected))

    def attach_by_hand(self, server):
        self.fake_domain(server).attachDeviceFlags(FOREIGN_DIMM, 3)

    def falsify(self, server, memory_mb):
        """Write something else into placement."""
        body = self.placement.get(
            '/allocations/' + server['id'], version='1.28').body
        for allocation in body['allocations'].values():
            allocation.pop('generation')
            allocation['resources']['MEMORY_MB'] = memory_mb
        answer = self.placement.put(
            '/allocations/' + server['id'], body, version='1.28')
        self.assertEqual(204, answer.status)

    def host_down(self):
        service_id = self.admin_api.get_services(
            host='compute1', binary='nova-compute')[0]['id']
        self.computes['compute1'].stop()
        self.admin_api.put_service_force_down(service_id, True)

    def test_healthy(self):
        grown, fresh = self.boot_elastic(), self.boot_elastic()
        self.boot()
        self._stop_server(fresh)
        self.grow(grown, 1024)
        result = self.audit()
        self.assert_clean(result)
        self.assertEqual(2, result.compared)
        # Nothing has moved the server since it grew.
        self.assertEqual(1, result.behind)
        result = self.audit(fix=True)
        self.assert_clean(result)
        self.assertEqual(([], 0), (result.corrected, result.behind))
        self.assertEqual(1024, objects.RequestSpec.get_by_instance_uuid(
            self.ctxt, grown['id']).flavor.memory_mb)

    def test_names_and_corrects(self):
        by_hand, false, good = [self.boot_elastic() for _ in range(3)]
        self.grow(by_hand, 1024)
        self.attach_by_hand(by_hand)
        self.falsify(false, 4096)
        expected = sorted([(by_hand['id'], 'live domain', 1152, 1024),
                           (false['id'], 'allocation', 4096, 512)])
        self.assert_corrects(expected)
        self.assert_books(by_hand, 1152)
        self.assert_books(false, 512)
        self.assert_books(good, 512)
        self.assert_clean(self.audit())

    def test_numa_nodes(self):
        server = self.boot_elastic(**{'hw:numa_nodes': '1'})
        self.grow(server, 1024)
        self.assert_clean(self.audit())
        # As a claim that was not followed by anything.
        instance = self.instance(server)
        instance.numa_topology = nodes.resized(instance.numa_topology, (2048,))
        instance.save()
        expected = [(server['id'], 'NUMA nodes', 2048, 1024)]
        self.assert_corrects(expected)
        self.assertEqual(
            (1024,), nodes.cells_mb(self.instance(server).numa_topology))
        self.assert_books(server, 1024)

    def test_what_must_not_be_adopted(self):
        self.flags(adopt_foreign_devices=False, group='memhotplug')
        server = self.boot_elastic()
        self.attach_by_hand(server)
        result = self.audit(fix=True)
        self.assertEqual(audit.Code.FAILED, result.code)
        self.assertIn('adopt_foreign_devices is off', result.problems[0])
        self.assertEqual([(server['id'], 'live domain', 640, 512)],
                         self.rows(result.remaining))

    def test_host_down(self):
        """What its guests have is not known; the rest is."""
        server = self.boot_elastic()
        self.attach_by_hand(server)
        self.falsify(server, 1024)
        self.host_down()
        for fix in (False, True):
            result = self.audit(fix)
            self.assertEqual((audit.Code.DIFFERENT, []), (
                result.code, result.problems))
            self.assertEqual([(server['id'], 'allocation', 1024, 512)],
                             self.rows(result.remaining))
        self.assertEqual(1024, self.allocation(server))

    def test_nothing_allocated(self):
        server, other = self.boot_elastic(), self.boot_elastic()
        self.grow(server, 1024)
        self.placement.delete('/allocations/' + server['id'])
        self.falsify(other, 1024)
        lost = [(server['id'], 'allocation', 0, 1024)]
        result = self.audit(fix=True)
        self.assertEqual(audit.Code.FAILED, result.code)
        (problem,) = result.problems
        self.assertIn('nova-manage placement heal_allocations', problem)
        self.assertIn(server['id'], problem)
        self.assertEqual(lost, self.rows(result.remaining))
        # It stops nothing else.
        self.assert_books(other, 512)

        result = self.audit()
        self.assertEqual(audit.Code.DIFFERENT, result.code)
        self.assertEqual(lost, self.rows(result.remaining))
        # A resize says the same, and leaves the guest alone.
        self.grow(server, 1152)
        self.assert_details(server, 'heal_allocations --instance')
        self.assertEqual(1024, self.guest(server).present_mb)
        # What they tell to do helps.
        self.assertEqual(0, manage.PlacementCommands().heal_allocations(
            instance_uuid=server['id']))
        self.assert_clean(self.audit())
        self.grow(server, 1152)
        self.assert_books(server, 1152)
