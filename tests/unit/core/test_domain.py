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

import dataclasses

import ddt
from lxml import etree
import testtools

from nova_memhotplug.core import addresses
from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import limits

ELASTIC = """
<domain type='qemu'>
  <maxMemory slots='8' unit='KiB'>4194304</maxMemory>
  <memory unit='KiB'>1048576</memory>
  <os><type arch='x86_64' machine='pc-q35-10.0'>hvm</type></os>
  <cpu match='exact'><numa>
    <cell id='0' cpus='0' memory='524288' unit='KiB'/>
    <cell id='1' memory='0' unit='KiB'/>
  </numa></cpu>
  <devices>
    <emulator>/opt/shim/qemu-system-x86_64</emulator>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <memory model='dimm'>
      <target><size unit='KiB'>524288</size><node>1</node></target>
      <alias name='dimm0'/>
      <address type='dimm' slot='0' base='0x100000000'/>
    </memory>
  </devices>
</domain>"""

#: Two nodes of the flavor, one on huge pages, and a device of the second.
NUMA = """
<domain>
  <maxMemory slots='8' unit='KiB'>4194304</maxMemory>
  <memory unit='KiB'>655360</memory>
  <memoryBacking><hugepages>
    <page size='2048' unit='KiB' nodeset='0'/>
  </hugepages></memoryBacking>
  <numatune>
    <memory mode='strict' nodeset='1,3'/>
    <memnode cellid='0' mode='strict' nodeset='3'/>
    <memnode cellid='1' mode='strict' nodeset='1'/>
  </numatune>
  <os><type arch='x86_64'>hvm</type></os>
  <cpu><numa>
    <cell id='0' cpus='0' memory='262144' unit='KiB'/>
    <cell id='1' cpus='1' memory='262144' unit='KiB' memAccess='shared'/>
    <cell id='2' memory='0' unit='KiB'/>
  </numa></cpu>
  <devices>
    <memory model='dimm'>
      <source><nodemask>1</nodemask></source>
      <target><size unit='KiB'>131072</size><node>2</node></target>
      <alias name='ua-memhotplug-1'/>
      <address type='dimm' slot='0' base='0x100000000'/>
    </memory>
  </devices>
</domain>"""

#: A port as Nova writes it: with KVM, libvirt chooses the driver.
PORT = "<interface type='%s'><model type='%s'/>%s</interface>"
QEMU = "<driver name='qemu'/>"

PLAIN = """
<domain>
  <memory unit='KiB'>524288</memory>
  <os><type arch='aarch64'>hvm</type></os>
  <devices/>
</domain>"""


@ddt.ddt
class DomainTest(testtools.TestCase):

    def test_elastic(self):
        guest = domain.read(ELASTIC)
        self.assertEqual('x86_64', guest.arch)
        self.assertEqual('/opt/shim/qemu-system-x86_64', guest.emulator)
        self.assertEqual(
            (512, 4096, 512, 1024),
            (guest.boot_mb, guest.max_mb, guest.plugged_mb,
             guest.present_mb))
        self.assertEqual(
            (8, 1, 7), (guest.slots, guest.used_slots, guest.free_slots))
        self.assertEqual(1, guest.target_node)
        self.assertEqual(domain.Cell(1, 0, False), guest.reserved_cell)
        self.assertTrue(guest.has_agent)
        self.assertEqual(0, guest.page_kib)

    @ddt.data(
        (64, {}), (0, {'arch': 'aarch64', 'machine': 'virt'}),
        # Without room nothing may be added.
        (0, {'max_kib': None}), (0, {'boot_kib': 4 << 20}),
        (None, {'boot_kib': 3 << 20, 'machine': ''}))
    @ddt.unpack
    def test_bounce_buffer(self, expected, changes):
        guest = dataclasses.replace(domain.read(ELASTIC), **changes)
        self.assertEqual(expected, guest.bounce_buffer_mb)

    @ddt.data(
        ((), [0, 1, 2, 3, 4, 5, 6, 7]), ((0,), [1, 2, 3, 4, 5, 6, 7]),
        # The persistent domain may have numbered it 0.
        ((2,), [3, 4, 5, 6, 7, 0, 1]), ((1, 7), [0, 2, 3, 4, 5, 6]),
        ((None,), [0, 1, 2, 3, 4, 5, 6, 7]), (range(8), []))
    @ddt.unpack
    def test_next_slots(self, used, expected):
        guest = dataclasses.replace(domain.read(ELASTIC), devices=tuple(
            device.MemoryDevice('dimm', 128, 1, slot) for slot in used))
        self.assertEqual(expected, guest.next_slots)

    @ddt.data(
        ('', '', 'pc-q35-10.0', True),
        ("<numa>", '<model>Nehalem</model><numa>', 'pc-q35-10.0', False),
        ("<numa>", '<vendor>Intel</vendor><numa>', 'pc-q35-10.0', False),
        # Under KVM, its host tells.
        ("type='qemu'", "type='kvm'", 'pc-q35-10.0', None),
        (" machine='pc-q35-10.0'", '', '', True))
    @ddt.unpack
    def test_machine(self, old, new, machine, is_amd):
        guest = domain.read(ELASTIC.replace(old, new, 1))
        self.assertEqual(
            (machine, is_amd), (guest.machine, guest.is_amd))

    def test_address_map(self):
        """16 GiB with a ceiling of 1 TiB on an AMD vCPU (V3)."""
        guest = domain.read(ELASTIC.replace('524288', '16777216', 1).replace(
            '4194304', str(1 << 30)))
        self.assertEqual(
            addresses.AddressMap(
                addresses.Q35, 16384, 1 << 20, 8, True), guest.address_map)
        self.assertEqual(2048, guest.block_mb)

    def test_plain(self):
        guest = domain.read(PLAIN)
        self.assertEqual((512, 512), (guest.boot_mb, guest.present_mb))
        self.assertIsNone(guest.max_mb)
        self.assertIsNone(guest.target_node)
        self.assertIsNone(guest.reserved_cell)
        self.assertEqual(0, guest.slots)
        self.assertFalse(guest.has_agent)

    def test_memory_without_cells_excludes_devices(self):
        xml = ELASTIC.replace('<cell ', '<ignored ')
        self.assertEqual(512, domain.read(xml).boot_mb)

    def test_own_cells(self):
        guest = domain.read(NUMA)
        self.assertEqual([
            domain.Cell(0, 262144, True, device.Backing('3', 2048)),
            domain.Cell(1, 262144, True, device.Backing('1', 0, 'shared'))],
            list(guest.own_cells))
        self.assertIsNone(guest.reserved_cell.backing)
        self.assertEqual((256, 256 + 128), guest.own_cells_mb)

    @ddt.data(
        # On another node of the host than any cell, and on none.
        ("<nodemask>1</nodemask>", '<nodemask>2</nodemask>', (384, 256)),
        ("<nodemask>1</nodemask>", '', (384, 256)),
        # On a node of the guest.
        ('<node>2</node>', '<node>1</node>', (256, 384)),
        ('<node>2</node>', '<node>0</node>', (384, 256)),
        # The reserved cell has some of the first one.
        ("<cell id='2' memory='0'", "<cell id='2' memory='2048'",
         (258, 384)),
        # No RAM.
        ("model='dimm'", "model='nvdimm'", (256, 256)))
    @ddt.unpack
    def test_own_cells_mb(self, old, new, expected):
        self.assertIn(old, NUMA)
        guest = domain.read(NUMA.replace(old, new))
        self.assertEqual(expected, guest.own_cells_mb)

    def test_no_cells(self):
        guest = domain.read(PLAIN)
        self.assertEqual(((), ()), (guest.own_cells, guest.own_cells_mb))

    def test_rebind(self):
        xml = domain.rebind(NUMA, {0: '5', 1: '6-7'})
        (dev,) = domain.read(xml).devices
        self.assertEqual('6-7', dev.backing.host_nodes)
        # The cells are Nova's to bind.
        self.assertEqual(
            domain.read(NUMA).own_cells, domain.read(xml).own_cells)

    @ddt.data(({0: '5', 1: '6'}, '5'), ({1: '6'}, '3'))
    @ddt.unpack
    def test_rebind_reserved_cell(self, host_nodes, expected):
        """It has memory with the strategy tiny; Nova knows nothing of it."""
        xml = domain.rebind(NUMA.replace(
            '</numatune>', "<memnode cellid='2' mode='strict' nodeset='3'/>"
            '</numatune>'), host_nodes)
        self.assertEqual(
            expected, domain.read(xml).reserved_cell.backing.host_nodes)

    @ddt.data(ELASTIC, PLAIN, NUMA.replace('<nodemask>1</nodemask>', ''))
    def test_nothing_to_rebind(self, xml):
        self.assertEqual(
            etree.tostring(domain.parse(xml), encoding='unicode'),
            domain.rebind(xml, {0: '5', 1: '6'}))

    @ddt.data(
        ("cellid='0'", "cellid='zero'"), ("cellid='0'", ''),
        ("nodeset='0'/>", "nodeset='0-x'/>"))
    @ddt.unpack
    def test_unreadable_nodes(self, old, new):
        self.assertIn(old, NUMA)
        self.assertRaises(
            errors.UnreadableDomain, domain.read, NUMA.replace(old, new))

    def test_page_of_several_nodes(self):
        guest = domain.read(NUMA.replace("nodeset='0'/>", "nodeset='0-1'/>"))
        self.assertEqual(
            [2048, 2048], [cell.backing.page_kib for cell in guest.own_cells])

    def test_foreign_memory(self):
        self.assertEqual(512, domain.read(ELASTIC).foreign_mb)
        ours = domain.read(ELASTIC.replace('dimm0', 'ua-memhotplug-0'))
        self.assertEqual(0, ours.foreign_mb)

    def test_nvdimm_takes_a_slot_but_is_no_ram(self):
        guest = domain.read(ELASTIC.replace("'dimm'>\n", "'nvdimm'>\n", 1))
        self.assertEqual(
            (0, 1), (guest.plugged_mb, guest.used_slots))

    def test_read_by_a_model(self):
        guest = domain.read(ELASTIC, lambda element: None)
        self.assertEqual((None,), guest.devices)

    @ddt.data(
        ("<hugepages><page size='2048' unit='KiB'/></hugepages>", 2048),
        ("<hugepages><page size='2' unit='MiB' nodeset='0'/>"
         "<page size='1' unit='GiB' nodeset='1'/></hugepages>", 1048576),
        ('<hugepages/>', 0))
    @ddt.unpack
    def test_page(self, xml, expected):
        guest = domain.read(PLAIN.replace(
            '<devices/>', '<memoryBacking>%s</memoryBacking>' % xml))
        self.assertEqual(expected, guest.page_kib)

    @ddt.data(
        '', '<domain', '<domain/>',
        PLAIN.replace("arch='aarch64'", ''),
        PLAIN.replace('524288', 'lots'),
        PLAIN.replace("<memory unit='KiB'>524288</memory>", ''),
        ELASTIC.replace("memory='0'", ''),
        ELASTIC.replace("slots='8'", "slots='many'"),
        ELASTIC.replace("id='1'", "id='one'"))
    def test_unreadable(self, xml):
        self.assertRaises(errors.UnreadableDomain, domain.read, xml)

    def test_another_emulator(self):
        changed = domain.with_emulator(ELASTIC, '/usr/bin/a&b')
        before, after = domain.read(ELASTIC), domain.read(changed)
        self.assertEqual('/usr/bin/a&b', after.emulator)
        self.assertEqual(before, dataclasses.replace(
            after, emulator=before.emulator))
        self.assertRaises(errors.UnreadableDomain, domain.with_emulator,
                          PLAIN, '/usr/bin/qemu')

    def test_no_entities(self):
        xml = ('<!DOCTYPE domain [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
               + PLAIN.replace('<devices/>',
                               '<devices><emulator>&e;</emulator></devices>'))
        self.assertNotIn('root', domain.read(xml).emulator)


@ddt.ddt
class ServersTest(testtools.TestCase):
    """Who has to be told where a guest has its memory."""

    @ddt.data(
        # domain type, ports, servers
        ('kvm', [], ('kvm',)),
        ('qemu', [], ()),
        ('kvm', [('bridge', 'virtio', '')], ('kvm', 'vhost')),
        ('kvm', [('ethernet', 'virtio', "<driver queues='2'/>"),
                 ('bridge', 'virtio', QEMU)], ('kvm', 'vhost')),
        ('kvm', [('bridge', 'virtio-transitional', '')], ('kvm', 'vhost')),
        ('kvm', [('bridge', 'virtio', QEMU)], ('kvm',)),
        ('kvm', [('bridge', 'e1000', ''), ('hostdev', 'virtio', '')],
         ('kvm',)),
        ('qemu', [('bridge', 'virtio', '')], ()),
        ('qemu', [('vhostuser', 'virtio', '')], ('vhost-user',)),
        ('kvm', [('vhostuser', 'virtio', ''), ('bridge', 'virtio', '')],
         ('kvm', 'vhost', 'vhost-user')))
    @ddt.unpack
    def test_servers(self, kind, ports, expected):
        xml = ELASTIC.replace("type='qemu'", "type='%s'" % kind, 1).replace(
            '<devices>', '<devices>' + ''.join(PORT % port for port in ports))
        self.assertEqual(expected, domain.read(xml).servers)

    def test_within(self):
        """A device that is there, seven free slots, one cell with memory."""
        xml = ELASTIC.replace(
            '<devices>', '<devices>' + PORT % ('vhostuser', 'virtio', ''))
        guest = domain.read(xml)
        for regions, most in ((8, 5), (10, 7), (11, None), (512, None)):
            self.assertEqual(most, guest.within(
                limits.Regions(vhost_user=regions)).most_devices)
