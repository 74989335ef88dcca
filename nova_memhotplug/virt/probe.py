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

"""Finds out what this host can start, by starting it.

For each guest architecture and strategy a throw-away guest is started: a few
MiB, no disk, no network, paused (it never runs an instruction), transient
(libvirt keeps no definition) and auto-destroyed (libvirt ends it when the
connection goes, so that a crashed service leaves nothing behind). Nothing is
concluded from version numbers.
"""

from collections.abc import Iterable, Iterator, Mapping
import os
import re
import typing as ty
import uuid

from lxml import builder  # type: ignore[attr-defined]  # not in stubs
from lxml import etree
from oslo_log import log as logging
from oslo_utils import importutils

from nova_memhotplug.core import domain
from nova_memhotplug.core import strategies
from nova_memhotplug.core import units

libvirt = importutils.try_import('libvirt')

LOG = logging.getLogger(__name__)

ARCHS = ('x86_64', 'aarch64')
#: Nothing of it is touched: the guest never runs.
MEMORY_KIB = 64 * units.KIB_PER_MIB
TINY_KIB = units.KIB_PER_MIB
MAX_MEMORY_KIB = 1024 * units.KIB_PER_MIB
#: Where libvirt's own choice may not be one that can grow.
MACHINES = {'aarch64': 'virt'}
#: Longest refusal that is kept, in characters.
REFUSAL_LENGTH = 400

#: What a message of libvirt says about the probe and not about the host.
PROBE_ONLY = re.compile(
    r" \(vm='memhotplug-probe-[^']*'\)|\d+-\d+-\d+T[\d:.]+Z ")

E = builder.ElementMaker()


def probe(
    connection: ty.Any, virt_type: str, shim_directory: str,
    archs: Iterable[str] = ARCHS,
) -> dict[str, strategies.ArchSupport]:
    """Find out which strategies this host can start.

    :param connection: a ``libvirt.virConnect``, perhaps in Nova's proxy
    :param virt_type: ``[libvirt] virt_type``, for example ``kvm``
    :param shim_directory: directory that has the links to the shim
    :param archs: the guest architectures to look at
    :returns: what can be started, by architecture; those for which libvirt
        offers no emulator with that ``virt_type`` are absent
    :raises libvirt.libvirtError: if libvirt does not tell its capabilities
    :raises UnreadableDomain: if they are not XML
    """
    emulators = _emulators(connection.getCapabilities(), virt_type)
    return {
        arch: _probe_arch(connection, kind, arch, emulator, shim_directory)
        for arch, (kind, emulator) in emulators.items() if arch in archs}


def describe(supports: Mapping[str, strategies.ArchSupport]) -> str:
    """Say in one line what a host can start, for its log.

    :param supports: what ``probe`` returned
    :returns: the line
    """
    return '; '.join(
        _describe_arch(supports[arch]) for arch in sorted(supports)
    ) or 'libvirt offers no emulator for any supported architecture'


def _describe_arch(support: strategies.ArchSupport) -> str:
    refusals = ''.join(
        ' (no %s: %s)' % (strategy, reason)
        for strategy, reason in support.refusals.items())
    return '%s can use %s%s' % (
        support.arch, ', '.join(support.usable) or 'no strategy', refusals)


def _emulators(
    capabilities: str, virt_type: str,
) -> dict[str, tuple[str, str]]:
    """Find the domain type and emulator of every architecture.

    Guests of another architecture than the host's are emulated, whatever the
    virt type (Nova, virt/libvirt/driver.py, _configure_guest_by_virt_type).
    """
    root = domain.parse(capabilities)
    own = root.findtext('host/cpu/arch')
    found = {}
    for arch in root.iterfind("guest[os_type='hvm']/arch"):
        name = arch.get('name', '')
        kind = virt_type if own in (None, name) else 'qemu'
        for offer in arch.iterfind('domain'):
            emulator = offer.findtext('emulator', arch.findtext('emulator'))
            if offer.get('type') == kind and emulator:
                found[name] = kind, emulator
    return found


def _probe_arch(
    connection: ty.Any, virt_type: str, arch: str, emulator: str,
    shim_directory: str,
) -> strategies.ArchSupport:
    refusals = {}
    for strategy in strategies.ORDER:
        binary = emulator
        if strategy == strategies.SHIM:
            binary = os.path.join(shim_directory, os.path.basename(emulator))
        refusal = _refusal(
            connection, _domain(virt_type, arch, binary, strategy))
        if refusal is not None:
            refusals[strategy] = refusal
    return strategies.ArchSupport(
        arch=arch, emulator=emulator, refusals=refusals,
        usable=tuple(name for name in strategies.ORDER
                     if name not in refusals))


def _refusal(connection: ty.Any, domain: ty.Any) -> str | None:
    """Start a guest and end it again.

    :param connection: libvirt's connection
    :param domain: the guest
    :returns: None if it started, else why it did not; whatever goes wrong
        must not keep the other strategies from being tried
    """
    flags = (libvirt.VIR_DOMAIN_START_PAUSED |
             libvirt.VIR_DOMAIN_START_AUTODESTROY)
    try:
        guest = connection.createXML(
            etree.tostring(domain, encoding='unicode'), flags)
    except libvirt.libvirtError as exc:
        return _sentence(exc)
    except Exception as exc:
        LOG.exception('Probe %s failed', domain.findtext('name'))
        return _sentence(exc)
    try:
        guest.destroy()
    except Exception:
        LOG.warning('Probe %s started but could not be ended; it ends with '
                    'this service', domain.findtext('name'), exc_info=True)
    return None


def _sentence(exc: Exception) -> str:
    text = PROBE_ONLY.sub('', ' '.join(str(exc).split()))
    return text[:REFUSAL_LENGTH].rstrip('. ') or type(exc).__name__


def _domain(
    virt_type: str, arch: str, emulator: str, strategy: str,
) -> ty.Any:
    """Build the guest: one vCPU, a few MiB, room to grow, no devices."""
    identity = str(uuid.uuid4())
    kind = {'arch': arch}
    if arch in MACHINES:
        kind['machine'] = MACHINES[arch]
    return E.domain(
        E.name('memhotplug-probe-%s-%s-%s' % (arch, strategy, identity[:8])),
        E.uuid(identity),
        E.memory(str(MEMORY_KIB), unit='KiB'),
        E.maxMemory(str(MAX_MEMORY_KIB), slots='1', unit='KiB'),
        E.vcpu('1'),
        E.os(E.type('hvm', **kind)),
        *_features(arch),
        _cpu(virt_type, strategy),
        E.devices(
            E.emulator(emulator),
            E.controller(type='usb', model='none'),
            E.memballoon(model='none')),
        type=virt_type)


def _features(arch: str) -> Iterator[ty.Any]:
    # aarch64 has ACPI only with UEFI, which the probe can do without: a
    # guest starts with room for growth either way.
    if arch == 'x86_64':
        yield E.features(E.acpi())


def _cpu(virt_type: str, strategy: str) -> ty.Any:
    sizes = {
        strategies.NATIVE: (MEMORY_KIB, 0),
        strategies.SHIM: (MEMORY_KIB, 0),
        strategies.TINY: (MEMORY_KIB - TINY_KIB, TINY_KIB),
        strategies.EXISTING: (MEMORY_KIB,),
    }[strategy]
    cells = [E.cell(id=str(number), memory=str(size), unit='KiB')
             for number, size in enumerate(sizes)]
    cells[0].set('cpus', '0')
    # KVM starts no other processor than the host's own on every host.
    mode = {'mode': 'host-passthrough'} if virt_type == 'kvm' else {}
    return E.cpu(E.numa(*cells), **mode)
