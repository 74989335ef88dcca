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

"""What the operator of a host is told of it."""

import errno

import fixtures
from oslo_config import fixture as config_fixture

from nova_memhotplug.cmd import host
from nova_memhotplug.cmd import shim
from nova_memhotplug.core import strategies
from nova_memhotplug.core import verdicts
from nova_memhotplug.virt import address_space
from nova_memhotplug.virt import emulator
from nova_memhotplug.virt import host_facts
from nova_memhotplug.virt import probe
from tests.unit.cmd import test_checks

SUCCESS, WARNING, FAILURE = verdicts.Level
CAPABILITIES = """
<capabilities>
  <host>
    <cpu><arch>x86_64</arch><vendor>Intel</vendor></cpu>
    <secmodel><model>apparmor</model></secmodel>
    <secmodel><model>dac</model></secmodel>
  </host>
  <guest><os_type>hvm</os_type><arch name="x86_64">
    <emulator>%s</emulator></arch></guest>
</capabilities>"""
#: Of whatever machine type.
DOMAIN_CAPABILITIES = """
<domainCapabilities>
  <machine>pc-q35-10.0</machine>
  <os><enum name='firmware'><value>efi</value></enum>
    <loader><value>/usr/share/OVMF/OVMF_CODE.fd</value></loader></os>
</domainCapabilities>"""


class Connection(test_checks.FakeLibvirt):

    def getCapabilities(self):
        return CAPABILITIES % self.path

    def getDomainCapabilities(self, path, arch, machine, kind, flags):
        if path != str(self.path):
            super().getDomainCapabilities()
        return DOMAIN_CAPABILITIES

    def getLibVersion(self):
        return 11003000

    def getVersion(self):
        return 10000002


class HostTestCase(test_checks.ShimTestBase):

    def setUp(self):
        super().setUp()
        for module in (address_space, emulator):
            self.useFixture(fixtures.MockPatchObject(
                module, 'libvirt', test_checks.FakeLibvirt))
        for name in ('NODES', 'PROC'):
            self.useFixture(fixtures.MockPatchObject(
                host_facts, name, self.root / 'none'))
        self.config = self.useFixture(config_fixture.Config(host.CONF))
        self.config.conf([], project='nova', default_config_files=[])
        self.config.config(
            group='memhotplug', shim_directory=str(self.directory))
        self.config.config(group='libvirt', virt_type='kvm')

    def look(self, usable, number=0, is_offered=True):
        """Look at the host; returns its lines by what they are about.

        :param usable: the strategies that start
        :param number: with which error libvirt cannot use the shim
        """
        support = strategies.ArchSupport(
            'x86_64', str(self.emulator), usable, {
                name: 'no %s here' % name for name in strategies.ORDER
                if name not in usable})
        self.useFixture(fixtures.MockPatchObject(
            probe, 'probe',
            return_value={'x86_64': support} if is_offered else {}))
        return {line.check: line for line in host.look(
            Connection(self.emulator, number))}

    def check(self, line, level, words):
        self.assertEqual((level, True), (line.level, words in line.found),
                         line)

    def test_without_the_shim(self):
        lines = self.look(('tiny', 'existing'), errno.ENOENT)
        self.check(lines['x86_64 emulator shim'], WARNING,
                   '%s is not there' % self.path)
        self.check(lines['x86_64 empty node'], WARNING, "get 'tiny'")
        self.check(lines['x86_64 strategy native'], SUCCESS,
                   'does not work: no native here')
        self.check(lines['x86_64 strategy tiny'], SUCCESS, 'works')

    def test_none_is_needed(self):
        lines = self.look(('native', 'tiny', 'existing'), errno.ENOENT)
        self.check(lines['x86_64 emulator shim'], SUCCESS, 'none is needed')
        self.check(lines['x86_64 empty node'], SUCCESS, "get 'native'")

    def test_all_is_well(self):
        shim.install(self.directory)
        lines = self.look(('shim', 'tiny', 'existing'))
        self.check(lines['x86_64 emulator shim'], SUCCESS,
                   '%s starts %s.' % (self.path, self.emulator))
        self.check(lines['x86_64 empty node'], SUCCESS, "get 'shim'")
        self.check(lines['libvirt'], SUCCESS, '11.3.0')
        self.check(lines['QEMU'], SUCCESS, '10.0.2')
        self.check(lines['x86_64 firmware'], SUCCESS, 'OVMF_CODE.fd')
        self.check(lines['security driver'], SUCCESS, 'apparmor, dac')

    def test_world_writable_shim(self):
        shim.install(self.directory)
        file = self.directory / shim.SHIM
        file.chmod(0o757)
        lines = self.look(('shim', 'tiny', 'existing'))
        self.check(lines['x86_64 emulator shim'], FAILURE,
                   '%s is writable by everyone' % file)

    def test_shim_that_libvirt_may_not_run(self):
        shim.install(self.directory)
        lines = self.look(('tiny', 'existing'), errno.EACCES)
        self.check(lines['x86_64 emulator shim'], FAILURE,
                   'libvirt cannot use %s: ' % self.path)
        self.check(lines['x86_64 empty node'], FAILURE, 'are refused')

    def test_shim_that_guests_may_not_run(self):
        """libvirt can ask it what QEMU can do, and starts no guest."""
        shim.install(self.directory)
        lines = self.look(('tiny', 'existing'))
        line = lines['x86_64 emulator shim']
        self.check(line, FAILURE, '%s is there, but no guest starts through '
                   'it: no shim here' % self.path)
        self.assertIn('AppArmor', line.todo)
        self.check(lines['x86_64 empty node'], FAILURE, 'are refused')

    def test_no_emulator(self):
        lines = self.look((), is_offered=False)
        self.check(lines['x86_64 emulator'], FAILURE, 'virt_type = kvm')
        self.assertNotIn('x86_64 firmware', lines)

    def test_ceilings(self):
        """Those of QEMU (facts-guests.md, row D28), in MiB."""
        for options, expected in (
                ({'virt_type': 'qemu'}, '40 address bits: at most 991744 MiB'),
                ({'cpu_mode': 'none'}, '40 address bits: at most 1004032'),
                ({'cpu_mode': 'custom', 'cpu_models': ['Nehalem']},
                 '40 address bits: at most 1004032'),
                ({'cpu_mode': 'host-passthrough'}, 'does not say')):
            self.config.config(group='libvirt', **options)
            lines = self.look(('native',), errno.ENOENT)
            self.check(lines['x86_64 q35 ceiling'], SUCCESS, expected)
            self.config.config(group='libvirt', virt_type='kvm')

    def test_devices(self):
        self.config.config(group='memhotplug', default_slots=100)
        lines = self.look(('native',), errno.ENOENT)
        self.check(lines['devices with vhost'], WARNING, '61 memory devices')
        self.check(lines['devices with vhost-user'], SUCCESS, '5 memory')
