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
import testtools

from nova_memhotplug.core import limits
from nova_memhotplug.core import strategies
from nova_memhotplug.core import verdicts

SUCCESS, WARNING, FAILURE = verdicts.Level
PATH = '/shims/qemu-system-x86_64'


def support(*usable, **more):
    return strategies.ArchSupport(
        'x86_64', '/usr/bin/qemu-system-x86_64', usable, {
            name: 'no ' + name for name in strategies.ORDER
            if name not in usable}, **more)


#: As with libvirt 12.9; as with 11.3, with a shim and without.
NATIVE = support('native', 'tiny', 'existing')
SHIM = support('shim', 'tiny', 'existing', has_shim=True)
TINY = support('tiny', 'existing')
REFUSED = support('tiny', 'existing', has_shim=True)


@ddt.ddt
class VerdictsTest(testtools.TestCase):

    def check(self, line, level, *words):
        self.assertEqual(level, line.level, line)
        for word in words:
            self.assertIn(word, '%s|%s' % (line.found, line.todo))
        self.assertEqual(level == SUCCESS or not line.todo, not line.todo)

    @ddt.data(
        ('libvirt', 8000000, SUCCESS, '8.0.0'),
        ('libvirt', 11003000, SUCCESS, '11.3.0'),
        ('libvirt', 7010000, FAILURE, 'Upgrade it to 8.0.0'),
        ('QEMU', 6002000, SUCCESS, '6.2.0'),
        ('QEMU', 5002090, FAILURE, '5.2.90|Upgrade it to 6.2.0'))
    @ddt.unpack
    def test_version(self, name, number, level, words):
        self.check(verdicts.version(name, number), level, words)

    @ddt.data(
        ('x86_64', True, False, [], SUCCESS, 'BIOS'),
        ('x86_64', True, True, ['/a.fd'], SUCCESS, 'UEFI: /a.fd'),
        ('aarch64', True, True, [], SUCCESS, 'UEFI'),
        ('aarch64', True, False, [], FAILURE, 'no UEFI|Install'),
        ('aarch64', False, False, [], WARNING, 'no UEFI'))
    @ddt.unpack
    def test_firmware(self, arch, is_own, has_uefi, loaders, level, words):
        self.check(verdicts.firmware(arch, is_own, has_uefi, loaders),
                   level, words)

    @ddt.data(
        # what starts, zero_cell_strategy, of the host itself, verdict, words
        (NATIVE, 'auto', True, SUCCESS, "get 'native'"),
        (SHIM, 'auto', True, SUCCESS, "get 'shim'"),
        (TINY, 'auto', True, WARNING, "get 'tiny'|For a node"),
        (TINY, 'tiny', True, SUCCESS, "get 'tiny'"),
        (SHIM, 'existing', True, SUCCESS, "get 'existing'"),
        # It does not slip to tiny.
        (REFUSED, 'auto', True, FAILURE, 'are refused'),
        (TINY, 'native', True, FAILURE, 'zero_cell_strategy = native'),
        (support(), 'auto', False, WARNING, 'are refused'))
    @ddt.unpack
    def test_started(self, found, configured, is_own, level, words):
        *each, last = verdicts.started(found, configured, is_own)
        self.assertEqual(
            [(name, name in found.usable) for name in strategies.ORDER],
            [(line.check.split()[-1], line.found == 'works')
             for line in each])
        for line in each:
            self.assertTrue(line.found == 'works' or line.found.endswith(
                ': no ' + line.check.split()[-1]))
        self.check(last, level, words)

    @ddt.data(
        # what starts, zero_cell_strategy, the file, verdict, words
        (SHIM, 'auto', (0, 'good'), SUCCESS, 'good'),
        (SHIM, 'auto', (1, 'older'), WARNING, 'older'),
        (SHIM, 'auto', (2, 'writable by everyone'), FAILURE,
         'writable by everyone'),
        (NATIVE, 'auto', (2, 'writable by everyone'), FAILURE,
         'writable by everyone'),
        (REFUSED, 'auto', (2, 'cannot be read'), FAILURE, 'cannot be read'),
        (REFUSED, 'auto', (0, 'good'), FAILURE,
         'no guest starts through it: no shim|See whether AppArmor'),
        (REFUSED, 'auto', (1, 'older'), FAILURE, 'no guest starts'),
        (support(), 'auto', (0, 'good'), FAILURE, '|See the lines above'),
        (TINY, 'auto', None, WARNING, PATH + ' is not there|Run'),
        (TINY, 'shim', None, WARNING, 'is not there'),
        (TINY, 'tiny', None, SUCCESS, 'none is needed'),
        (NATIVE, 'auto', None, SUCCESS, 'none is needed'))
    @ddt.unpack
    def test_shim(self, found, configured, seen, level, words):
        self.check(verdicts.shim(found, configured, PATH, seen),
                   level, words)

    def test_no_emulator(self):
        self.check(verdicts.no_emulator('x86_64', 'kvm'), FAILURE,
                   'virt_type = kvm')

    @ddt.data(
        (40, 991744, SUCCESS, '40 address bits: at most 991744 MiB'),
        (36, -1024, WARNING, 'Lower default_slots'),
        (None, None, SUCCESS, 'no ceiling is refused'))
    @ddt.unpack
    def test_ceiling(self, bits, largest_mb, level, words):
        self.check(verdicts.ceiling('x86_64', 'q35', bits, largest_mb, 8),
                   level, words)

    @ddt.data(
        # regions, who serves guests, default_slots, whether used, verdict
        ({}, limits.VHOST, 61, True, SUCCESS, '61 memory devices'),
        ({}, limits.VHOST, 62, True, WARNING, 'Raise max_mem_regions'),
        ({}, limits.VHOST, 62, False, SUCCESS, '61 memory devices'),
        ({}, limits.VHOST_USER, 8, False, SUCCESS, '5 memory devices'),
        ({'kvm': 32}, limits.KVM, 8, True, WARNING, '0 memory devices'),
        ({}, limits.KVM, 8, True, SUCCESS, 'does not say'))
    @ddt.unpack
    def test_devices(self, known, server, slots, is_used, level, words):
        self.check(verdicts.devices(
            limits.Regions(**known), server, slots, is_used), level, words)

    @ddt.data(
        ({}, [(SUCCESS, 'none')]),
        ({(2048, 0): (0, 0), (1048576, 0): (0, 0)}, [(SUCCESS, 'none')]),
        ({(2048, 1): (3, 4), (2048, 0): (0, 4), (1048576, 0): (0, 2)}, [
            (SUCCESS, 'node 0: 0 of 4 free, node 1: 3 of 4 free'),
            (WARNING, 'node 0: 0 of 2 free|Servers')]))
    @ddt.unpack
    def test_pages(self, pools, expected):
        for line, (level, words) in zip(
                verdicts.pages(pools), expected, strict=True):
            self.check(line, level, words)

    @ddt.data((65530, SUCCESS, '65530'), (65529, WARNING, 'Set it to 65530'),
              (None, WARNING, 'cannot be read'))
    @ddt.unpack
    def test_mappings(self, most, level, words):
        self.check(verdicts.mappings(most), level, words)

    @ddt.data(
        (None, None, SUCCESS, 'not seen from here'),
        (True, 8 << 20, SUCCESS, 'what they need'),
        (False, None, SUCCESS, 'what they need'),
        (False, 8 << 20, WARNING, '8 MiB|Servers'))
    @ddt.unpack
    def test_locked(self, can_raise, limit, level, words):
        self.check(verdicts.locked(can_raise, limit), level, words)

    @ddt.data((['none', 'dac'], 'dac'), (['apparmor', 'dac'], 'apparmor'),
              (['none'], 'none'), ([], 'none'))
    @ddt.unpack
    def test_security(self, models, words):
        self.check(verdicts.security(models), SUCCESS, words)
