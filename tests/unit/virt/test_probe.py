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

import os
from unittest import mock
import uuid

import ddt
import fixtures
from lxml import etree
from oslo_config import fixture as config_fixture
import testtools

from nova_memhotplug.common import options
from nova_memhotplug.core import strategies
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
    """An error as libvirt raises it."""

    def __init__(self, message, code=1, domain=10):
        super().__init__(message)
        self._code, self._domain = code, domain

    def get_error_code(self):
        return self._code

    def get_error_domain(self):
        return self._domain


class FakeLibvirt:
    VIR_DOMAIN_START_PAUSED = 1
    VIR_DOMAIN_START_AUTODESTROY = 2
    VIR_FROM_RPC = 7
    VIR_FROM_REMOTE = 13
    VIR_ERR_OPERATION_TIMEOUT = 68
    libvirtError = LibvirtError


class FakeConnection:
    """Starts what ``refuse`` does not raise for, and remembers it."""

    def __init__(self, refuse=None):
        self.refuse = refuse or (lambda domain: None)
        self.domains = []
        self.running = {}
        self.ended = []
        self.version = 11003000

    def getCapabilities(self):
        return CAPABILITIES

    def getLibVersion(self):
        return self.version

    def getVersion(self):
        return 10000002

    def lookupByUUIDString(self, identity):
        try:
            return self.running[identity]
        except KeyError:
            raise LibvirtError('no domain with matching uuid', 42)

    def createXML(self, xml, flags):
        domain = etree.fromstring(xml)
        self.domains.append((domain, flags))
        identity = domain.findtext('uuid')
        if identity in self.running:
            raise LibvirtError("domain '%s' already exists" % identity, 9)
        self.refuse(domain)
        self.running[identity] = guest = mock.Mock()
        guest.destroy.side_effect = lambda: self.ended.append(
            self.running.pop(identity))
        return guest

    @property
    def tried(self):
        return [domain.findtext('name').removeprefix('memhotplug-')
                for domain, _flags in self.domains]


def _refuse_empty_cells(domain):
    """Do as libvirt 11.3 and QEMU 10.0 do."""
    emulator = domain.findtext('devices/emulator', default='')
    if (domain.find("cpu/numa/cell[@memory='0']") is not None and
            'shim' not in emulator):
        raise LibvirtError(
            "internal error: QEMU unexpectedly closed the monitor (vm='%s'): "
            "2026-11-23T19:51:40.612Z qemu: property 'size'\n of "
            "memory-backend-ram doesn't take value '0'" %
            domain.findtext('name'))


class ProbeTestBase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        self.conf = self.useFixture(config_fixture.Config(options.CONF))
        patch = mock.patch.object(probe, 'libvirt', FakeLibvirt)
        patch.start()
        self.addCleanup(patch.stop)

    def make_prober(self, refuse=None, virt_type='qemu', shims='/shims'):
        self.connection = FakeConnection(refuse)
        return probe.Prober(lambda: self.connection, virt_type, shims)


class EverythingTestCase(ProbeTestBase):
    """What the command shows."""

    def _probe(self, refuse=None, virt_type='qemu'):
        self.connection = FakeConnection(refuse)
        return probe.probe(self.connection, virt_type, '/shims')

    def test_all_work(self):
        supports = self._probe()
        self.assertEqual(['x86_64', 'aarch64'], list(supports))
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
        self.assertEqual({None, '/shims/qemu-kvm'}, emulators)

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
        self.assertEqual((8, {}), (
            len(self.connection.ended), self.connection.running))

    def test_one_failure_does_not_hinder_the_others(self):
        def refuse(domain):
            if '-tiny' in domain.findtext('name'):
                raise RuntimeError()
        support = self._probe(refuse)['x86_64']
        self.assertEqual(('native', 'shim', 'existing'), support.usable)
        self.assertEqual({'tiny': 'RuntimeError'}, dict(support.refusals))

    def test_long_refusals_are_cut(self):
        def refuse(domain):
            raise LibvirtError('x' * 10000)
        refusals = self._probe(refuse)['x86_64'].refusals
        self.assertEqual(probe.REFUSAL_LENGTH, len(refusals['native']))

    def test_names_and_identities(self):
        """They are the same each time, and no server's."""
        self._probe()
        first = self.connection.domains
        self._probe()
        for path in ('name', 'uuid'):
            seen = [domain.findtext(path) for domain, _flags in first]
            self.assertEqual(8, len(set(seen)))
            self.assertEqual(seen, [
                domain.findtext(path)
                for domain, _flags in self.connection.domains])
        self.assertTrue(all(map(probe.is_probe, seen)))
        self.assertFalse(probe.is_probe(str(uuid.uuid4())))
        self.assertEqual('status-x86_64-native', self.connection.tried[0])

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

    def test_capabilities_that_cannot_be_had(self):
        connection = FakeConnection()
        connection.getCapabilities = mock.Mock(side_effect=LibvirtError('no'))
        self.assertRaises(
            LibvirtError, probe.probe, connection, 'qemu', '/shims')


class OptionsTestCase(ProbeTestBase):
    """Trial guests are like servers."""

    def machines(self, virt_type='qemu'):
        prober = self.make_prober(virt_type=virt_type)
        for arch in prober.archs():
            prober.support(arch, ('existing',))
        return {domain.find('os/type').get('arch'):
                domain for domain, _flags in self.connection.domains}

    def test_defaults(self):
        found = self.machines()
        self.assertEqual(
            {'x86_64': 'pc', 'aarch64': 'virt'},
            {arch: domain.find('os/type').get('machine')
             for arch, domain in found.items()})
        self.assertIsNotNone(found['x86_64'].find('features/acpi'))
        self.assertIsNone(found['aarch64'].find('features'))
        for domain in found.values():
            self.assertIsNone(domain.find('cpu').get('mode'))
            self.assertIsNone(domain.find('memoryBacking'))
            self.assertIsNone(domain.find('devices/emulator'))
            self.assertEqual('1', domain.find('maxMemory').get('slots'))

    def test_kvm(self):
        self.assertEqual(
            {'x86_64': 'host-passthrough', 'aarch64': None},
            {arch: domain.find('cpu').get('mode')
             for arch, domain in self.machines('kvm').items()})

    def test_machine_type(self):
        self.conf.config(
            hw_machine_type=['x86_64=microvm'], group='libvirt')
        self.assertEqual('microvm', self.machines()['x86_64'].find(
            'os/type').get('machine'))

    def test_file_backed_memory(self):
        self.conf.config(file_backed_memory=1024, group='libvirt')
        backing = self.machines()['x86_64'].find('memoryBacking')
        self.assertEqual(('file', 'shared'), (
            backing.find('source').get('type'),
            backing.find('access').get('mode')))


class LazyTestCase(ProbeTestBase):
    """Nothing is tried that nobody wants to know, and nothing twice."""

    def test_first_that_works(self):
        prober = self.make_prober()
        support = prober.support('x86_64', strategies.RESERVING)
        self.assertEqual((('native',), {}),
                         (support.usable, dict(support.refusals)))
        self.assertEqual(['probe-x86_64-native'], self.connection.tried)

    def test_stock_software(self):
        prober = self.make_prober(_refuse_empty_cells)
        for _times in range(3):
            support = prober.support('x86_64', strategies.RESERVING)
            self.assertEqual(('shim',), support.usable)
            self.assertEqual(['native'], list(support.refusals))
        self.assertEqual(['probe-x86_64-native', 'probe-x86_64-shim'],
                         self.connection.tried)
        prober.support('x86_64', ('existing',))
        self.assertEqual(3, len(self.connection.tried))

    def test_no_emulator(self):
        prober = self.make_prober()
        self.assertIsNone(prober.support('sparc', strategies.RESERVING))
        self.assertEqual([], self.connection.tried)

    def test_new_version(self):
        prober = self.make_prober(_refuse_empty_cells)
        prober.support('x86_64', strategies.RESERVING)
        self.connection.version = 12009000
        self.connection.refuse = lambda domain: None
        self.assertEqual(('native',), prober.support(
            'x86_64', strategies.RESERVING).usable)

    def test_new_shim(self):
        shims = self.useFixture(fixtures.TempDir()).path

        def refuse(domain):
            if not os.path.exists(domain.findtext(
                    'devices/emulator', default='/nowhere')):
                raise LibvirtError('Cannot check QEMU binary: No such file '
                                   'or directory', 38)

        prober = self.make_prober(refuse, shims=shims)
        for _times in range(2):
            self.assertEqual((), prober.support('x86_64', ('shim',)).usable)
        # It is tried without a virtio-mem, too.
        self.assertEqual(2, len(self.connection.tried))
        with open(os.path.join(shims, 'qemu-system-x86_64'), 'w'):
            pass
        self.assertEqual(('shim',), prober.support(
            'x86_64', ('shim',)).usable)

    def test_leftover(self):
        """One service was killed, and the next is quicker than libvirt."""
        prober = self.make_prober(_refuse_empty_cells)
        prober.support('x86_64', ('tiny',))
        identity = self.connection.domains[0][0].findtext('uuid')
        leftover = mock.Mock()
        leftover.destroy.side_effect = lambda: self.connection.running.pop(
            identity)
        self.connection.running[identity] = leftover
        self.connection.version += 1
        self.assertEqual(('tiny',), prober.support(
            'x86_64', ('tiny',)).usable)
        leftover.destroy.assert_called_once_with()

    def test_a_guest_that_cannot_be_ended(self):
        prober = self.make_prober()
        guest = mock.Mock()
        guest.destroy.side_effect = LibvirtError('busy')
        self.connection.createXML = lambda xml, flags: guest
        self.assertEqual(('native',), prober.support(
            'x86_64', strategies.RESERVING).usable)


@ddt.ddt
class PassingTestCase(ProbeTestBase):
    """A host that cannot at this moment is asked again."""

    @ddt.data(
        LibvirtError('cannot set up guest memory: Cannot allocate memory'),
        LibvirtError('Cannot write data: Broken pipe', 38, 7),
        LibvirtError('Unable to read from monitor', 1, 13),
        LibvirtError('cannot acquire state change lock', 68),
        LibvirtError("domain 'memhotplug-probe' already exists", 9),
        RuntimeError('a bug'))
    def test_tried_again(self, failure):
        def refuse(domain):
            raise failure

        prober = self.make_prober(refuse)
        support = prober.support('x86_64', ('shim',))
        self.assertEqual(({'shim': str(failure)}, ()),
                         (support.refusals, support.usable))
        self.connection.refuse = lambda domain: None
        self.assertEqual(('shim',), prober.support(
            'x86_64', ('shim',)).usable)
        # What has worked is known.
        self.connection.refuse = refuse
        self.assertEqual(('shim',), prober.support(
            'x86_64', ('shim',)).usable)
        self.assertEqual(2, len(self.connection.tried))

    def test_busy(self):
        prober = self.make_prober()
        self.useFixture(fixtures.MockPatchObject(probe, 'PATIENCE', 0.01))
        with prober._lock:
            self.assertEqual(
                {'tiny': 'it is still being tried'},
                prober.support('x86_64', ('tiny',)).refusals)
        self.assertEqual(('tiny',), prober.support(
            'x86_64', ('tiny',)).usable)


class DescribeTestCase(ProbeTestBase):

    def test_line(self):
        line = probe.describe(self.make_prober(_refuse_empty_cells).support(
            'aarch64', strategies.RESERVING))
        self.assertNotIn('\n', line)
        self.assertTrue(line.startswith(
            'aarch64 can use shim (no native: internal'), line)

    def test_nothing_works(self):
        def refuse(domain):
            raise LibvirtError('no')
        line = probe.describe(self.make_prober(refuse).support(
            'x86_64', ('native',)))
        self.assertEqual('x86_64 can use no strategy (no native: no)', line)


class VirtioMemTestCase(ProbeTestBase):
    """Each guest is tried with a virtio-mem, and without if need be."""

    def test_device(self):
        support = self.make_prober().support('x86_64', ('native',))
        self.assertIsNone(support.no_virtio_mem)
        ((domain, _flags),) = self.connection.domains
        self.assertEqual(
            ('1', str(128 * 1024)),
            (domain.findtext("devices/memory[@model='virtio-mem']/target/"
                             'node'),
             domain.findtext('devices/memory/target/size')))

    def test_host_without(self):
        def refuse(domain):
            _refuse_empty_cells(domain)
            if domain.find('devices/memory') is not None:
                raise LibvirtError("virtio-mem isn't supported by this QEMU "
                                   'binary', 67, 20)

        prober = self.make_prober(refuse)
        for _times in range(2):
            support = prober.support('x86_64', strategies.RESERVING)
            self.assertEqual(('shim',), support.usable)
        self.assertEqual(
            ['probe-x86_64-native'] + ['probe-x86_64-shim'] * 2,
            self.connection.tried)
        self.assertTrue(probe.describe(support).endswith(
            ", but not virtio-mem: virtio-mem isn't supported by this QEMU "
            'binary'))
