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
"""What goes together with memory that grows, and what does not.

This is the only place where it is decided. The table in
``doc/source/admin/compositions.rst`` has the same rows in the same words; a
test compares them.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses

from nova_memhotplug.core import addresses
from nova_memhotplug.core import device
from nova_memhotplug.core import errors
from nova_memhotplug.core import memory_spec

PMEM = 'hw:pmem'
MEM_ENCRYPTION = 'hw:mem_encryption'
CPU_REALTIME = 'hw:cpu_realtime'
LOCKED_MEMORY = 'hw:locked_memory'

IMAGE_MEM_ENCRYPTION = 'hw_mem_encryption'
IMAGE_LOCKED_MEMORY = 'hw_locked_memory'
IMAGE_FIRMWARE = 'hw_firmware_type'
IMAGE_OS_TYPE = 'os_type'
IMAGE_CELL_MEMORY = 'hw_numa_mem'
#: The properties of an image that a decision looks at.
IMAGE_PROPERTIES = (
    IMAGE_MEM_ENCRYPTION, IMAGE_LOCKED_MEMORY, IMAGE_FIRMWARE, IMAGE_OS_TYPE,
    IMAGE_CELL_MEMORY)

BIOS = 'bios'
WINDOWS = 'windows'
MTE = 'mte'

#: Of the names in nova/virt/arch.py, those of 32 bits.
ARCHS_32_BIT = frozenset((
    'armv6', 'armv7l', 'armv7b', 'cris', 'i686', 'lm32', 'm68k',
    'microblaze', 'microblazeel', 'mips', 'mipsel', 'openrisc', 'parisc',
    'ppc', 'ppcemb', 'ppcle', 'sh4', 'sh4eb', 'sparc', 'unicore32',
    'xtensa', 'xtensaeb'))


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked for together with growth.

    :param arch: guest architecture, as Nova names it
    :param extra_specs: the flavor's extra specs
    :param image: the image's properties, as far as they are in
        ``IMAGE_PROPERTIES``; None or absent where the image does not say
    :param cpu_features: the CPU features that the host gives its guests
        beside those of the model (``[libvirt] cpu_model_extra_flags``)
    """

    arch: str
    extra_specs: Mapping[str, str]
    image: Mapping[str, object]
    cpu_features: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Composition:
    """Something that a server may have beside memory that grows.

    :param name: a stable slug
    :param what: what it is, in words that fit into a sentence
    :param asked_by: how it is asked for
    :param note: why it is refused, as the end of a sentence; where it works,
        what operators should know
    :param is_asked: tells whether a request asks for it; None where it works
    """

    name: str
    what: str
    asked_by: str
    note: str
    is_asked: Callable[[Request], bool] | None = None

    @property
    def refusal(self) -> errors.ExcludedComposition:
        """The error that refuses it."""
        return errors.ExcludedComposition(what=self.what, why=self.note)


def _asks_for_pmem(request: Request) -> bool:
    # As nova.virt.hardware.get_vpmems: labels between commas.
    labels = request.extra_specs.get(PMEM, '').split(',')
    return any(label.strip() for label in labels)


def _asks_for_encryption(request: Request) -> bool:
    return (memory_spec.is_true(request.extra_specs.get(MEM_ENCRYPTION)) or
            memory_spec.is_true(request.image.get(IMAGE_MEM_ENCRYPTION)))


def _locks_virtio_mem(request: Request) -> bool:
    # QEMU, hw/virtio/virtio-mem.c, virtio_mem_device_realize(): such a device
    # gives back what the guest does not have, and locked memory stays.
    return (
        request.extra_specs.get(memory_spec.MODEL) == device.VIRTIO_MEM and
        (memory_spec.is_true(request.extra_specs.get(LOCKED_MEMORY)) or
         memory_spec.is_true(request.image.get(IMAGE_LOCKED_MEMORY))))


def _asks_for_realtime(request: Request) -> bool:
    return memory_spec.is_true(request.extra_specs.get(CPU_REALTIME))


def _is_32_bit(request: Request) -> bool:
    return request.arch in ARCHS_32_BIT


def _lacks_uefi(request: Request) -> bool:
    # Nova takes UEFI for aarch64 where the image does not say.
    return (request.arch == addresses.AARCH64 and
            request.image.get(IMAGE_FIRMWARE) == BIOS)


def _has_image_cells(request: Request) -> bool:
    # Nova makes one list of hw_numa_mem.0, hw_numa_mem.1 and so on.
    return bool(request.image.get(IMAGE_CELL_MEMORY))


def _has_mte(request: Request) -> bool:
    return request.arch == addresses.AARCH64 and MTE in request.cpu_features


_SHARED = (
    'The memory must be shared. What is added follows [libvirt] '
    'file_backed_memory; with huge pages, the rules for memory that is bound '
    'to the host apply.')

#: All of them, in the order of the documentation.
COMPOSITIONS = (
    Composition(
        'balloon', 'virtio balloon and memory statistics',
        '[libvirt] mem_stats_period_seconds',
        'libvirt counts what is added as memory of the balloon too, so '
        'statistics show the real total.'),
    Composition(
        'quota', 'limits of quota:', 'quota:cpu_*, quota:disk_*, quota:vif_*',
        'Nova has no such limit of memory for libvirt; the others do not '
        'change with the memory.'),
    Composition(
        'numa', 'NUMA nodes, huge pages and CPU pinning',
        'hw:numa_nodes, hw:numa_mem.N, hw:mem_page_size, hw:cpu_policy',
        'What is added is divided evenly among the nodes, and claimed and '
        'taken from where each of them is on the host.'),
    Composition(
        'image_cells', 'sizes of NUMA nodes in the image',
        'image properties hw_numa_mem.N',
        'they would have to grow with the server; hw:numa_mem.N of the '
        'flavor can', _has_image_cells),
    Composition(
        'locked_memory', 'locked memory',
        'hw:locked_memory, image property hw_locked_memory',
        'libvirt raises the limit of locked memory before it adds a device, '
        'and all of the device is locked. Nova wants hw:mem_page_size with '
        'it, so the rules for memory that is bound to the host apply.'),
    Composition(
        'locked_virtio_mem',
        'locked memory where memhotplug:model is virtio-mem',
        'hw:locked_memory, image property hw_locked_memory',
        'QEMU starts no guest with both', _locks_virtio_mem),
    Composition(
        'virtiofs', 'virtiofs shares', 'the API of shares',
        _SHARED),
    Composition(
        'vtpm', 'emulated TPM',
        'hw:tpm_version, image property hw_tpm_version',
        'The TPM does not depend on the memory.'),
    Composition(
        'secure_boot', 'UEFI and secure boot',
        'image properties hw_firmware_type=uefi and os_secure_boot, '
        'os:secure_boot',
        'Memory is added after the firmware has finished.'),
    Composition(
        'pmem', 'persistent memory (hw:pmem)', PMEM,
        "Nova's live migration would mix up the devices", _asks_for_pmem),
    Composition(
        'mem_encryption', 'memory encryption (SEV, SEV-ES, SEV-SNP, TDX)',
        'hw:mem_encryption, image property hw_mem_encryption',
        'such memory is measured when the guest is launched',
        _asks_for_encryption),
    Composition(
        'realtime', 'real-time vCPUs (hw:cpu_realtime)', CPU_REALTIME,
        'QEMU may hold them up while it adds a device', _asks_for_realtime),
    Composition(
        'pci_passthrough', 'PCI passthrough',
        'pci_passthrough:alias, ports of vnic_type=direct',
        'VFIO pins all of an added DIMM at once, and of a virtio-mem each '
        'part that the guest takes; libvirt raises the limit of locked '
        'memory before. If the host cannot pin it, QEMU ends, and the guest '
        'with it: leave such hosts memory to spare.'),
    Composition(
        'vhost_user', 'vhost-user ports', 'ports of vif_type=vhostuser',
        _SHARED),
    Composition(
        'machine_types', 'machine types i440fx and q35',
        'image property hw_machine_type, [libvirt] hw_machine_type',
        'Both have the same slots. What they leave of the address space and '
        'where RAM ends differ by 1 GiB, so large guests may have other '
        'steps.'),
    Composition(
        '32_bit', '32-bit guests',
        'image property hw_architecture, such as i686 or armv7l',
        'only 64-bit kernels add memory while they run', _is_32_bit),
    Composition(
        'aarch64_bios', 'aarch64 guests without UEFI',
        'image property hw_firmware_type=bios',
        'without ACPI they do not learn of new memory', _lacks_uefi),
    Composition(
        'aarch64_mte', 'aarch64 guests with memory tagging (MTE)',
        '[libvirt] cpu_model_extra_flags=mte',
        'QEMU adds no memory to them', _has_mte),
    Composition(
        'windows', 'Windows guests', 'image property os_type=windows',
        'Memory goes to the existing nodes, unless the flavor itself '
        'says memhotplug:zero_node=true.'),
)


def check(request: Request) -> None:
    """Check what is asked for together with growth.

    :param request: what is asked for
    :raises ExcludedComposition: for the first that is refused
    """
    for composition in COMPOSITIONS:
        if composition.is_asked is not None and composition.is_asked(request):
            raise composition.refusal


def adapt(
    spec: memory_spec.MemorySpec, request: Request,
) -> memory_spec.MemorySpec:
    """Adapt what a flavor says to what is asked for with it.

    An empty node is of no use to Windows (design, section 2), so it gets one
    only where the flavor itself says so.

    :param spec: what the flavor says
    :param request: what is asked for together with growth
    :returns: the spec for this server
    """
    if (request.image.get(IMAGE_OS_TYPE) == WINDOWS and
            memory_spec.ZERO_NODE not in request.extra_specs):
        return dataclasses.replace(spec, zero_node=False)
    return spec
