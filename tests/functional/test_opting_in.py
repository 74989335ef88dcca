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

"""What shows where servers are not elastic."""

from nova_memhotplug.core import errors
from tests.functional import base
from tests.functional import test_destination

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


class StockHostTestBase(DriversMixin, test_destination.DestinationTestBase):
    """An elastic server, and a second host without the extension."""

    DRIVERS = {'compute1': base.DRIVER, 'compute2': base.STOCK_DRIVER}

    def assert_unaware(self, total_mb):
        """The status shows what is known; the action refuses."""
        memory = self.assert_cannot_grow(
            self.server, 'flavor', 'host_unaware')
        self.assertEqual(
            (total_mb, total_mb, base.CEILING_MB, [], None),
            (memory['current_mb'], memory['requested_mb'],
             memory['max_mb'], memory['devices'], memory['guest']))


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
        self._reboot_server(self.server, hard=True)
        self.assert_elastic(self.server, total_mb, 2048)

    def test_host_that_goes_back(self):
        """The guest stays as it is as long as it is not started again."""
        total_mb = self.grown()
        before = self.guest(self.server)
        self.install('compute1', base.STOCK_DRIVER)
        self.assert_unaware(total_mb)
        self.assertEqual(before, self.guest(self.server))
        self.install('compute1')
        self.assertEqual(before, self.guest(self.server))
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

    def test_stopped(self):
        """A server that does not run is described by its flavor anywhere."""
        self.install('compute1', base.STOCK_DRIVER)
        self._stop_server(self.server)
        memory, plan, codes = self.plan(self.server, 1024)
        self.assertEqual(
            (['not_active'], 'flavor'), (codes, memory['source']))
