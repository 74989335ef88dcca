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

"""The host probe, in front of a libvirt that keeps what it is given."""

from unittest import mock

import fixtures
from lxml import etree
import testtools

from nova_memhotplug.virt import probe

CAPABILITIES = """<!DOCTYPE x [<!ENTITY secret SYSTEM "file:///etc/passwd">]>
<capabilities>
<host><uuid>&secret;</uuid><cpu><arch>x86_64</arch></cpu></host>
<guest><os_type>hvm</os_type><arch name='x86_64'>
  <emulator>/usr/bin/qemu-system-x86_64</emulator>
  <domain type='qemu'/>
  <domain type='kvm'><emulator>/usr/libexec/qemu-kvm</emulator></domain>
</arch></guest>
<guest><os_type>hvm</os_type><arch name='aarch64'>
  <emulator>/usr/bin/qemu-system-aarch64</emulator><domain type='qemu'/>
</arch></guest>
<guest><os_type>exe</os_type><arch name='x86_64'>
  <emulator>/usr/lib/libvirt/libvirt_lxc</emulator><domain type='lxc'/>
</arch></guest>
<guest><os_type>hvm</os_type><arch name='sparc'>
  <emulator>/usr/bin/qemu-system-sparc</emulator><domain type='qemu'/>
</arch></guest>
</capabilities>"""


class LibvirtError(Exception):
    pass


class FakeLibvirt:
    VIR_DOMAIN_START_PAUSED = 1
    VIR_DOMAIN_START_AUTODESTROY = 2
    libvirtError = LibvirtError


class FakeConnection:
    """Starts what ``refuse`` does not raise for, and remembers it."""

    def __init__(self, refuse=None):
        self.refuse = refuse or (lambda domain: None)
        self.domains = []
        self.guests = []

    def getCapabilities(self):
        return CAPABILITIES

    def createXML(self, xml, flags):
        domain = etree.fromstring(xml)
        self.domains.append((domain, flags))
        self.refuse(domain)
        self.guests.append(mock.Mock())
        return self.guests[-1]


def _refuse_empty_cells(domain):
    """Do as libvirt 11.3 and QEMU 10.0 do."""
    if (domain.find("cpu/numa/cell[@memory='0']") is not None and
            'shim' not in domain.findtext('devices/emulator')):
        raise LibvirtError(
            "internal error: QEMU unexpectedly closed the monitor (vm='%s'): "
            "2026-11-23T19:51:40.612Z qemu: property 'size'\n of "
            "memory-backend-ram doesn't take value '0'" %
            domain.findtext('name'))


class ProbeTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        patch = mock.patch.object(probe, 'libvirt', FakeLibvirt)
        patch.start()
        self.addCleanup(patch.stop)

    def _probe(self, refuse=None, virt_type='qemu'):
        self.connection = FakeConnection(refuse)
        return probe.probe(self.connection, virt_type, '/shims')

    def test_all_work(self):
        supports = self._probe()
        self.assertEqual({'x86_64', 'aarch64'}, set(supports))
        for support in supports.values():
            self.assertEqual(
                ('native', 'shim', 'tiny', 'existing'), support.usable)
            self.assertEqual({}, dict(support.refusals))

    def test_stock_software(self):
        support = self._probe(_refuse_empty_cells)['aarch64']
        self.assertEqual(('shim', 'tiny', 'existing'), support.usable)
        self.assertEqual('/usr/bin/qemu-system-aarch64', support.emulator)
        self.assertEqual({'native': (
            "internal error: QEMU unexpectedly closed the monitor: qemu: "
            "property 'size' of memory-backend-ram doesn't take value '0'")},
            dict(support.refusals))

    def test_emulator_of_the_virt_type(self):
        supports = self._probe(virt_type='kvm')
        self.assertEqual('/usr/libexec/qemu-kvm', supports['x86_64'].emulator)
        emulators = {domain.findtext('devices/emulator')
                     for domain, _flags in self.connection.domains
                     if domain.get('type') == 'kvm'}
        self.assertEqual(
            {'/usr/libexec/qemu-kvm', '/shims/qemu-kvm'}, emulators)

    def test_guests_of_another_architecture_are_emulated(self):
        supports = self._probe(virt_type='kvm')
        self.assertEqual('/usr/bin/qemu-system-aarch64',
                         supports['aarch64'].emulator)
        kinds = {domain.get('type')
                 for domain, _flags in self.connection.domains
                 if 'aarch64' in domain.findtext('name')}
        self.assertEqual({'qemu'}, kinds)

    def test_guests_are_paused_and_end_with_the_connection(self):
        self._probe()
        self.assertEqual(
            {3}, {flags for _domain, flags in self.connection.domains})

    def test_guests_are_ended(self):
        self._probe()
        self.assertEqual(8, len(self.connection.guests))
        for guest in self.connection.guests:
            guest.destroy.assert_called_once_with()

    def test_a_guest_that_cannot_be_ended(self):
        connection = FakeConnection()
        guest = mock.Mock()
        guest.destroy.side_effect = LibvirtError('busy')
        connection.createXML = lambda xml, flags: guest
        supports = probe.probe(connection, 'qemu', '/shims')
        self.assertEqual(4, len(supports['x86_64'].usable))

    def test_one_failure_does_not_hinder_the_others(self):
        def refuse(domain):
            if '-tiny-' in domain.findtext('name'):
                raise RuntimeError()
        support = self._probe(refuse)['x86_64']
        self.assertEqual(('native', 'shim', 'existing'), support.usable)
        self.assertEqual({'tiny': 'RuntimeError'}, dict(support.refusals))

    def test_long_refusals_are_cut(self):
        def refuse(domain):
            raise LibvirtError('x' * 10000)
        refusals = self._probe(refuse)['x86_64'].refusals
        self.assertEqual(probe.REFUSAL_LENGTH, len(refusals['native']))

    def test_names_and_identities_differ(self):
        self._probe()
        domains = [domain for domain, _flags in self.connection.domains]
        for path in ('name', 'uuid'):
            self.assertEqual(8, len({domain.findtext(path)
                                     for domain in domains}))
        self.assertTrue(domains[0].findtext('name').startswith(
            'memhotplug-probe-x86_64-native-'))

    def test_cells(self):
        self._probe()
        cells = {
            domain.findtext('name').split('-')[3]: [
                int(cell.get('memory'))
                for cell in domain.iterfind('cpu/numa/cell')]
            for domain, _flags in self.connection.domains}
        whole = probe.MEMORY_KIB
        self.assertEqual({
            'native': [whole, 0], 'shim': [whole, 0],
            'tiny': [whole - 1024, 1024], 'existing': [whole]}, cells)

    def test_machine_and_processor(self):
        self._probe()
        for domain, _flags in self.connection.domains:
            kind = domain.find('os/type')
            arm = kind.get('arch') == 'aarch64'
            self.assertEqual('virt' if arm else None, kind.get('machine'))
            self.assertEqual(arm, domain.find('features') is None)
            self.assertIsNone(domain.find('cpu').get('mode'))
        self._probe(virt_type='kvm')
        for domain, _flags in self.connection.domains:
            arm = domain.find('os/type').get('arch') == 'aarch64'
            self.assertEqual(None if arm else 'host-passthrough',
                             domain.find('cpu').get('mode'))

    def test_capabilities_that_cannot_be_had(self):
        connection = FakeConnection()
        connection.getCapabilities = mock.Mock(side_effect=LibvirtError('no'))
        self.assertRaises(
            LibvirtError, probe.probe, connection, 'qemu', '/shims')


class DescribeTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        patch = mock.patch.object(probe, 'libvirt', FakeLibvirt)
        patch.start()
        self.addCleanup(patch.stop)

    def test_line(self):
        line = probe.describe(probe.probe(
            FakeConnection(_refuse_empty_cells), 'qemu', '/shims'))
        self.assertNotIn('\n', line)
        self.assertTrue(line.startswith(
            'aarch64 can use shim, tiny, existing (no native: internal'))
        self.assertIn('; x86_64 can use shim, tiny, existing (', line)

    def test_nothing_works(self):
        def refuse(domain):
            raise LibvirtError('no')
        line = probe.describe(probe.probe(
            FakeConnection(refuse), 'kvm', '/shims'))
        self.assertIn('x86_64 can use no strategy (no native: no)', line)

    def test_no_emulator(self):
        self.assertEqual(
            'libvirt offers no emulator for any supported architecture',
            probe.describe({}))
