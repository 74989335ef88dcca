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

"""Reads what an operator wants to know of a host.

Of libvirt, which may run in another container than this process, libvirt is
asked. What is the kernel's is read here.
"""

from collections.abc import Iterator
import contextlib
import pathlib
import re
import typing as ty

from nova.virt.libvirt import config as vconfig

from nova_memhotplug.core import domain

NODES = pathlib.Path('/sys/devices/system/node')
PROC = pathlib.Path('/proc')
#: The daemons that start guests.
DAEMONS = ('libvirtd', 'virtqemud')
#: Linux, include/uapi/linux/capability.h.
_CAP_SYS_RESOURCE = 24


class Host:
    """The part of Nova's ``Host`` that a command needs.

    :param connection: a ``libvirt.virConnect``
    """

    def __init__(self, connection: ty.Any):
        self._connection = connection
        self._capabilities = vconfig.LibvirtConfigCaps()
        self._capabilities.parse_str(connection.getCapabilities())

    def get_connection(self) -> ty.Any:
        """Get the connection to libvirt."""
        return self._connection

    def get_capabilities(self) -> ty.Any:
        """Get what libvirt says of the host."""
        return self._capabilities


def security_models(connection: ty.Any) -> list[str]:
    """Ask libvirt what confines guests.

    :param connection: a ``libvirt.virConnect``
    """
    root = domain.parse(connection.getCapabilities())
    return [model.text or '' for model in root.iterfind(
        'host/secmodel/model')]


def firmware(
    connection: ty.Any, arch: str, emulator: str,
) -> tuple[bool, list[str]]:
    """Ask libvirt which firmware it has for guests.

    :param connection: a ``libvirt.virConnect``
    :param arch: the guests' architecture
    :param emulator: their emulator
    :returns: whether it finds a UEFI by itself, and the files that it knows
    """
    # Of aarch64, only the machine type virt has any.
    machine = 'virt' if arch == 'aarch64' else None
    root = domain.parse(connection.getDomainCapabilities(
        emulator, arch, machine, None, 0))
    kinds = [value.text for value in root.iterfind(
        "os/enum[@name='firmware']/value")]
    return 'efi' in kinds, [
        value.text or '' for value in root.iterfind('os/loader/value')]


def pages() -> dict[tuple[int, int], tuple[int, int]]:
    """Count huge pages.

    :returns: how many are free and there, by size in KiB and node
    """
    return dict(_pools())


def _pools() -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    for path in NODES.glob('node*/hugepages/hugepages-*kB'):
        size_kib, node = (int(re.sub(r'\D', '', name)) for name in (
            path.name, path.parents[1].name))
        yield (size_kib, node), (
            _number(path / 'free_hugepages') or 0,
            _number(path / 'nr_hugepages') or 0)


def max_map_count() -> int | None:
    """Read how many mappings a process can have; None if nobody says."""
    return _number(PROC / 'sys' / 'vm' / 'max_map_count')


def _number(path: pathlib.Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def memlock() -> tuple[bool | None, int | None]:
    """Find out how much memory guests of libvirt can lock.

    :returns: whether its daemon may raise the limit, None if it is not seen
        from here; and its own limit in bytes, None for no limit
    """
    for process in _daemons():
        with contextlib.suppress(OSError, ValueError):
            return _may_raise(process), _limit(process)
    return None, None


def seen_by_libvirt(path: pathlib.Path) -> pathlib.Path | None:
    """Find a file of the root file system in which libvirt runs.

    It may be that of another container, with a file of the same name.

    :param path: the file, where libvirt is
    :returns: where this process sees it; None if it does not
    """
    for process in _daemons():
        with contextlib.suppress(OSError):
            seen = process / 'root' / path.relative_to('/')
            seen.stat()
            return seen
    return None


def _daemons() -> Iterator[pathlib.Path]:
    """Find what the kernel shows of libvirt's daemon."""
    for path in PROC.glob('[0-9]*/comm'):
        # It may have just ended.
        with contextlib.suppress(OSError):
            if path.read_text().strip() in DAEMONS:
                yield path.parent


def _may_raise(process: pathlib.Path) -> bool:
    held = re.search(r'^CapEff:\s*([0-9a-f]+)$', (
        process / 'status').read_text(), re.MULTILINE)
    return bool(held and int(held[1], 16) >> _CAP_SYS_RESOURCE & 1)


def _limit(process: pathlib.Path) -> int | None:
    """Read the hard limit of a process."""
    limit = re.search(r'^Max locked memory\s+\S+\s+(\S+)', (
        process / 'limits').read_text(), re.MULTILINE)
    return (None if limit is None or limit[1] == 'unlimited'
            else int(limit[1]))
