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

"""Devices that QEMU has and libvirt has lost."""

from unittest import mock

import fixtures
from nova.tests.fixtures import libvirt as fakelibvirt

from nova_memhotplug.core import errors
from nova_memhotplug.virt import guest
from nova_memhotplug.virt import monitor
from tests.functional import base
from tests.functional import fixtures as our_fixtures

LOST = {'ua-memhotplug-lost': 'memua-memhotplug-lost'}


class TestLostDevices(base.MemoryTestBase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MockPatchObject(
            guest, 'DETACH_TIMEOUT', 0.5))

    def boot_with_lost(self, **attributes):
        """Boot a server that has grown, and lose a device of it."""
        server = self.boot_elastic()
        self.grow(server, 640)
        domain = self.fake_domain(server)
        domain.lost = dict(LOST)
        for name, value in attributes.items():
            setattr(domain, name, value)
        return server, domain

    def test_taken_away(self):
        server, domain = self.boot_with_lost()
        self.grow(server, 1024)
        self.assertEqual(({}, set()), (domain.lost, domain.orphans))
        self.assertEqual(
            [128, 384], [dev.size_mb for dev in self.guest(server).devices])
        self.assert_books(server, 1024)

    def test_guest_keeps_it(self):
        server, domain = self.boot_with_lost(lets_go=False)
        self.grow(server, 1024)
        self.assert_details(server, str(errors.LostDevice()))
        self.assertEqual(LOST, domain.lost)
        self.assert_books(server, 640)
        # As the sentence says.
        self._reboot_server(server, hard=True)
        self.grow(server, 1024)
        self.assert_books(server, 1024)

    def test_somebody_elses(self):
        """Only our own devices are taken away."""
        server, domain = self.boot_with_lost()
        domain.lost = {'dimm7': 'memdimm7'}
        self.grow(server, 1024)
        self.assert_details(server, str(errors.LostDevice()))
        self.assertEqual({'dimm7': 'memdimm7'}, domain.lost)
        self.assert_books(server, 640)


class TestOrphans(base.MemoryTestBase):
    """libvirt is killed when QEMU has a backend, and no device yet (V19)."""

    FOREIGN, OURS = 'memdimm7', 'memua-memhotplug-orphan'

    def setUp(self):
        super().setUp()
        self.server = self.boot_elastic()
        self.grow(self.server, 640)
        self.domain = self.fake_domain(self.server)

    def cut_short(self, domain_code):
        """Let libvirt fail while it attaches."""
        def fail(domain, xml):
            error = our_fixtures.libvirt_error(1, 'client socket is closed')
            error.err = (1, domain_code, *error.err[2:])
            domain.orphans = {self.OURS, self.FOREIGN}
            raise error

        self.before_attach(fail)
        self.grow(self.server, 1024)
        self.assert_details(self.server, 'client socket is closed')

    def test_given_back(self):
        self.cut_short(fakelibvirt.VIR_FROM_RPC)
        self.run_periodic_task()
        self.assertEqual({self.FOREIGN}, self.domain.orphans)
        self.assert_books(self.server, 640)

    def test_qemu_refused(self):
        """libvirt has undone that, and the guest is not marked for nothing."""
        self.cut_short(fakelibvirt.VIR_FROM_QEMU)
        with mock.patch.object(monitor.Monitor, '_ask') as ask:
            self.run_periodic_task()
        ask.assert_not_called()
        self.assertEqual({self.OURS, self.FOREIGN}, self.domain.orphans)
