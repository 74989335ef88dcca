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

"""How much a guest's processor can address, and whose it is."""

import dataclasses

from nova_memhotplug.core import addresses

AMD = 'AMD'
#: Modes of a processor, as libvirt and Nova name them.
HOST_PASSTHROUGH, HOST_MODEL = 'host-passthrough', 'host-model'
EMULATE, PASSTHROUGH = 'emulate', 'passthrough'

#: QEMU, target/i386/cpu.h, TCG_PHYS_ADDR_BITS: what each processor of x86_64
#: has that is not told otherwise, under KVM too.
X86_BITS = 40
#: QEMU, target/arm/tcg/cpu64.c: PARANGE of ID_AA64MMFR0.
_ARM_BITS = {'cortex-a53': 40, 'cortex-a57': 44, 'cortex-a72': 44,
             'neoverse-n1': 48}
#: QEMU, target/i386/cpu.c, builtin_x86_defs: the emulated models of AMD.
#: qemu64 is what a guest gets that names none.
_AMD_MODELS = ('qemu', 'max', 'epyc', 'opteron', 'phenom', 'athlon')


@dataclasses.dataclass(frozen=True)
class Processor:
    """A guest's processor, as its domain has it.

    :param arch: guest architecture
    :param is_emulated: whether QEMU runs it without KVM
    :param mode: libvirt's mode; None where it is not said
    :param model: libvirt's name of the model; None where it is not said
    :param vendor: libvirt's name of the vendor; None where it is not said
    :param bits_mode: ``emulate`` or ``passthrough``, where its address bits
        are named; else None
    :param bits: its address bits, where they are named; else None
    """

    arch: str
    is_emulated: bool
    mode: str | None = None
    model: str | None = None
    vendor: str | None = None
    bits_mode: str | None = None
    bits: int | None = None

    @property
    def is_amd(self) -> bool | None:
        """Whether it says it is AMD's; None if that depends on the host.

        Under KVM, QEMU gives each model the vendor of the host
        (target/i386/cpu.c, x86_cpu_load_model()).
        """
        if self.arch != addresses.X86_64:
            return False
        if self.vendor is not None:
            return self.vendor == AMD
        if self.is_emulated:
            return (self.model or 'qemu64').lower().startswith(_AMD_MODELS)
        return None


@dataclasses.dataclass(frozen=True)
class Host:
    """What a host's own processor is to its guests.

    :param vendor: libvirt's name of the vendor; None where it does not say
    :param bits: its address bits; None where libvirt does not say
    :param model_bits: the address bits of a guest with the mode
        ``host-model``; None where libvirt gives it none of its own
    """

    vendor: str | None = None
    bits: int | None = None
    model_bits: int | None = None

    @property
    def is_amd(self) -> bool | None:
        """Whether it is AMD's; None if libvirt does not say."""
        return None if self.vendor is None else self.vendor == AMD


def address_bits(
    cpu: Processor, host: Host, machine: str | None = None,
) -> tuple[int | None, bool]:
    """Say how many address bits a guest's processor has.

    :param cpu: the guest's processor
    :param host: the processor of its host
    :param machine: its machine type
    :returns: the bits, None if nobody says; and whether another host may
        give it others
    """
    if cpu.arch == addresses.AARCH64:
        # Under KVM it is what the host can translate, which libvirt does not
        # tell.
        return (_ARM_BITS.get(cpu.model or '') if cpu.is_emulated else None,
                not cpu.is_emulated)
    if cpu.bits_mode == EMULATE:
        return cpu.bits, False
    if cpu.bits_mode == PASSTHROUGH:
        return host.bits, True
    if cpu.is_emulated:
        return X86_BITS, False
    if cpu.mode == HOST_MODEL and host.model_bits:
        return host.model_bits, True
    # RHEL's machine types pass the host's bits to each model.
    if cpu.mode == HOST_PASSTHROUGH or 'rhel' in (machine or ''):
        return host.bits, True
    return X86_BITS, False
