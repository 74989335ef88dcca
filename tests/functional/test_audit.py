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

from unittest import mock

from nova.cmd import manage
from nova import objects
from nova.scheduler.client import report
import oslo_messaging as messaging
from oslo_utils.fixture import uuidsentinel as uuids

from nova_memhotplug.cmd import audit
from nova_memhotplug.cmd import census
from nova_memhotplug.common import nodes
from nova_memhotplug.common import placement
from nova_memhotplug.common import rpcapi
from nova_memhotplug.core import errors
from tests.functional import base
from tests.functional import fixtures

FOREIGN_DIMM = ('<memory model="dimm"><target><size unit="KiB">131072</size>'
                '<node>1</node></target></memory>')


class AuditTestBase(base.MemoryTestBase):

    def audit(self, fix=False, **scope):
        """Look at everything, or at what is named."""
        result = audit.Audit(census.Census(
            report.report_client_singleton(), census.Scope(**scope)), fix)
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


class TestAudit(AuditTestBase):

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


class TestShims(AuditTestBase):

    def setUp(self):
        super().setUp()
        self.start_compute('compute2', self.host_info())
        for host in ('compute1', 'compute1', 'compute1', 'compute2'):
            server = self._create_server(
                networks='none', host=host, api=self.admin_api,
                flavor_id=self.create_flavor(base.ELASTIC))
        self._suspend_server(server)
        self.boot()

    def test_counted(self):
        result = self.audit()
        self.assert_clean(result)
        self.assertEqual([audit.Shims('compute1', 3, 3, 0),
                          audit.Shims('compute2', 0, 1, 1)], result.shims)

    def test_scopes(self):
        self.assertEqual([audit.Shims('compute2', 0, 1, 1)],
                         self.audit(hosts=['compute2']).shims)
        self.assertEqual([], self.audit(servers=[uuids.nothing]).shims)

    def test_none(self):
        self.flags(shim_directory='/elsewhere', group='memhotplug')
        result = self.audit()
        self.assert_clean(result)
        self.assertEqual([], result.shims)

    def test_not_known(self):
        """An earlier version does not count; a fault is named."""
        method = rpcapi.MemHotplugAPI, 'count_shims'
        for error, problems in (
                (messaging.UnsupportedVersion('1.4', 'count_shims'), []),
                (messaging.MessagingTimeout('no reply'), [
                    'Host compute%d: MessagingTimeout: no reply' % number
                    for number in (1, 2)])):
            with mock.patch.object(*method, side_effect=error):
                result = self.audit()
            self.assertEqual(([], problems), (result.shims, result.problems))


class TestCost(AuditTestBase):

    def count(self):
        """Count what an audit asks of hosts and of placement."""
        asked, totals = [], rpcapi.MemHotplugAPI.get_totals

        def get_totals(this, context, host, uuids):
            asked.append(host)
            return totals(this, context, host, uuids)

        with (mock.patch.object(
                rpcapi.MemHotplugAPI, 'get_totals', get_totals),
              mock.patch.object(
                rpcapi.MemHotplugAPI, 'observe_memory') as observe,
              fixtures.HostCallsFixture(
                  self.memory_libvirt.domain) as host):
            result = self.audit()
        observe.assert_not_called()
        self.assert_clean(result)
        return result.compared, asked, host.requests

    def test_once_for_each_host(self):
        """Whatever the number of servers, and of pages."""
        self.stub_out('nova_memhotplug.cmd.census.PAGE', 2)
        self.start_compute('compute2', self.host_info())
        self._disable('compute2')
        self.boot_elastic()
        once = (['compute1'], ['get /resource_providers/*/allocations'])
        self.assertEqual((1, *once), self.count())
        for _server in range(4):
            self.boot_elastic()
        self.assertEqual((5, *once), self.count())

    def _disable(self, host):
        (service,) = self.admin_api.get_services(
            host=host, binary='nova-compute')
        self.admin_api.put_service(service['id'], {'status': 'disabled'})

    def test_request_specs(self):
        """They are read as Nova itself reads them."""
        servers = [self.boot_elastic(), self.boot()]
        self.assertEqual(
            {server['id']: objects.RequestSpec.get_by_instance_uuid(
                self.ctxt, server['id']).flavor.memory_mb
             for server in servers},
            census._request_specs_mb([one['id'] for one in servers]))


class TestAway(AuditTestBase):
    """Somebody does not answer, or something goes on meanwhile."""

    def test_resized_meanwhile(self):
        """What has changed between two answers is no difference."""
        server, gone = self.boot_elastic(), self.boot_elastic()
        totals = rpcapi.MemHotplugAPI.get_totals
        once = []

        def get_totals(*arguments):
            found = dict.fromkeys(totals(*arguments), 1024)
            if not once:
                once.append(True)
                self.change(server, 1024)
                self.instance(gone).destroy()
            return found

        with mock.patch.object(
                rpcapi.MemHotplugAPI, 'get_totals', get_totals):
            result = self.audit()
        self.assert_clean(result)
        self.assertEqual(1, result.compared)

    def change(self, server, total_mb):
        """Do to the books and the guest what a resize does.

        nova-api cannot do it: Nova's fixture has one cell at a time, and the
        audit is in it.
        """
        self.attach_unbooked(server, total_mb - base.BOOT_MB)
        self.claim(server, total_mb)
        instance = self.instance(server)
        instance.flavor.memory_mb = instance.memory_mb = total_mb
        instance.save()

    def test_host_does_not_answer(self):
        """The rest is compared, and the host is asked once."""
        servers = [self.boot_elastic() for _ in range(2)]
        self.falsify(servers[0], 1024)
        with mock.patch.object(
                rpcapi.MemHotplugAPI, 'get_totals',
                side_effect=messaging.MessagingTimeout('no reply')) as asked:
            for fix in (False, True):
                result = self.audit(fix)
                self.assertEqual(audit.Code.FAILED, result.code)
                (problem,) = result.problems
                self.assertIn('Host compute1: no reply', problem)
                for server in servers:
                    self.assertIn(server['id'], problem)
                self.assertEqual([(servers[0]['id'], 'allocation', 1024, 512)],
                                 self.rows(result.remaining))
        self.assertEqual(2, asked.call_count)
        self.assertEqual(1024, self.allocation(servers[0]))

    def test_guest_that_cannot_be_read(self):
        server = self.boot_elastic()
        with mock.patch.object(
                rpcapi.MemHotplugAPI, 'get_totals',
                return_value={server['id']: None}):
            result = self.audit()
        self.assertEqual(
            ['Server %s: host compute1 cannot read its domain.' %
             server['id']], result.problems)

    def test_placement_is_away(self):
        """Nothing allocated is something else than not known."""
        self.boot_elastic()
        with mock.patch.object(
                placement.Placement, 'allocated_on',
                side_effect=errors.AccountingFailed(reason='away')):
            result = self.audit()
        self.assertEqual((audit.Code.FAILED, [], 1), (
            result.code, result.remaining, result.compared))
        self.assertIn('away', result.problems[0])

    def test_cell_is_away(self):
        """What was found in others is told."""
        server = self.boot_elastic()
        self.attach_by_hand(server)
        # Nova's fixture has no database that is called like this.
        objects.CellMapping(
            self.ctxt, uuid=uuids.dead, name='dead', transport_url='',
            database_connection='sqlite://away', disabled=False).create()
        result = self.audit()
        self.assertEqual(audit.Code.FAILED, result.code)
        (problem,) = result.problems
        self.assertIn('Cell dead: ', problem)
        self.assertEqual([(server['id'], 'live domain', 640, 512)],
                         self.rows(result.remaining))


class TestScope(AuditTestBase):

    def setUp(self):
        super().setUp()
        self.start_compute('compute2', self.host_info())
        self.servers = []
        for host in ('compute1', 'compute2'):
            server = self._create_server(
                networks='none', host=host, api=self.admin_api,
                flavor_id=self.create_flavor(base.ELASTIC))
            self.attach_by_hand(server)
            self.servers.append(server['id'])

    def found(self, **scope):
        result = self.audit(**scope)
        return [one.uuid for one in result.remaining], result.problems

    def test_scopes(self):
        first, second = self.servers
        for scope, expected in (
                ({'hosts': ['compute2']}, [second]),
                ({'hosts': ['compute1', 'compute2']}, [first, second]),
                ({'servers': [first]}, [first]),
                ({'servers': [first], 'hosts': ['compute1']}, [first]),
                ({'cells': [self.cell_mappings['cell1'].uuid]},
                 [first, second]),
                ({'cells': ['cell1'], 'servers': [second]}, [second])):
            found, problems = self.found(**scope)
            self.assertEqual(
                (sorted(expected), []), (sorted(found), problems), scope)

    def test_unknown(self):
        """A name that was mistyped is no clean bill."""
        for scope, problem in (
                ({'hosts': ['nowhere']}, 'Host nowhere: there is none.'),
                ({'cells': ['none']}, 'Cell none: there is none.'),
                ({'servers': [uuids.nothing]},
                 'Server %s: there is none, or its memory cannot grow.' %
                 uuids.nothing)):
            found, problems = self.found(**scope)
            self.assertEqual(([], [problem]), (found, problems))
