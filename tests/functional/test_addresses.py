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

import itertools

from nova.tests.fixtures import libvirt as fakelibvirt
from nova.virt.libvirt import config as vconfig

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
            cpu_nodes=2, cpu_sockets=1, cpu_cores=4, cpu_threads=1,
            kB_mem=256 * GIB * fixtures.KIB_PER_MIB)

    def start_compute(self, *args, **kwargs):
        """Start a compute service whose libvirt knows address bits."""
        return super().start_compute(
            *args, libvirt_version=8007000, **kwargs)

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


class TestCeilings(AddressesTestBase):

    def setUp(self):
        super().setUp()
        self.start_compute('compute2', self.host_info())
        self.powered_off = []

        def power_off(this, context, instance, *args, **kwargs):
            self.powered_off.append(instance.uuid)
            return '{}'

        self.stub_out(
            'nova.virt.libvirt.driver.LibvirtDriver.'
            'migrate_disk_and_power_off', power_off)

    def refused(self, extra_specs, *parts, **more):
        """A new server is refused once, with this in its fault."""
        server = self.boot(extra_specs, expected_state='ERROR', **more)
        fault = server['fault']['message']
        for part in parts:
            self.assertIn(part, fault)
        self.assert_tried_once(server)

    #: One TiB on the 40 bits that QEMU's models have (P3): 4 GiB, 1024 GiB
    #: less 512 MiB, 8 GiB for slots, 2 GiB for PCI of the machine type pc,
    #: in whole GiB.
    TIB = {'memhotplug:max_memory_mb': str(1 << 20)}
    NUMBERS = ('40 bits', '%d MiB of addresses' % (1038 * GIB),
               'at most %d MiB fit.' % (1010.5 * GIB))

    def test_new_server(self):
        self.refused(self.TIB, *self.NUMBERS)

    def test_slots_take_addresses(self):
        self.refused(
            {'memhotplug:max_memory_mb': str(900 * GIB),
             'memhotplug:slots': '255'}, '255 slots', '40 bits')

    def test_bits_of_the_host(self):
        """A host with more of them is tried, whichever comes first.

        Nova's own API has not known this extra spec since 2.86.
        """
        self.admin_api.microversion = '2.85'
        specs = dict(self.TIB, **{'hw:maxphysaddr_mode': 'passthrough'})
        for few, many in itertools.permutations(self.computes):
            self.set_bits(few, 36)
            self.set_bits(many, 42)
            server = self.boot(specs)
            self.assertEqual(many, self.instance(server).host)
            self.assertEqual(
                1 << 20, self.show(server)[1]['memory']['max_mb'])

    def set_bits(self, host, bits):
        """Give a host processors with so many address bits."""
        named = vconfig.LibvirtConfigCPUMaxPhysAddr()
        named.mode, named.bits = 'emulate', bits
        capabilities = self.computes[host].driver._host.get_capabilities()
        capabilities.host.cpu.maxphysaddr = named

    def test_cold_resize(self):
        """The server goes on as it was; nothing was switched off (P3)."""
        server = self.boot_elastic()
        before = self.state(server)
        self.api.post_server_action(server['id'], {
            'resize': {'flavorRef': self.create_flavor(self.TIB)}})
        event = self._wait_for_instance_action_event(
            server, 'resize', 'compute_resize_instance', 'error')
        for part in self.NUMBERS:
            self.assertIn(part, event['details'])
        self.wait_idle(server)
        self.assertEqual([], self.powered_off)
        self.assertEqual(
            before | {'actions': before['actions'] + 1}, self.state(server))

    def test_server_that_has_run(self):
        """Its flavor's copy may say anything: it is started (T9)."""
        server = self.boot_elastic()
        instance = self.instance(server)
        instance.flavor.extra_specs.update(self.TIB)
        instance.save()
        self._reboot_server(server, hard=True)
        self._stop_server(server)
        self._start_server(server)

    def test_fewer_slots_than_nodes(self):
        self.refused(
            {'memhotplug:max_memory_mb': '4096', 'memhotplug:slots': '1',
             'hw:numa_nodes': '2'}, "memhotplug:slots is '1'", '2 NUMA nodes')

    def test_room_of_less_than_a_step(self):
        self.refused({'memhotplug:max_memory_mb': '639'},
                     "max_memory_mb is '639'", 'steps of 128 MiB')
        self.refused(
            {'memhotplug:max_memory_mb': '767', 'hw:numa_nodes': '2'},
            "max_memory_mb is '767'", 'steps of 256 MiB')
        self.refused(
            {'memhotplug:max_memory_mb': '1024',
             'memhotplug:block_mb': '1024'}, 'steps of 1024 MiB')
        self.boot({'memhotplug:max_memory_mb': '640'})

    def test_property_of_the_image(self):
        self.refused(
            base.ELASTIC, "memhotplug_block_mb is '64'", '128, 256',
            properties={'memhotplug_block_mb': '64'})
