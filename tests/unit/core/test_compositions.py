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

from nova_memhotplug.core import compositions
from nova_memhotplug.core import errors
from nova_memhotplug.core import memory_spec
from tests import documentation

#: Nova keeps 255 characters of a fault, these included.
FAULT_SIZE = 255
FAULT_PREFIX = 'Build of instance %s aborted: Invalid input received: ' % (
    36 * '0')

SPEC = memory_spec.MemorySpec(
    max_memory_mb=4096, slots=8, zero_node=True, model='dimm')

UEFI = {'hw_firmware_type': 'uefi'}
BIOS = {'hw_firmware_type': 'bios'}

#: Name, and requests that ask for it: architecture, extra specs, image
#: properties, CPU features of the host.
REFUSED = (
    ('pmem', 'x86_64', {'hw:pmem': '6GB, 2GB'}),
    ('mem_encryption', 'x86_64', {'hw:mem_encryption': 'True'}),
    ('mem_encryption', 'x86_64', {}, {'hw_mem_encryption': True}),
    ('mem_encryption', 'x86_64', {'hw:mem_encryption': 'no'},
     {'hw_mem_encryption': True}),
    ('realtime', 'x86_64', {'hw:cpu_realtime': 'yes'}),
    ('locked_virtio_mem', 'x86_64', {
        'memhotplug:model': 'virtio-mem', 'hw:locked_memory': 'true'}),
    ('locked_virtio_mem', 'x86_64', {'memhotplug:model': 'virtio-mem'},
     {'hw_locked_memory': True}),
    ('image_cells', 'x86_64', {'hw:numa_nodes': '2'},
     {'hw_numa_mem': [256, 256]}),
    ('32_bit', 'i686', {}),
    ('32_bit', 'armv7l', {}, UEFI),
    ('aarch64_bios', 'aarch64', {}, BIOS),
    ('aarch64_mte', 'aarch64', {}, UEFI, {'mte', 'sve'}),
    ('aarch64_mte', 'aarch64', {}, {}, {'mte'}),
)

#: Requests that are fine, some of them only just.
WORKING = (
    ('x86_64', {}),
    ('x86_64', {'hw:pmem': ''}),
    ('x86_64', {'hw:pmem': ' , '}),
    ('x86_64', {'hw:mem_encryption': 'false', 'hw:cpu_realtime': 'off'}),
    ('x86_64', {'hw:cpu_realtime': 'perhaps'}),
    ('x86_64', {}, {'hw_mem_encryption': False, 'hw_firmware_type': None}),
    ('x86_64', {}, {'hw_mem_encryption': None, 'os_type': 'windows'}),
    ('x86_64', {'hw:numa_nodes': '2', 'hw:numa_mem.0': '256',
                'hw:numa_mem.1': '256', 'hw:mem_page_size': 'large',
                'hw:cpu_policy': 'dedicated'}, {'hw_numa_mem': None}),
    ('x86_64', {}, BIOS),
    ('x86_64', {}, {}, {'mte'}),
    ('x86_64', {'memhotplug:model': 'virtio-mem', 'hw:locked_memory': 'no',
                'hw:mem_page_size': 'large'}, {'hw_locked_memory': False}),
    ('x86_64', {'hw:locked_memory': 'true', 'hw:mem_page_size': 'small',
                'hw:tpm_version': '2.0', 'quota:cpu_shares': '512',
                'pci_passthrough:alias': 'gpu:1'}, UEFI),
    ('aarch64', {}),
    ('aarch64', {}, UEFI, {'sve'}),
    ('ppc64le', {}),
)

SENTENCES = {
    'pmem':
        'memhotplug:max_memory_mb cannot be combined with persistent memory '
        "(hw:pmem): Nova's live migration would mix up the devices.",
    'mem_encryption':
        'memhotplug:max_memory_mb cannot be combined with memory encryption '
        '(SEV, SEV-ES, SEV-SNP, TDX): such memory is measured when the guest '
        'is launched.',
    'realtime':
        'memhotplug:max_memory_mb cannot be combined with real-time vCPUs '
        '(hw:cpu_realtime): QEMU may hold them up while it adds a device.',
    'locked_virtio_mem':
        'memhotplug:max_memory_mb cannot be combined with locked memory '
        'where memhotplug:model is virtio-mem: QEMU starts no guest with '
        'both.',
    'image_cells':
        'memhotplug:max_memory_mb cannot be combined with sizes of NUMA '
        'nodes in the image: they would have to grow with the server; '
        'hw:numa_mem.N of the flavor can.',
    '32_bit':
        'memhotplug:max_memory_mb cannot be combined with 32-bit guests: '
        'only 64-bit kernels add memory while they run.',
    'aarch64_bios':
        'memhotplug:max_memory_mb cannot be combined with aarch64 guests '
        'without UEFI: without ACPI they do not learn of new memory.',
    'aarch64_mte':
        'memhotplug:max_memory_mb cannot be combined with aarch64 guests '
        'with memory tagging (MTE): QEMU adds no memory to them.',
}


def request(arch, extra_specs, image=None, cpu_features=()):
    return compositions.Request(
        arch=arch, extra_specs=extra_specs, image=image or {},
        cpu_features=frozenset(cpu_features))


@ddt.ddt
class CheckTest(testtools.TestCase):

    def test_refused(self):
        for name, *asked in REFUSED:
            exc = self.assertRaises(
                errors.ExcludedComposition, compositions.check,
                request(*asked))
            self.assertEqual(SENTENCES[name], str(exc), (name, asked))

    def test_all_that_is_refused_is_tested(self):
        names = {row.name for row in compositions.COMPOSITIONS
                 if row.is_asked is not None}
        self.assertEqual(names, set(SENTENCES))
        self.assertEqual(names, {name for name, *asked in REFUSED})

    @ddt.data(*WORKING)
    def test_working(self, asked):
        compositions.check(request(*asked))

    @ddt.data(*SENTENCES.values())
    def test_a_fault_has_room_for_it(self, sentence):
        self.assertThat(
            len(FAULT_PREFIX + sentence),
            testtools.matchers.LessThan(FAULT_SIZE + 1))


@ddt.ddt
class AdaptTest(testtools.TestCase):

    @ddt.data(
        ({}, None, True),
        ({}, 'linux', True),
        ({}, 'windows', False),
        ({'memhotplug:zero_node': 'true'}, 'windows', True),
        ({'memhotplug:zero_node': 'false'}, 'windows', False),
        ({'memhotplug:zero_node': 'false'}, 'linux', False),
    )
    @ddt.unpack
    def test_zero_node(self, more, os_type, expected):
        extra_specs = {'memhotplug:max_memory_mb': '4096', **more}
        spec = memory_spec.from_extra_specs(extra_specs)
        adapted = compositions.adapt(
            spec, request('x86_64', extra_specs, {'os_type': os_type}))
        self.assertEqual(
            (4096, 8, expected, 'dimm'),
            (adapted.max_memory_mb, adapted.slots, adapted.zero_node,
             adapted.model))

    def test_nothing_to_adapt(self):
        self.assertIs(
            SPEC, compositions.adapt(SPEC, request('x86_64', {})))


class DocumentationTest(testtools.TestCase):
    """The table for operators says what the code does, row by row."""

    def test_rows(self):
        table = documentation.tables('admin/compositions')[0]
        self.assertEqual(
            [self._row(row) for row in compositions.COMPOSITIONS],
            [[cells[0].lower(), *cells[1:4]] for cells in table])

    @staticmethod
    def _row(row):
        verdict, note = ('works', row.note) if row.is_asked is None else (
            'refused', str(row.refusal))
        return [row.what.lower(), row.asked_by, verdict, note]

    def test_names_are_unique(self):
        names = [row.name for row in compositions.COMPOSITIONS]
        self.assertEqual(len(names), len(set(names)))
