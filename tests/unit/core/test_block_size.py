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

"""The most important check of the project, as tables."""

import ddt
import testtools

from nova_memhotplug.core import block_size

GIB = 1024


@ddt.ddt
class StepTest(testtools.TestCase):

    @ddt.data(
        # arch, boot MiB, step MiB
        ('x86_64', 512, 128),
        ('x86_64', 1000, 128),
        ('x86_64', 32 * GIB, 128),
        ('x86_64', 61 * GIB, 128),
        # The RAM of a guest with 62 GiB ends at 64 GiB on q35.
        ('x86_64', 62 * GIB - 1, 128),
        ('x86_64', 62 * GIB, 2 * GIB),
        # Measured: 63 GiB -> 1 GiB, 64 -> 2, 65 -> 1, 80 -> 2 (facts,
        # section 3); 2 GiB is whole blocks of all of them.
        ('x86_64', 63 * GIB, 2 * GIB),
        ('x86_64', 64 * GIB, 2 * GIB),
        ('x86_64', 65 * GIB, 2 * GIB),
        ('x86_64', 80 * GIB, 2 * GIB),
        ('aarch64', 512, 128),
        ('aarch64', 128 * GIB, 128),
        ('ppc64le', 4 * GIB, 256),
        ('ppc64', 4 * GIB, 256),
    )
    @ddt.unpack
    def test_kernel_block(self, arch, boot_mb, expected):
        self.assertEqual(expected, block_size.step_mb(arch, boot_mb))

    @ddt.data(
        # aarch64 block, page KiB, reported MiB, step MiB
        (512, 0, 0, 512),
        (128, 4, 0, 128),
        (128, 64, 0, 128),
        (128, 2048, 0, 128),
        (128, 512 * 1024, 0, 512),
        (128, 1024 * 1024, 0, 1024),
        (128, 16 * 1024 * 1024, 0, 16 * 1024),
        (128, 0, 512, 512),
        # A guest cannot talk the step down.
        (512, 0, 128, 512),
        (512, 0, 16, 512),
        (128, 1024 * 1024, 512, 1024),
    )
    @ddt.unpack
    def test_largest_wins(self, block_mb, page_kib, reported_mb, expected):
        self.assertEqual(expected, block_size.step_mb(
            'aarch64', 512, aarch64_block_mb=block_mb, page_kib=page_kib,
            reported_mb=reported_mb))

    @ddt.data('i686', 'armv7l', 's390x', 'riscv64', '')
    def test_no_hotplug(self, arch):
        self.assertEqual(0, block_size.step_mb(arch, 512, page_kib=2048))
