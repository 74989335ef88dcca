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

"""Addresses of guests: where memory goes, and what does not fit."""

from nova.tests.fixtures import libvirt as fakelibvirt

from tests.functional import base
from tests.functional import fixtures

GIB = 1024


class AddressesTestBase(base.MemoryTestBase):

    def setUp(self):
        super().setUp()
        self.flags(ram=-1, group='quota')

    def host_info(self):
        """Describe a host of 256 GiB."""
        return fakelibvirt.HostInfo(
            cpu_nodes=1, cpu_sockets=1, cpu_cores=8, cpu_threads=1,
            kB_mem=256 * GIB * fixtures.KIB_PER_MIB)

    def places(self, server, flags=0):
        """Say where a guest has its devices: slot, and address in GiB."""
        return [(dev.slot, dev.base and dev.base / (1 << 30))
                for dev in self.guest(server, flags).devices]


class TestPlaces(AddressesTestBase):

    def boot_large(self, **properties):
        return self.boot(
            {'memhotplug:max_memory_mb': str(128 * GIB)},
            memory_mb=64 * GIB, properties=properties)

    def grow_to(self, server, *totals_gib):
        for total_gib in totals_gib:
            self.grow(server, total_gib * GIB)
            self.assert_books(server, total_gib * GIB)

    def test_large_server_grows_more_than_once(self):
        """RAM ends at an odd GiB with Nova's default machine type (V1)."""
        server = self.boot_large()
        self.assertEqual(2048, self.show(server)[1]['memory']['step_mb'])
        self.grow_to(server, 66, 68, 72)
        self.assertEqual([(0, 66), (1, 68), (2, 70)], self.places(server))
        # What libvirt starts again is the same.
        self.assertEqual([(0, 66), (1, 68), (2, 70)], self.places(server, 2))
        self.assertEqual([], self.plan(server, 128 * GIB)[2])

    def test_q35(self):
        server = self.boot_large(hw_machine_type='q35')
        self.grow_to(server, 66, 68)
        self.assertEqual([(0, 66), (1, 68)], self.places(server))

    def test_device_that_libvirt_has_placed(self):
        """An earlier version has left the address to QEMU (V1)."""
        server = self.boot_large()
        xml = base.MEMORY_DEVICE % (
            2 * GIB * fixtures.KIB_PER_MIB,
            '<alias name="ua-memhotplug-old"/>'
            '<address type="dimm" slot="0" base="0x1040000000"/>')
        self.fake_domain(server).attachDeviceFlags(
            xml, fakelibvirt.VIR_DOMAIN_AFFECT_LIVE |
            fakelibvirt.VIR_DOMAIN_AFFECT_CONFIG)
        self.assertEqual([(0, 65)], self.places(server))
        self.grow_to(server, 68, 70)
        self.assertEqual([(0, 65), (1, 68), (2, 70)], self.places(server))
