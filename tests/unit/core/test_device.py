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

import ddt
from lxml import etree
import testtools

from nova_memhotplug.core import device
from nova_memhotplug.core import errors

LIVE = """
<memory model='dimm'>
  <target><size unit='KiB'>524288</size><node>1</node></target>
  <alias name='dimm0'/>
  <address type='dimm' slot='0' base='0x100000000'/>
</memory>"""


#: As libvirt 11.3 shows it (facts-qemu-libvirt.md, section 7).
VIRTIO_MEM = """
<memory model='virtio-mem'>
  <target>
    <size unit='KiB'>16777216</size><node>1</node>
    <block unit='KiB'>2048</block><requested unit='KiB'>1048576</requested>
    <current unit='KiB'>1048576</current><address base='0x140000000'/>
  </target>
  <alias name='virtiomem0'/>
  <address type='pci' domain='0x0000' bus='0x00' slot='0x00' function='0x0'/>
</memory>"""


@ddt.ddt
class DeviceTest(testtools.TestCase):

    def test_build_planned(self):
        element = device.build(device.MemoryDevice('dimm', 512, 1))
        self.assertEqual(
            b'<memory model="dimm"><target><size unit="KiB">524288</size>'
            b'<node>1</node></target></memory>', etree.tostring(element))

    def test_read_live(self):
        self.assertEqual(
            device.MemoryDevice(
                'dimm', 512, 1, slot=0, alias='dimm0', base=4 << 30),
            device.read(etree.fromstring(LIVE)))

    @ddt.data(
        # requested, current; what counts, what is asked for and taken
        (1024, 1024, 1024, 1024, 1024), (1024, 0, 1024, 1024, 0),
        (1024, 1536, 1536, 1024, 1536), (0, 66, 66, 0, 66),
        (1024, None, 1024, 1024, 1024))
    @ddt.unpack
    def test_read_virtio_mem(
        self, requested_mb, current_mb, size_mb, asked_mb, taken_mb,
    ):
        """What the guest has or may take counts, and it has no slot."""
        element = etree.fromstring(VIRTIO_MEM)
        element.find('target/requested').text = str(requested_mb * 1024)
        current = element.find('target/current')
        if current_mb is None:
            current.getparent().remove(current)
        else:
            current.text = str(current_mb * 1024)
        found = device.read(element)
        self.assertEqual(device.MemoryDevice(
            'virtio-mem', size_mb, 1, alias='virtiomem0', base=0x140000000,
            capacity_mb=16384, requested_mb=requested_mb,
            current_mb=current_mb), found)
        self.assertEqual((16384, asked_mb, taken_mb), (
            found.extent_mb, found.asked_mb, found.taken_mb))

    @ddt.data(
        device.MemoryDevice('dimm', 128, 0),
        device.MemoryDevice('dimm', 128, 1, slot=3),
        device.MemoryDevice('dimm', 2048, 1, 7, 'dimm7', 0x180000000),
        device.MemoryDevice('dimm', 128, 2, backing=device.Backing('0-1')),
        device.MemoryDevice(
            'dimm', 128, 2, backing=device.Backing('1', 2048, 'shared')),
        device.MemoryDevice('virtio-mem', 1024, None, alias='virtiomem0'))
    def test_there_and_back(self, one):
        self.assertEqual(one, device.read(device.build(one)))

    def test_read_virtio_device(self):
        """The slot of a bus is no memory slot (V8)."""
        element = etree.fromstring("""
          <memory model='virtio-mem'>
            <target><size unit='GiB'>16</size><node>1</node>
              <address base='0x140000000'/></target>
            <alias name='virtiomem0'/>
            <address type='pci' domain='0x0000' bus='0x05' slot='0x00'/>
          </memory>""")
        self.assertEqual(
            device.MemoryDevice(
                'virtio-mem', 16384, 1, None, 'virtiomem0', 5 << 30),
            device.read(element))

    @ddt.data(
        ('1048576', None, 1048576), ('1', 'GiB', 1048576),
        ('1', 'G', 1048576), ('512', 'MiB', 524288), ('1025', 'b', 2),
        ('1000', 'KB', 977))
    @ddt.unpack
    def test_size(self, text, unit, expected):
        element = etree.Element('size', **({'unit': unit} if unit else {}))
        element.text = text
        self.assertEqual(expected, device.size_kib(element))

    @ddt.data(('', 'KiB'), ('many', 'KiB'), ('-1', 'KiB'), ('1', 'parsec'))
    @ddt.unpack
    def test_no_size(self, text, unit):
        element = etree.Element('size', unit=unit)
        element.text = text
        self.assertRaises(
            errors.UnreadableDomain, device.size_kib, element)

    @ddt.data(
        "<memory><target><size>1024</size></target></memory>",
        "<memory model='dimm'><target/></memory>",
        "<memory model='dimm'><target><size>1024</size><node>x</node>"
        "</target></memory>")
    def test_unreadable(self, xml):
        self.assertRaises(
            errors.UnreadableDomain, device.read, etree.fromstring(xml))

    def test_no_alias_is_used_twice(self):
        aliases = {device.new_alias() for _ in range(100)}
        self.assertEqual(100, len(aliases))
        for alias in aliases:
            self.assertTrue(device.MemoryDevice(
                'dimm', 128, 1, alias=alias).is_ours)

    @ddt.data(('dimm', True), ('virtio-mem', True), ('nvdimm', False),
              ('virtio-pmem', False), ('sgx-epc', False))
    @ddt.unpack
    def test_is_ram(self, model, expected):
        element = etree.fromstring(LIVE)
        element.set('model', model)
        self.assertIs(expected, device.read(element).is_ram)
