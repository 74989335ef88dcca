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

"""What this host can do for servers that grow, and what it limits."""

from collections.abc import Iterator
import dataclasses
import pathlib
import typing as ty

from nova_memhotplug.cmd import checks
from nova_memhotplug.common import options
from nova_memhotplug.core import limits
from nova_memhotplug.core import strategies
from nova_memhotplug.core import verdicts
from nova_memhotplug.virt import address_space
from nova_memhotplug.virt import emulator
from nova_memhotplug.virt import host_facts
from nova_memhotplug.virt import probe
from nova_memhotplug.virt import regions

CONF = options.CONF


def look(connection: ty.Any) -> Iterator[verdicts.Line]:
    """Look at this host; each strategy is tried with a trial guest.

    :param connection: a ``libvirt.virConnect``
    :returns: a line for each thing
    :raises libvirt.libvirtError: if libvirt does not tell its capabilities
    :raises UnreadableDomain: if they are not XML
    """
    yield verdicts.version('libvirt', connection.getLibVersion())
    yield verdicts.version('QEMU', connection.getVersion())
    yield verdicts.security(host_facts.security_models(connection))
    supports = probe.probe(connection, CONF.libvirt.virt_type,
                           CONF.memhotplug.shim_directory)
    host = host_facts.Host(connection)
    own_arch = host.get_capabilities().host.cpu.arch
    if own_arch not in supports:
        yield verdicts.no_emulator(own_arch, CONF.libvirt.virt_type)
    for arch, support in supports.items():
        yield from _guests_of(connection, support, arch == own_arch)
    slots = CONF.memhotplug.default_slots
    for found in address_space.ceilings(host):
        yield verdicts.ceiling(*found, slots)
    yield from _kernel(slots)


def _guests_of(
    connection: ty.Any, support: strategies.ArchSupport, is_own: bool,
) -> Iterator[verdicts.Line]:
    """Say what guests of an architecture get."""
    yield verdicts.firmware(support.arch, is_own, *host_facts.firmware(
        connection, support.arch, support.emulator))
    configured = CONF.memhotplug.zero_cell_strategy
    path = support.shim_path(CONF.memhotplug.shim_directory)
    binary = pathlib.Path(support.emulator)
    shim = checks.Found(
        pathlib.Path(path), binary, host_facts.seen_by_libvirt(binary),
        emulator.refusal(connection, path, support.arch))
    seen = None
    if not shim.is_missing:
        result = checks.shim_of(shim)
        seen = int(result.code), str(result.details)
        support = dataclasses.replace(support, has_shim=True)
    yield from verdicts.started(support, configured, is_own)
    yield verdicts.shim(support, configured, path, seen)


def _kernel(slots: int) -> Iterator[verdicts.Line]:
    """Say what the kernel of the host limits."""
    known, has_kvm = regions.read(), CONF.libvirt.virt_type == limits.KVM
    yield verdicts.devices(known, limits.VHOST, slots, has_kvm)
    yield verdicts.devices(known, limits.VHOST_USER, slots, is_used=False)
    yield verdicts.devices(known, limits.KVM, slots, has_kvm)
    yield from verdicts.pages(host_facts.pages())
    yield verdicts.mappings(host_facts.max_map_count())
    yield verdicts.locked(*host_facts.memlock())
