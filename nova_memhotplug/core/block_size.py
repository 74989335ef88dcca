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

"""The smallest amount of memory that a guest can take.

A guest kernel manages memory in blocks. It refuses a DIMM that is no whole
number of blocks, **and every later one**, while QEMU and libvirt report
success (facts-qemu-libvirt.md, section 3). So this rule is what keeps a guest
able to grow.
"""

from nova_memhotplug.core import units

AARCH64 = 'aarch64'
X86_64 = 'x86_64'
PPC64 = ('ppc64', 'ppc64le')

#: Architectures whose kernels can add memory while they run: 64-bit only
#: (Linux, Documentation/admin-guide/mm/memory-hotplug.rst).
SUPPORTED_ARCHS = (X86_64, AARCH64) + PPC64

#: Linux, arch/x86/include/asm/sparsemem.h: SECTION_SIZE_BITS is 27.
X86_BLOCK_MB = 128
#: Linux, arch/x86/mm/init_64.c, probe_memory_block_size(): a guest whose
#: memory ends at 64 GiB or above uses the largest block up to 2 GiB that
#: divides that end; older kernels always 2 GiB. 2 GiB is whole blocks of all
#: of them. Measured: 63 GiB -> 1 GiB, 64 -> 2, 65 -> 1, 80 -> 2.
X86_LARGE_BLOCK_MB = 2 * units.MIB_PER_GIB
X86_LARGE_MEMORY_MB = 64 * units.MIB_PER_GIB
#: q35 puts up to 2 GiB of RAM below 4 GiB, so RAM ends that much later than
#: its size says (QEMU, hw/i386/pc_q35.c; i440fx: 1 GiB, hw/i386/pc_piix.c).
X86_HOLE_MB = 2 * units.MIB_PER_GIB
#: Linux, arch/arm64/include/asm/sparsemem.h: 27 bits with pages of 4 KiB or
#: 16 KiB, 29 bits with pages of 64 KiB.
AARCH64_BLOCK_MB = 128
#: QEMU, hw/ppc/spapr.c: SPAPR_MEMORY_BLOCK_SIZE.
PPC64_BLOCK_MB = 256


def step_mb(
    arch: str,
    boot_mb: int,
    aarch64_block_mb: int = AARCH64_BLOCK_MB,
    page_kib: int = 0,
    reported_mb: int = 0,
) -> int:
    """Say in what steps memory can be added to a guest.

    Every number that takes part is a power of two, so the largest is a
    multiple of all of them.

    :param arch: guest architecture, as libvirt names it
    :param boot_mb: RAM the guest booted with, in MiB
    :param aarch64_block_mb: block of aarch64 guests, in MiB
    :param page_kib: huge page that backs the guest, in KiB; 0 for none
    :param reported_mb: block that the guest itself reported, in MiB; 0 if it
        reported none. A guest may ask for larger steps, never for smaller.
    :returns: the step, in MiB; 0 for an architecture without memory hot-plug
    """
    block_mb = _kernel_block_mb(arch, boot_mb, aarch64_block_mb)
    if not block_mb:
        return 0
    return max(block_mb, units.kib_to_mb(page_kib), reported_mb)


def _kernel_block_mb(arch: str, boot_mb: int, aarch64_block_mb: int) -> int:
    if arch == X86_64:
        if boot_mb + X86_HOLE_MB >= X86_LARGE_MEMORY_MB:
            return X86_LARGE_BLOCK_MB
        return X86_BLOCK_MB
    if arch == AARCH64:
        return aarch64_block_mb
    if arch in PPC64:
        return PPC64_BLOCK_MB
    return 0
