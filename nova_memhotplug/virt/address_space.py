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

"""Whether a guest that is to be made can have what its flavor allows."""

from collections.abc import Iterator
import dataclasses
import typing as ty

from nova.virt.libvirt import config as vconfig
from nova.virt.libvirt import utils
from oslo_utils import importutils

from nova_memhotplug.common import nodes
from nova_memhotplug.common import options
from nova_memhotplug.common import specs
from nova_memhotplug.core import addresses
from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import layouts
from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import processors
from nova_memhotplug.core import strategies
from nova_memhotplug.core import units
from nova_memhotplug.models import base
from nova_memhotplug.models import registry

libvirt = importutils.try_import('libvirt')

CONF = options.CONF

KVM = 'kvm'
#: The machine types whose addresses are known.
MACHINES = {addresses.X86_64: ('pc', 'q35'), addresses.AARCH64: ('virt',)}
#: What the guests boot with that operators are told of, in MiB.
TYPICAL_MB = 512
#: QEMU, target/i386/cpu.h: TARGET_PHYS_ADDR_SPACE_BITS.
_MOST_BITS = 52


def check(
    host: ty.Any, instance: ty.Any, flavor: ty.Any, image_meta: ty.Any,
    arch: str, cpu: vconfig.LibvirtConfigGuestCPU | None,
) -> None:
    """Check that a server can have the ceiling of a flavor, and grow.

    :param host: the ``nova.virt.libvirt.host.Host``
    :param instance: a ``nova.objects.Instance``
    :param flavor: the ``nova.objects.Flavor`` that it is to have
    :param image_meta: its ``nova.objects.ImageMeta``
    :param arch: the guest's architecture
    :param cpu: the processor that Nova gives it
    :raises CeilingTooHigh: if its processor cannot address that much
    :raises CeilingTooHighHere: if it cannot on this host
    :raises InvalidSpec: if it can never grow
    """
    spec = ty.cast(memory_spec.MemorySpec, specs.spec_of(flavor))
    is_emulated = _is_emulated(host, arch)
    processor = _processor(cpu, arch, is_emulated)
    machine, own = _offer(
        host, arch, utils.get_machine_type(image_meta), is_emulated)
    guest = _first_guest(flavor, image_meta, spec)
    guest = dataclasses.replace(
        guest, arch=arch, machine=machine or '', is_amd=(
            own.is_amd if processor.is_amd is None else processor.is_amd))
    known = guest.address_map
    bits, follows_host = processors.address_bits(processor, own, machine)
    if known is not None and bits is not None:
        known.check_fits(bits, follows_host)
    _check_growth(instance, spec, guest)


def _first_guest(
    flavor: ty.Any, image_meta: ty.Any, spec: memory_spec.MemorySpec,
) -> domain.GuestMemory:
    """Say what the guest of a server boots with that is made of a flavor.

    :raises InvalidSpec: if the flavor wants something else
    """
    topology = nodes.constraints(flavor, image_meta)
    cells = [
        domain.Cell(
            number, units.mb_to_kib(cell.memory), has_cpus=True,
            backing=device.Backing(None, max(0, cell.pagesize or 0)))
        for number, cell in enumerate(topology.cells if topology else ())]
    wanted = layouts.request(
        cells, units.mb_to_kib(flavor.memory_mb), spec, strategies.EXISTING)
    boot = registry.get(spec.model).boot(wanted)
    memory_spec.check_boot_memory(spec, boot.total_mb)
    return domain.GuestMemory(
        arch='', emulator='', boot_kib=sum(boot.cells_kib),
        max_kib=units.mb_to_kib(spec.max_memory_mb), slots=boot.slots,
        cells=wanted.cells, devices=(),
        page_kib=max((cell.backing.page_kib for cell in wanted.cells
                      if cell.backing), default=0),
        has_agent=bool(image_meta.properties.get('hw_qemu_guest_agent')))


def _check_growth(
    instance: ty.Any, spec: memory_spec.MemorySpec,
    guest: domain.GuestMemory,
) -> None:
    """Check slots and room against what the first growth takes."""
    blocks = base.Blocks(
        CONF.memhotplug.aarch64_memory_block_mb,
        max(spec.block_mb, specs.image_block_mb_of(instance)),
        # An agent may name a smaller block than is taken for granted.
        addresses.SMALLEST_BLOCK_MB if guest.has_agent else 0)
    memory_spec.check_growth(
        spec, guest.boot_mb, len(guest.cells),
        registry.get(spec.model).step_mb(guest, blocks), guest.slots)


class Ceiling(ty.NamedTuple):
    """How large guests of a machine type can get.

    :param arch: guest architecture
    :param machine: machine type
    :param bits: their address bits; None if nobody says
    :param largest_mb: their largest ceiling, in MiB; None likewise
    """

    arch: str
    machine: str
    bits: int | None
    largest_mb: int | None


def ceilings(host: ty.Any) -> Iterator[Ceiling]:
    """Say how large guests of a host can get by ``check``.

    They boot with ``TYPICAL_MB``, have ``[memhotplug] default_slots`` slots
    and the processor that Nova gives to guests that ask for none.

    :param host: the ``nova.virt.libvirt.host.Host``
    """
    offered = {guest.arch for guest in host.get_capabilities().guests}
    for arch in filter(offered.__contains__, MACHINES):
        is_emulated = _is_emulated(host, arch)
        cpu = _processor(_default_cpu(host, arch), arch, is_emulated)
        for name in MACHINES[arch]:
            machine, own = _offer(host, arch, name, is_emulated)
            known = addresses.map_of(
                arch, machine,
                own.is_amd if cpu.is_amd is None else cpu.is_amd,
                TYPICAL_MB, None, CONF.memhotplug.default_slots)
            bits, _follows_host = processors.address_bits(cpu, own, machine)
            yield Ceiling(
                arch, name, bits, known.largest_ceiling_mb(bits)
                if known is not None and bits is not None else None)


def _default_cpu(
    host: ty.Any, arch: str,
) -> vconfig.LibvirtConfigGuestCPU:
    """Say which processor Nova gives to guests that ask for none (nova/virt/
    libvirt/driver.py, _get_guest_cpu_model_config, _get_guest_cpu_config).
    """
    cpu = vconfig.LibvirtConfigGuestCPU()
    is_arm = arch == addresses.AARCH64
    if arch != host.get_capabilities().host.cpu.arch:
        cpu.model = 'cortex-a57' if is_arm else None
        return cpu
    cpu.mode = CONF.libvirt.cpu_mode or (
        processors.HOST_PASSTHROUGH if is_arm else processors.HOST_MODEL)
    if cpu.mode == 'none':
        cpu.mode = None
    elif cpu.mode == 'custom':
        cpu.model = next(
            iter(CONF.libvirt.cpu_models), 'max' if is_arm else None)
    return cpu


def host_of(host: ty.Any) -> processors.Host:
    """Say what the processors of a host are.

    :param host: the ``nova.virt.libvirt.host.Host``
    """
    cpu = host.get_capabilities().host.cpu
    return processors.Host(
        cpu.vendor, cpu.maxphysaddr and cpu.maxphysaddr.bits)


def kvm_bits(host: ty.Any) -> int | None:
    """Say how much guests can address at most, where that is the host's.

    :param host: the ``nova.virt.libvirt.host.Host``
    :returns: address bits; None without KVM, or if libvirt does not say
    """
    return host_of(host).bits if CONF.libvirt.virt_type == KVM else None


def _is_emulated(host: ty.Any, arch: str) -> bool:
    """Tell whether QEMU runs guests without KVM, as Nova decides (nova/virt/
    libvirt/driver.py, _configure_guest_by_virt_type).
    """
    return (CONF.libvirt.virt_type != KVM or
            arch != host.get_capabilities().host.cpu.arch)


def _processor(
    cpu: vconfig.LibvirtConfigGuestCPU | None, arch: str, is_emulated: bool,
) -> processors.Processor:
    if cpu is None:
        return processors.Processor(arch, is_emulated)
    named = cpu.maxphysaddr
    return processors.Processor(
        arch, is_emulated, cpu.mode, cpu.model, cpu.vendor,
        named and named.mode, named and named.bits)


def _offer(
    host: ty.Any, arch: str, machine: str | None, is_emulated: bool,
) -> tuple[str | None, processors.Host]:
    """Ask libvirt what a machine type is, and a guest's model of the host.

    :returns: the machine type with its version, and the host
    """
    own = host_of(host)
    try:
        xml = host.get_connection().getDomainCapabilities(
            None, arch, machine, 'qemu' if is_emulated else KVM, 0)
    except libvirt.libvirtError:
        # Nothing is refused for what is not known.
        return machine, dataclasses.replace(own, model_bits=_MOST_BITS)
    root = domain.parse(xml)
    limit = root.find("cpu/mode[@name='host-model']/maxphysaddr")
    return root.findtext('machine', machine), dataclasses.replace(
        own, model_bits=None if limit is None else int(
            limit.get('limit') or limit.get('bits') or own.bits or
            _MOST_BITS))
