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

"""What nova-compute asks when it starts, and what a failure leaves due."""

import collections
import contextlib
import os
from unittest import mock

from nova.compute import manager
from nova import exception
from nova import objects
import oslo_messaging as messaging

from nova_memhotplug.common import placement
from nova_memhotplug.compute import reconcile
from nova_memhotplug.core import errors
from nova_memhotplug.core import notes
from tests.functional import base
from tests.functional import fixtures
from tests.functional import test_many_servers
from tests.functional import test_opting_in

#: Servers of a host. They share what is asked for the host.
MANY = int(os.environ.get('MEMHOTPLUG_MANY_SERVERS') or 50)
#: libvirt, VIR_ERR_OPERATION_TIMEOUT: something else is going on with the
#: domain (facts-events.md, 0.6).
BUSY = 68


class TestCost(
        test_opting_in.DriversMixin, test_many_servers.ManyServersBase):
    """What a start takes more than one with Nova's own driver."""

    DRIVERS = {'compute1': base.DRIVER}

    def start(self, driver):
        """Start the service of a host again.

        :returns: what it asks: of the conductor, of placement, of libvirt
        """
        with contextlib.ExitStack() as stack:
            conductor = stack.enter_context(
                fixtures.ConductorCallsFixture())
            host = stack.enter_context(fixtures.HostCallsFixture(
                self.memory_libvirt.domain))
            self.install(driver=driver)
            # Services say now and then that they are alive.
            asked = [call for call in conductor.calls
                     if call != 'Service.save']
            return [collections.Counter(one)
                    for one in (asked, host.requests, host.dumps)]

    def test_constant(self):
        servers = self.boot_many(MANY)
        # Nothing is left to do for the next one.
        self.start(base.DRIVER)
        stock = self.start(base.STOCK_DRIVER)
        ours = self.start(base.DRIVER)
        more = [one - other for one, other in zip(ours, stock)]
        self.assertEqual([
            {'InstanceList.get_by_filters': 1, 'InstanceList.get_by_host': 1,
             'ComputeNode.get_by_host_and_nodename': 1},
            {'get /resource_providers/*/allocations': 1},
            {server['id']: 1 for server in servers}],
            [dict(one) for one in more])

    def test_periodic_task(self):
        """Where nothing is due, one question remains: for lost requests."""
        self.boot_many(2)
        self.run_periodic_task()
        with (fixtures.ConductorCallsFixture() as conductor,
              fixtures.HostCallsFixture(
                  self.memory_libvirt.domain) as host):
            self.computes['compute1'].driver._reconciler.run_due()
        self.assertEqual(
            (['InstanceList.get_by_filters'], [], []),
            (conductor.calls, host.requests, host.dumps))


class ServiceStartTestBase(base.MemoryTestBase):

    @property
    def reconciler(self):
        return self.computes['compute1'].driver._reconciler

    def boot_crashed(self, total_mb=1024, count=1):
        """Boot servers, and leave them as a crash in a resize does."""
        servers = [self.boot_elastic() for _ in range(count)]
        for server in servers:
            self.crash_before_commit(server, total_mb)
        return servers

    def due(self):
        """Say which servers need a look; None for all."""
        entries = self.reconciler._due.entries()
        return entries if entries is None else set(entries)

    def logged(self, sentence):
        return self.stdlog.logger.output.count(sentence)

    def let_fail(self, target, name, *failures):
        """Have a method fail so many times, then work.

        :returns: the arguments of the calls
        """
        method, left, calls = getattr(target, name), list(failures), []

        def fail(this, *args, **kwargs):
            calls.append(args)
            if left:
                raise left.pop(0)
            return method(this, *args, **kwargs)

        self.stub_out(
            '%s.%s.%s' % (target.__module__, target.__name__, name), fail)
        return calls


class TestRecovery(ServiceStartTestBase):
    """Whoever does not answer, nothing is forgotten."""

    def assert_later(self, servers, total_mb=1024):
        self.run_periodic_task()
        for server in servers:
            self.assert_books(server, total_mb)

    def test_completed(self):
        (server,) = self.boot_crashed()
        self.restart_compute_service('compute1')
        self.assert_books(server, 1024)

    def test_given_back(self):
        """A crash before the attach leaves a claim and reserved quota."""
        server = self.boot_elastic()
        self.claim(server, 1024)
        instance = self.instance(server)
        instance.task_state = 'resize_prep'
        instance.memory_mb = 1024
        instance.save()
        self.restart_compute_service('compute1')
        self.assert_books(server, base.BOOT_MB)

    def test_conductor_is_away(self):
        (server,) = self.boot_crashed()
        find = objects.InstanceList.get_by_host
        asked = []

        def fail(context, host, expected_attrs=None, **kwargs):
            if expected_attrs == reconcile._ATTRIBUTES and not asked:
                asked.append(host)
                raise messaging.MessagingTimeout('no conductor')
            return find(context, host, expected_attrs=expected_attrs,
                        **kwargs)

        with mock.patch.object(objects.InstanceList, 'get_by_host', fail):
            self.restart_compute_service('compute1')
        self.assertEqual(['compute1'], asked)
        self.assertIsNone(self.due())
        self.assertEqual(base.BOOT_MB, self.instance(server).memory_mb)
        self.assert_later([server])

    def test_placement_is_away(self):
        """One question, not one for each server; then it is waited for."""
        servers = self.boot_crashed(count=3)
        calls = self.let_fail(
            placement.Placement, 'allocated_on',
            *[errors.AccountingFailed(reason='away')] * 3)
        self.restart_compute_service('compute1')
        counts = [len(calls)]
        for _period in range(5):
            self.reconciler.run_due()
            counts.append(len(calls))
        self.assertEqual([1, 2, 2, 3, 3, 3], counts)
        self.assertEqual({server['id'] for server in servers}, self.due())
        # It has waited longer each time.
        self.reconciler.run_due()
        self.assert_later(servers)
        self.assertEqual(4, len(calls))

    def test_placement_fails_for_one(self):
        """The others wait for the next period, and come first then."""
        servers = self.boot_crashed(count=2)
        calls = self.let_fail(
            reconcile.Reconciler, '_correct',
            errors.AccountingFailed(reason='away'))
        self.restart_compute_service('compute1')
        ((_context, failed, *_rest),) = calls
        self.assertEqual(
            failed.uuid, list(self.reconciler._due.entries())[-1])
        self.assert_later(servers)
        self.assertEqual(3, len(calls))

    def test_libvirt_is_busy(self):
        servers = self.boot_crashed(count=2)
        dump, tried = self.memory_libvirt.domain.XMLDesc, []

        def busy(domain, flags):
            tried.append(domain.UUIDString())
            raise fixtures.libvirt_error(
                BUSY, 'Timed out during operation: cannot acquire state '
                'change lock')

        self.restart_compute_service('compute1')
        self.addCleanup(
            setattr, self.memory_libvirt.domain, 'XMLDesc', dump)
        for server in servers:
            self.crash_before_commit(server, 1280)
            self.set_task_state(server, None)
            self.reconciler.remember(self.instance(server))
        before = [self.note(server) for server in servers]
        self.memory_libvirt.domain.XMLDesc = busy
        self.reconciler.run_due()
        self.assertEqual(1, len(tried))
        self.memory_libvirt.domain.XMLDesc = dump
        self.assertEqual(before, [self.note(server) for server in servers])
        self.assert_later(servers, 1280)

    def test_remembered_by_a_thread(self):
        """While servers are looked at, a resize remembers another."""
        first, other = [self.boot_elastic() for _ in range(2)]
        self.run_periodic_task()
        self.reconciler.remember(self.instance(first))
        running = self.reconciler._guests.running

        def remember():
            self.reconciler.remember(self.instance(other))
            return running()

        with mock.patch.object(
                self.reconciler._guests, 'running', remember):
            self.reconciler.run_due()
        self.assertIn(other['id'], self.due())

    def test_nothing_allocated(self):
        """What an operator has to mend keeps nobody else waiting."""
        lost, server = self.boot_crashed(count=2)
        self.placement.delete('/allocations/' + lost['id'])
        self.restart_compute_service('compute1')
        for _period in range(3):
            self.run_periodic_task()
        self.assert_books(server, 1024)
        self.assertEqual({lost['id']}, self.due() - {server['id']})
        self.assertEqual(1, self.logged('has nothing allocated on its host'))


class TestHostFull(ServiceStartTestBase):
    """A guest has more than its host has room for."""

    def test_tried_until_there_is_room(self):
        self.flags(ram=-1, group='quota')
        server = self.boot_elastic()
        self.attach_unbooked(server, 512)
        filler = self.boot(memory_mb=self.free_mb() - 128)
        self.restart_compute_service('compute1')
        for _period in range(3):
            self.run_periodic_task()
        # The flavor follows the guest in any case.
        self.assertEqual(1024, self.instance(server).flavor.memory_mb)
        self.assertEqual(base.BOOT_MB, self.allocation(server))
        self.assertEqual(1, self.logged(
            'ERROR [nova_memhotplug.compute.sweep] The host of this '
            'server has 128 MiB of memory free; 512 MiB more'))
        self.assertEqual(1, self.reconciled(server))
        self.assertEqual({server['id']}, self.due())
        self._delete_server(filler)
        self.run_periodic_task()
        self.assert_books(server, 1024)
        self.assertEqual(2, self.reconciled(server))

    def free_mb(self):
        """Say what placement has free on the host."""
        inventory = self._get_provider_inventory(
            self.compute_rp_uuids['compute1'])['MEMORY_MB']
        return int((inventory['total'] - inventory['reserved']) *
                   inventory['allocation_ratio']) - self.placed_mb('compute1')

    def reconciled(self, server):
        return [action['action'] for action in (
            self.admin_api.get_instance_actions(server['id']))].count(
                reconcile.RECONCILE_MEMORY)


class TestOrder(ServiceStartTestBase):

    def test_renamed_host(self):
        """Nova's own check comes first, and the servers are left alone."""
        server = self.boot_elastic()
        self.attach_unbooked(server, 512)
        before = self.state(server), self.note(server)
        renamed = exception.InvalidConfiguration('the host was renamed')
        with mock.patch.object(
                manager.ComputeManager, '_check_for_host_rename',
                side_effect=renamed):
            self.assertRaises(
                exception.InvalidConfiguration,
                self.restart_compute_service, 'compute1')
        self.computes = {}
        instance = self.instance(server)
        self.assertEqual(base.BOOT_MB, instance.flavor.memory_mb)
        self.assertEqual(before[0]['allocation'], self.allocation(server))
        self.assertEqual(before[1], self.note(server))


class TestNotes(ServiceStartTestBase):

    def set_note(self, server, note):
        instance = self.instance(server)
        instance.system_metadata.pop(notes.KEY, None)
        if note is not None:
            instance.system_metadata[notes.KEY] = note
        instance.save()

    def test_renewed(self):
        """A note that is missing, unreadable or of another guest."""
        server, other = self.boot_elastic(), self.boot_elastic()
        self.grow(other, 1024)
        right = self.note(server)
        for wrong in (None, '{"v": 0}', self.note(other)):
            self.set_note(server, wrong)
            self.restart_compute_service('compute1')
            self.assertEqual(right, self.note(server))
            self.assert_books(server, base.BOOT_MB)

    def test_what_an_agent_said_stays(self):
        server = self.boot(
            base.ELASTIC, properties={'hw_qemu_guest_agent': 'yes'})
        said = self.note(server).replace('"ga":0', '"ga":256').replace(
            '"step":128', '"step":256')
        self.assertIn('256', said)
        self.set_note(server, said)
        self.restart_compute_service('compute1')
        self.assertEqual(said, self.note(server))
