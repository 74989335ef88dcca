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

from nova_memhotplug.core import processors

HOST = processors.Host('Intel', 46, 45)


def cpu(arch='x86_64', is_emulated=False, **more):
    return processors.Processor(arch, is_emulated, **more)


@ddt.ddt
class ProcessorTest(testtools.TestCase):

    @ddt.data(
        # QEMU's default without a word, on KVM as well.
        (cpu(is_emulated=True), 40, False), (cpu(), 40, False),
        (cpu(mode='custom', model='Nehalem'), 40, False),
        (cpu(mode='host-passthrough'), 46, True),
        # libvirt limits it to what its model of the host has.
        (cpu(mode='host-model'), 45, True),
        (cpu(bits_mode='emulate', bits=42), 42, False),
        (cpu(bits_mode='emulate', bits=42, is_emulated=True), 42, False),
        (cpu(bits_mode='passthrough'), 46, True),
        (cpu('aarch64', True, model='cortex-a57'), 44, False),
        (cpu('aarch64', True, model='neoverse-n1'), 48, False),
        (cpu('aarch64', True, model='max'), None, False),
        (cpu('aarch64', True), None, False),
        (cpu('aarch64', mode='host-passthrough'), None, True))
    @ddt.unpack
    def test_bits(self, cpu, bits, follows_host):
        self.assertEqual(
            (bits, follows_host), processors.address_bits(cpu, HOST))

    @ddt.data(
        (cpu(mode='host-model'), 40, False),
        (cpu(mode='host-passthrough'), None, True),
        (cpu(bits_mode='passthrough'), None, True))
    @ddt.unpack
    def test_host_that_does_not_say(self, cpu, bits, follows_host):
        self.assertEqual(
            (bits, follows_host),
            processors.address_bits(cpu, processors.Host()))

    def test_rhel_passes_the_bits_of_the_host(self):
        self.assertEqual((46, True), processors.address_bits(
            cpu(model='Nehalem'), HOST, 'pc-q35-rhel9.4.0'))

    @ddt.data(
        (cpu(), None), (cpu(model='EPYC'), None),
        (cpu(vendor='AMD'), True), (cpu(vendor='Intel'), False),
        (cpu(vendor='Hygon', is_emulated=True, model='Dhyana'), False),
        (cpu(is_emulated=True), True),
        (cpu(is_emulated=True, model='qemu64'), True),
        (cpu(is_emulated=True, model='EPYC-Rome'), True),
        (cpu(is_emulated=True, model='Nehalem'), False),
        (cpu('aarch64'), False))
    @ddt.unpack
    def test_is_amd(self, cpu, expected):
        self.assertIs(expected, cpu.is_amd)
