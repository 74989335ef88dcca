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

"""What an operator is told of a host: a verdict for each line, what to do.

The numbers are those by which servers are refused (``core.limits``,
``core.addresses``, ``core.strategies``).
"""

from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import enum

from nova_memhotplug.core import errors
from nova_memhotplug.core import limits
from nova_memhotplug.core import strategies
from nova_memhotplug.core import units

#: The oldest releases that the package supports, as libvirt numbers them.
OLDEST = {'libvirt': 8000000, 'QEMU': 6002000}
#: Linux, include/linux/mm.h: DEFAULT_MAX_MAP_COUNT.
MAP_COUNT = 65530
#: What a shim that may not run is kept by.
_MODULES = ('See whether AppArmor or SELinux lets it run, and what its log '
            'says; the page "The emulator shim" has the rules.')


class Level(enum.IntEnum):
    """As ``nova-status`` has them."""

    SUCCESS = 0
    WARNING = 1
    FAILURE = 2


@dataclasses.dataclass(frozen=True)
class Line:
    """What is known of one thing.

    :param check: what was looked at
    :param level: how it is
    :param found: what was found
    :param todo: what to do about it; empty if that is nothing
    """

    check: str
    level: Level
    found: str
    todo: str = ''


def version(name: str, number: int) -> Line:
    """Judge the release of libvirt or QEMU.

    :param name: which of them
    :param number: its release, as libvirt numbers it
    """
    found = _release(number)
    if number >= OLDEST[name]:
        return Line(name, Level.SUCCESS, found)
    return Line(name, Level.FAILURE, found, 'Upgrade it to %s or later.' %
                _release(OLDEST[name]))


def _release(number: int) -> str:
    return '%d.%d.%d' % (
        number // 1000000, number // 1000 % 1000, number % 1000)


def firmware(
    arch: str, is_own: bool, has_uefi: bool, loaders: Collection[str],
) -> Line:
    """Judge the firmware that libvirt offers to guests.

    :param arch: guest architecture
    :param is_own: whether it is that of the host itself
    :param has_uefi: whether libvirt finds a UEFI by itself
    :param loaders: the files that it knows
    """
    check = '%s firmware' % arch
    if has_uefi:
        return Line(check, Level.SUCCESS, 'UEFI: %s' % (
            ', '.join(loaders) or 'found by libvirt'))
    if arch == 'aarch64':
        return Line(check, _bad(is_own), 'no UEFI', (
            'Install a UEFI for it: guests of aarch64 have no ACPI, and so no '
            'memory hot-plug, without.'))
    return Line(check, Level.SUCCESS, 'BIOS')


def _bad(is_own: bool) -> Level:
    """Say how bad it is what an architecture cannot do."""
    return Level.FAILURE if is_own else Level.WARNING


def no_emulator(arch: str, virt_type: str) -> Line:
    """Say that libvirt starts no guests of the host's own architecture.

    :param arch: the architecture
    :param virt_type: ``[libvirt] virt_type``
    """
    return Line('%s emulator' % arch, Level.FAILURE, (
        'libvirt offers none, or this package does not know guests of that '
        'architecture, with virt_type = %s' % virt_type), (
            'Install QEMU for it, and see whether virt_type is right.'))


def started(
    support: strategies.ArchSupport, configured: str, is_own: bool,
) -> Iterator[Line]:
    """Judge what was started, and what new servers get.

    :param support: what was found out, all strategies having been tried
    :param configured: ``[memhotplug] zero_cell_strategy``
    :param is_own: whether it is the architecture of the host itself
    """
    for strategy in strategies.ORDER:
        yield Line(
            '%s strategy %s' % (support.arch, strategy), Level.SUCCESS,
            'works' if strategy in support.usable else
            'does not work: %s' % support.refusals.get(
                strategy, 'it was not tried'))
    check = '%s empty node' % support.arch
    try:
        chosen = strategies.choose(configured, support, support.arch, True)
    except errors.StrategyUnavailable:
        yield Line(
            check, _bad(is_own), 'zero_cell_strategy = %s: servers '
            'that want one are refused' % configured, 'See the lines above.')
        return
    found = "servers that want one get '%s'" % chosen
    if chosen == configured or chosen in (
            strategies.NATIVE, strategies.SHIM):
        yield Line(check, Level.SUCCESS, found)
    else:
        yield Line(check, Level.WARNING, found, (
            'For a node that is really empty install the shim, or a libvirt '
            'that starts one by itself. Servers cannot move live between '
            'this host and those where they get an empty node.'))


def shim(
    support: strategies.ArchSupport, configured: str, path: str,
    seen: tuple[int, str] | None,
) -> Line:
    """Judge the shim of an architecture.

    :param support: what was found out, all strategies having been tried
    :param configured: ``[memhotplug] zero_cell_strategy``
    :param path: where the shim is to be
    :param seen: how its file is, as level and sentence; None if there is none
    """
    check = '%s emulator shim' % support.arch
    if seen is None:
        if strategies.NATIVE in support.usable or configured not in (
                strategies.AUTO, strategies.SHIM):
            return Line(check, Level.SUCCESS, 'none, and none is needed')
        return Line(check, Level.WARNING, '%s is not there' % path, (
            'Run "nova-memhotplug-status shim install".'))
    level, sentence = seen
    if level == Level.FAILURE or strategies.SHIM in support.usable:
        return Line(check, Level(level), sentence)
    return Line(
        check, Level.FAILURE, '%s is there, but no guest starts through it: '
        '%s' % (path, support.refusals.get(
            strategies.SHIM, 'it was not tried')),
        _MODULES if support.usable else 'See the lines above.')


def ceiling(
    arch: str, machine: str, bits: int | None, largest_mb: int | None,
    slots: int,
) -> Line:
    """Say how large guests can get.

    :param arch: guest architecture
    :param machine: machine type
    :param bits: address bits of a guest; None if libvirt does not say
    :param largest_mb: the largest ceiling, in MiB; None likewise
    :param slots: memory slots that it was computed with
    """
    check = '%s %s ceiling' % (arch, machine)
    if bits is None or largest_mb is None:
        return Line(check, Level.SUCCESS, (
            'libvirt does not say how many address bits guests have, so no '
            'ceiling is refused'))
    found = '%d address bits: at most %d MiB with %d slots' % (
        bits, largest_mb, slots)
    if largest_mb > 0:
        return Line(check, Level.SUCCESS, found)
    return Line(check, Level.WARNING, found, 'Lower default_slots.')


def devices(
    regions: limits.Regions, server: str, slots: int, is_used: bool = True,
) -> Line:
    """Say how many memory devices guests can have.

    :param regions: what those know who serve guests
    :param server: one of them
    :param slots: ``[memhotplug] default_slots``
    :param is_used: whether each guest may be served by it
    """
    check = 'devices with %s' % server
    most = regions.devices(server)
    if most is None:
        return Line(check, Level.SUCCESS, 'KVM does not say')
    found = ('%d memory devices, less one for each further NUMA node' % most)
    if most >= slots or not is_used:
        return Line(check, Level.SUCCESS, found)
    return Line(check, Level.WARNING, found, (
        'default_slots is %d. %s' % (slots, (
            'Raise max_mem_regions, the parameter of the module vhost.'
            if server == limits.VHOST else 'Lower it.'))))


def pages(pools: Mapping[tuple[int, int], tuple[int, int]]) -> Iterator[Line]:
    """Say which huge pages there are.

    :param pools: how many are free and there, by size in KiB and node
    """
    if not any(total for _free, total in pools.values()):
        yield Line('huge pages', Level.SUCCESS, (
            'none, so no servers with hw:mem_page_size'))
    for size_kib in sorted({size for size, _node in pools}):
        nodes = {node: counts for (size, node), counts in pools.items()
                 if size == size_kib and counts[1]}
        if nodes:
            yield _pool('huge pages of %d KiB' % size_kib, nodes)


def _pool(check: str, nodes: Mapping[int, tuple[int, int]]) -> Line:
    found = ', '.join('node %d: %d of %d free' % (node, free, total)
                      for node, (free, total) in sorted(nodes.items()))
    if any(free for free, _total in nodes.values()):
        return Line(check, Level.SUCCESS, found)
    return Line(check, Level.WARNING, found, (
        'Servers on such pages cannot grow here. Reserve more.'))


def mappings(most: int | None) -> Line:
    """Judge how many mappings a process can have.

    :param most: vm.max_map_count; None if it cannot be read
    """
    check = 'vm.max_map_count'
    if most is None:
        return Line(check, Level.WARNING, 'cannot be read')
    if most >= MAP_COUNT:
        return Line(check, Level.SUCCESS, str(most))
    return Line(check, Level.WARNING, str(most), (
        'Set it to %d, which is the default of Linux, or more: QEMU needs '
        'some for each memory device.' % MAP_COUNT))


def locked(can_raise: bool | None, limit_bytes: int | None) -> Line:
    """Judge how much memory guests can lock.

    libvirt raises the limit of a guest that locks its memory, or has a
    device of the host, when it starts and when it gets more memory
    (src/qemu/qemu_domain.c, qemuDomainAdjustMaxMemLock()).

    :param can_raise: whether libvirt's daemon may do that (CAP_SYS_RESOURCE);
        None if the daemon is not seen from here
    :param limit_bytes: its own limit; None for no limit
    """
    check = 'locked memory'
    if can_raise is None:
        return Line(check, Level.SUCCESS, (
            'not known: the daemon of libvirt is not seen from here'))
    if can_raise or limit_bytes is None:
        return Line(check, Level.SUCCESS, 'libvirt gives guests what they '
                    'need')
    return Line(check, Level.WARNING, 'libvirt may not raise the limit of '
                '%d MiB' % (limit_bytes // units.BYTES_PER_MIB), (
                    'Servers with devices of the host cannot grow. Give the '
                    'daemon CAP_SYS_RESOURCE, or LimitMEMLOCK=infinity.'))


def security(models: Collection[str]) -> Line:
    """Say what confines guests.

    :param models: the security models of libvirt
    """
    return Line('security driver', Level.SUCCESS, ', '.join(
        model for model in models if model != 'none') or 'none')
