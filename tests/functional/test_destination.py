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

"""Before a live migration, the destination says whether the guest can go on.

The hosts of a test share one configuration, so what is particular to one of
them is set while its service starts, and where the check reads it, too.
"""

import dataclasses
import os
from unittest import mock

import fixtures as fixtures_library
from nova.scheduler.client import report
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.virt.libvirt import config as vconfig
import oslo_messaging as messaging

from nova_memhotplug.cmd import audit
from nova_memhotplug.cmd import census
from nova_memhotplug.common import rpcapi
from nova_memhotplug.compute import endpoint
from nova_memhotplug.core import errors
from nova_memhotplug.core import strategies
from tests.functional import base
from tests.functional import fixtures
from tests.functional import test_moves

CHECK = 'compute_check_can_live_migrate_destination'
#: The last microversion that can force a host on the scheduler.
FORCING = '2.67'


class DestinationTestBase(test_moves.MovesTestBase):

    def set_shim_directory(self, name):
        """Configure a directory below the one in which shims are found."""
        self.flags(shim_directory=os.path.join(
            self.memory_libvirt.shim_directory, name), group='memhotplug')

    def restart_without_shim(self, host):
        """Let a host find no shim when it starts."""
        self.flags(shim_directory='/nowhere', group='memhotplug')
        self.restart_compute_service(host)
        self.flags(shim_directory=self.memory_libvirt.shim_directory,
                   group='memhotplug')
        self.assertEqual(('tiny', 'existing'), self.try_all(host).usable)

    def restart_existing_only(self, host):
        """Let a host start nothing that has a reserved cell."""
        def refuse(domain):
            if len(domain._cells()) > 1:
                raise fixtures.libvirt_error(1, 'one cell is enough')

        with mock.patch.object(
                self.memory_libvirt.domain, '_refuse_empty_backend', refuse):
            self.restart_compute_service(host)
            self.assertEqual(('existing',), self.try_all(host).usable)

    def try_all(self, host):
        """Let a host try all strategies now, and return what works."""
        return self.computes[host].driver._prober.support(
            self.guest(self.server).arch, strategies.ORDER,
            is_one_enough=False)

    def restart_native(self, host):
        """Let a host start empty cells by itself."""
        self.memory_libvirt.domain.native_hosts.add(host)
        self.restart_compute_service(host)

    def set_version(self, host, version):
        """Let a host be one of an earlier version of this package."""
        with mock.patch.object(
            endpoint.MemHotplugEndpoint, 'target', messaging.Target(
                namespace=rpcapi.NAMESPACE, version=version)):
            self.restart_compute_service(host)

    def forget_crossing(self):
        """Let hosts not know that a guest can have another emulator."""
        whole = strategies.Launch.from_document

        def from_document(document):
            return whole({name: value for name, value in document.items()
                          if name != 'can_cross'})

        self.useFixture(fixtures_library.MockPatchObject(
            strategies.Launch, 'from_document', from_document))

    def migrate(self, force=None):
        """Ask for a live migration.

        :param force: the host to force it to; None to let Nova choose
        """
        body = {'host': force, 'block_migration': 'auto'}
        if force is not None:
            body['force'] = True
            self.admin_api.microversion = FORCING
        try:
            self.admin_api.post_server_action(
                self.server['id'], {'os-migrateLive': body})
        finally:
            self.admin_api.microversion = self.microversion

    def seen(self):
        """Return everything that a refusal must leave alone."""
        return self.state(self.server) | {
            'actions': None, 'host': self.instance(self.server).host,
            'claimed there': self.placed_mb('compute2'),
            'claims': self._get_allocations_by_server_uuid(
                self.server['id']).keys()}

    def assert_refused(self, *words, force=None):
        """A migration is refused with words, and nothing has changed."""
        before = self.seen()
        self.migrate(force)
        self._wait_for_migration_status(self.server, ['error'])
        self.wait_idle(self.server)
        self.assertEqual(before, self.seen())
        self.assert_no_domain('compute2')
        (event,) = self.checks()
        self.assertEqual('Error', event['result'])
        for word in words:
            self.assertIn(word, event['details'])

    def assert_migrated(self, force=None):
        """A migration is let through, and goes through."""
        self.migrate(force)
        self._wait_for_migration_status(self.server, ['completed'])
        self.assertEqual(
            'compute2', self.wait_idle(self.server)['OS-EXT-SRV-ATTR:host'])

    def checks(self):
        """List what the newest action tells of the destination's check."""
        action = self.admin_api.get_instance_actions(self.server['id'])[0]
        self.assertEqual('live-migration', action['action'])
        details = self.admin_api.api_get(
            'servers/%s/os-instance-actions/%s' % (
                self.server['id'], action['request_id'])
        ).body['instanceAction']
        return [event for event in details['events']
                if event['event'] == CHECK]

    def spy(self):
        """Note what hosts are asked how a guest was started."""
        ask = rpcapi.MemHotplugAPI.get_launch
        asked = []

        def get_launch(this, context, instance):
            asked.append(instance.host)
            return ask(this, context, instance)

        patch = mock.patch.object(
            rpcapi.MemHotplugAPI, 'get_launch', get_launch)
        patch.start()
        self.addCleanup(patch.stop)
        return asked


class TestDestination(DestinationTestBase):

    def test_good(self):
        asked = self.spy()
        self.grown()
        before = self.guest(self.server)
        self.assert_migrated()
        self.assertEqual(['compute1'], asked)
        self.assertEqual(['Success'], [
            event['result'] for event in self.checks()])
        self.assertEqual(before, self.guest(self.server))

    def test_without_shim(self):
        self.grown()
        self.restart_without_shim('compute2')
        self.assert_refused(
            'The destination cannot carry on this guest',
            "one of the strategies 'shim' and 'native'",
            'internal error: qemu')

    def test_without_shim_by_force(self):
        self.restart_without_shim('compute2')
        self.assert_refused("strategies 'shim' and 'native'",
                            force='compute2')
        # It is not lost: it goes where it can as soon as that is possible.
        self.restart_compute_service('compute2')
        self.assert_migrated(force='compute2')

    def test_fewer_address_bits(self):
        named = vconfig.LibvirtConfigCPUMaxPhysAddr()
        named.bits = 34
        host = self.computes['compute2'].driver._host
        host.get_capabilities().host.cpu.maxphysaddr = named
        # 4 GiB, 3.5 GiB to plug, 8 GiB for slots, 2 GiB for PCI.
        self.assert_refused('needs 18432 MiB of addresses', '34 bits')
        named.bits = 35
        self.assert_migrated()

    def test_configuration_of_the_source_does_not_count(self):
        """The guest has what its domain says, whatever came later."""
        self.set_shim_directory('elsewhere')
        self.restart_compute_service('compute1')
        self.flags(shim_directory=self.memory_libvirt.shim_directory,
                   group='memhotplug')
        self.assert_migrated()

    def test_other_strategy_only(self):
        self.flags(zero_cell_strategy='tiny', group='memhotplug')
        self._reboot_server(self.server, hard=True)
        self.assertEqual(
            1024, self.guest(self.server).reserved_cell.memory_kib)
        self.restart_existing_only('compute2')
        # It has lost the trait, so only force brings a server there.
        self.assert_refused(
            "needs the strategy 'tiny'", 'one cell is enough',
            force='compute2')

    def test_unknown_model(self):
        self.grown()
        with mock.patch.object(
            endpoint.strategies.Launch, 'document', return_value={
                'arch': 'x86_64', 'emulator': 'any', 'reserved_kib': None,
                'can_grow': True, 'models': ['dimm', 'other-model']}):
            self.assert_refused(
                "the memory model 'other-model' is not installed there")

    def test_without_the_key(self):
        """It is not looked at, so it can go to any host."""
        self.restart_without_shim('compute2')
        self._disable('compute2')
        self.server = self.boot()
        self._disable('compute2', False)
        asked = self.spy()
        self.assert_migrated()
        self.assertEqual([], asked)


class TestCrossing(DestinationTestBase):
    """An empty cell is one layout, whatever starts it."""

    def assert_started_by(self, host, strategy):
        """The guest is on a host, with the emulator of a strategy there."""
        support = self.try_all(host)
        expected = support.emulator
        if strategy == 'shim':
            expected = support.shim_path(self.memory_libvirt.shim_directory)
        self.assertEqual(host, self.instance(self.server).host)
        guest = self.guest(self.server)
        self.assertEqual(expected, guest.emulator)
        self.assertEqual(expected, self.guest(
            self.server, fakelibvirt.VIR_DOMAIN_XML_INACTIVE).emulator)
        return guest

    def test_there_and_back(self):
        self.grown()
        self.restart_native('compute2')
        before = self.assert_started_by('compute1', 'shim')
        self.assert_migrated()
        after = self.assert_started_by('compute2', 'native')
        self.assertEqual(before, dataclasses.replace(
            after, emulator=before.emulator))
        self.grow(self.server, 1280)
        self.assert_books(self.server, 1280)
        self.live_migrate()
        after = self.assert_started_by('compute1', 'shim')
        self.assertEqual(2, len(after.devices))
        self.grow(self.server, 1536)
        self.assert_books(self.server, 1536)

    def test_host_that_keeps_the_shim(self):
        """Its guests are to go back to hosts of an earlier version."""
        self.flags(zero_cell_strategy='shim', group='memhotplug')
        self.restart_native('compute2')
        self.assert_migrated()
        self.assert_started_by('compute2', 'shim')

    def test_other_shim_directory(self):
        self.set_shim_directory('elsewhere')
        self.restart_compute_service('compute2')
        self.assertNotIn('elsewhere', self.guest(self.server).emulator)
        self.assert_migrated()
        self.assertIn('/elsewhere/', self.guest(self.server).emulator)

    def test_one_trial(self):
        """The shim of a host that does not need it is not tried."""
        self.restart_native('compute2')
        with mock.patch.object(
                fakelibvirt.Connection, 'createXML', autospec=True,
                side_effect=fakelibvirt.Connection.createXML) as trial:
            self.assert_migrated()
        self.assertEqual(0, trial.call_count)

    def test_nothing_to_ask(self):
        """A cell with memory, or none, needs no emulator of its own."""
        self.flags(zero_cell_strategy='tiny', group='memhotplug')
        self._reboot_server(self.server, hard=True)
        before = self.guest(self.server)
        with mock.patch.object(rpcapi.MemHotplugAPI, 'get_landing') as ask:
            self.assert_migrated()
        self.assertEqual(0, ask.call_count)
        self.assertEqual(before, self.guest(self.server))

    def assert_goes_as_it_is(self, *words, **answer):
        """Nothing is lost if the destination does not say what it wants."""
        before = self.guest(self.server)
        self.set_shim_directory('elsewhere')
        self.restart_compute_service('compute2')
        with mock.patch.object(
                rpcapi.MemHotplugAPI, 'get_landing', **answer):
            self.assert_migrated()
        self.assertEqual(before, self.guest(self.server))
        for word in words:
            self.assertIn(word, self.stdlog.logger.output)

    def test_strange_emulator(self):
        path = '/usr/bin/../bin/qemu'
        self.assert_goes_as_it_is(
            'compute2 names an emulator that is no absolute path', path,
            return_value={'emulator': path})

    def test_no_answer(self):
        self.assert_goes_as_it_is(
            'compute2 names no emulator', 'no reply',
            side_effect=messaging.MessagingTimeout('no reply'))

    def test_no_longer_possible(self):
        """The destination says it at the last moment."""
        launch = strategies.Launch.of(self.guest(self.server), ('dimm',))
        documents = [
            launch.document(), launch.document() | {'arch': 'riscv64'}]
        with mock.patch.object(
                endpoint.strategies.Launch, 'document',
                side_effect=documents):
            self.assert_migrated()
        self.assertIn('libvirt offers no emulator for riscv64 guests',
                      self.stdlog.logger.output)


class TestEarlierVersion(DestinationTestBase):
    """One of the hosts is of a version without crossing."""

    def assert_emulator_refused(self):
        self.assert_refused(
            'its emulator %s is not one of those that start an empty NUMA '
            'cell there: ' % self.guest(self.server).emulator)

    def test_destination(self):
        self.grown()
        self.set_version('compute2', '1.3')
        self.forget_crossing()
        before = self.guest(self.server)
        self.assert_migrated()
        self.assertEqual(before, self.guest(self.server))

    def test_destination_that_would_have_to_cross(self):
        self.restart_native('compute1')
        self._reboot_server(self.server, hard=True)
        self.set_version('compute2', '1.3')
        self.forget_crossing()
        self.assert_emulator_refused()

    def test_source(self):
        self.set_version('compute1', '1.3')
        self.forget_crossing()
        before = self.guest(self.server)
        self.assert_migrated()
        self.assertEqual(before, self.guest(self.server))

    def test_source_that_would_have_to_cross(self):
        self.set_version('compute1', '1.3')
        self.forget_crossing()
        self.memory_libvirt.domain.native_hosts.add('compute2')
        self.set_shim_directory('elsewhere')
        self.restart_compute_service('compute2')
        self.assert_emulator_refused()


class TestSource(DestinationTestBase):
    """What the other host says, or does not."""

    def test_without_the_extension(self):
        self.flags(compute_driver=base.STOCK_DRIVER)
        self.restart_compute_service('compute1')
        self.assert_refused(
            'It is not known how this guest was started',
            'host compute1 has not the memory hot-plug extension')

    def test_older_version(self):
        self.grown()
        self.set_version('compute1', '1.0')
        status, _body = self.show(self.server)
        self.assertEqual(200, status)
        self.assert_refused('or an older version of it')

    def test_no_answer(self):
        with mock.patch.object(
                rpcapi.MemHotplugAPI, 'get_launch',
                side_effect=messaging.MessagingTimeout('no reply')):
            self.assert_refused('host compute1 says: no reply')

    def test_unreadable_domain(self):
        with mock.patch.object(
                endpoint.strategies.Launch, 'of',
                side_effect=errors.UnreadableDomain(reason='odd')):
            self.assert_refused('host compute1 says', 'odd')


class TestSuspended(DestinationTestBase):
    """What was saved of a guest names the shim, too (P10)."""

    def test_resume_without_the_shim(self):
        self.grown()
        before = self.guest(self.server)
        self._suspend_server(self.server)
        there = self.memory_libvirt.shim_directory
        self.memory_libvirt.shim_directory = '/nowhere'
        self.api.post_server_action(self.server['id'], {'resume': {}})
        # The last that Nova does about it: it clears the task state twice.
        self.notifier.wait_for_versioned_notifications('compute.exception')
        server = self._wait_for_state_change(self.server, 'SUSPENDED')
        self.assertTrue(self.fake_domain(server).hasManagedSaveImage(0))
        self.assertIn(
            'libvirt cannot use the emulator %s that' % before.emulator,
            self.stdlog.logger.output)
        # Once it is back, the server goes on.
        self.memory_libvirt.shim_directory = there
        self._resume_server(server)
        self.assertEqual(before, self.guest(self.server))

    def test_resume_without_a_domain(self):
        """Nova makes it anew, as ever."""
        self.grown()
        self._suspend_server(self.server)
        self.fake_domain(self.server).undefine()
        self._resume_server(self.server)
        self.assertEqual(1024, self.guest(self.server).boot_mb)

    def test_resume(self):
        """A server that cannot grow is resumed as ever."""
        server = self.boot()
        self._suspend_server(server)
        self.memory_libvirt.shim_directory = '/nowhere'
        self._resume_server(server)


class TestForcedHost(DestinationTestBase):
    """A host without the extension runs no check of ours."""

    def setUp(self):
        super().setUp()
        self._disable('compute2')
        self.flags(compute_driver=base.STOCK_DRIVER)
        self.start_compute('compute3', self.host_info())

    def test_scheduler_keeps_away(self):
        self.migrate()
        self._wait_for_migration_status(self.server, ['error'])
        self.wait_idle(self.server)
        self.assertEqual('compute1', self.instance(self.server).host)
        self.assertEqual([], self.checks())

    def test_trait_stays_with_a_host(self):
        """Nova does not take away what only the other driver knew of, so the
        documentation has the operator do it.
        """
        self._disable('compute2', False)
        self._disable('compute3')
        self.restart_compute_service('compute2')
        self.assertEqual('LibvirtDriver', type(
            self.computes['compute2'].driver).__name__)
        self.assertIn('CUSTOM_MEMORY_HOTPLUG', self._get_provider_traits(
            self.compute_rp_uuids['compute2']))
        self.assert_migrated()

    def test_audit_tells(self):
        self.migrate(force='compute3')
        self._wait_for_migration_status(self.server, ['completed'])
        self.wait_idle(self.server)
        self.assertEqual('compute3', self.instance(self.server).host)
        result = audit.Audit(census.Census(report.report_client_singleton()))
        result.run()
        self.assertEqual(
            (audit.Code.FAILED, [
                'Host compute3: %s What the guests have of servers %s is not '
                'known.' % (errors.HostUnaware(), self.server['id'])]),
            (result.code, result.problems))
