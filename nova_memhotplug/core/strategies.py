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

"""How a NUMA cell without memory is brought about (design, section 2)."""

from collections.abc import Collection
from collections.abc import Mapping
import dataclasses
import posixpath
import types
import typing as ty

from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import units

AUTO = 'auto'
NATIVE = 'native'
SHIM = 'shim'
TINY = 'tiny'
EXISTING = 'existing'

#: The strategies that reserve a cell, in the order in which ``auto`` tries.
RESERVING = (NATIVE, SHIM, TINY)
#: All of them, in the order in which a host probes them.
ORDER = RESERVING + (EXISTING,)


@dataclasses.dataclass(frozen=True)
class ArchSupport:
    """What a host can start for one guest architecture.

    :param arch: the architecture, as libvirt names it
    :param emulator: path of the emulator that libvirt would choose
    :param usable: the strategies that started, in the order of the trials
    :param refusals: why others did not start, by strategy; a strategy that
        is in neither was not tried
    :param has_shim: whether libvirt finds the shim, which is no matter where
        it is not needed
    :param no_virtio_mem: why guests start only without a virtio-mem; None
        where they start with one, or not at all
    """

    arch: str
    emulator: str
    usable: tuple[str, ...]
    refusals: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: types.MappingProxyType({}))
    has_shim: bool = False
    no_virtio_mem: str | None = None

    @property
    def needs_shim(self) -> bool:
        """Whether only the shim could start an empty cell, and does not."""
        return not {NATIVE, SHIM} & set(self.usable)

    def shim_path(self, directory: str) -> str:
        """Say where the shim is that stands in for the emulator.

        :param directory: ``[memhotplug] shim_directory``
        :returns: the path, named like the emulator
        """
        return posixpath.join(directory, posixpath.basename(self.emulator))


@dataclasses.dataclass(frozen=True)
class Launch:
    """How a running guest was started, as its live domain says.

    :param arch: its architecture
    :param emulator: path of the emulator
    :param reserved_kib: boot memory of the cell reserved for growth, in KiB;
        None without such a cell
    :param can_grow: whether it was started with a ceiling
    :param models: the devices that it has of models, by libvirt's names
    :param top_mb: how much its processor has to be able to address, in MiB;
        0 if not known
    :param can_cross: whether its host gives it another emulator on the way
        to a host that names one
    """

    arch: str
    emulator: str
    reserved_kib: int | None
    can_grow: bool
    models: tuple[str, ...]
    top_mb: int = 0
    can_cross: bool = False

    @property
    def has_empty_cell(self) -> bool:
        """Whether its reserved cell has no boot memory."""
        return self.reserved_kib == 0

    @classmethod
    def of(
        cls, guest: domain.GuestMemory, models: Collection[str],
    ) -> 'Launch':
        """Sum up a guest.

        :param guest: what its live domain has
        :param models: the devices, by libvirt's names, that models know
            which are installed on its host; what is none of them was
            attached by hand and needs none
        """
        cell, known = guest.reserved_cell, guest.address_map
        return cls(
            arch=guest.arch, emulator=guest.emulator,
            reserved_kib=None if cell is None else cell.memory_kib,
            can_grow=guest.max_kib is not None,
            models=tuple(sorted(
                {dev.model for dev in guest.devices if dev.is_ours} &
                set(models))),
            top_mb=known.top_mb if known else 0, can_cross=True)

    @classmethod
    def from_document(cls, document: Mapping[str, ty.Any]) -> 'Launch':
        """Read what another host says.

        :param document: what ``document`` returned there; what a later
            version has added to it is left out
        """
        return cls(
            arch=document['arch'], emulator=document['emulator'],
            reserved_kib=document['reserved_kib'],
            can_grow=document['can_grow'], models=tuple(document['models']),
            top_mb=document.get('top_mb', 0),
            can_cross=bool(document.get('can_cross')))

    def document(self) -> dict[str, ty.Any]:
        """Say it to another host, as plain data."""
        return dataclasses.asdict(self) | {'models': list(self.models)}


def of(
    guest: domain.GuestMemory, is_elastic: bool, shim_directory: str,
) -> str | None:
    """Tell with which zero-cell strategy a guest was started.

    :param guest: what its domain has
    :param is_elastic: whether its flavor has a ceiling
    :param shim_directory: where the host has the emulator shim
    :returns: the strategy; None for a guest without room for growth
    """
    if not is_elastic:
        return None
    if guest.reserved_cell is None:
        return EXISTING if guest.max_kib else None
    if guest.reserved_cell.memory_kib:
        return TINY
    if guest.emulator.startswith(shim_directory.rstrip('/') + '/'):
        return SHIM
    return NATIVE


def check_destination(
    launch: Launch, support: ArchSupport | None, shim: str | None,
    models: Collection[str], bits: int | None = None,
) -> str | None:
    """Check that a guest can go on on another host.

    That host must be able to start such a guest. An empty cell is one layout,
    whether libvirt itself or the shim starts it, and libvirt does not compare
    emulators (facts-native.md, section 4). So a guest that can have another
    one on the way takes what works there. One that cannot needs the very
    emulator that its domain names. All other guests are started by what
    libvirt finds, as ever.

    :param launch: how the guest was started
    :param support: what that host can start for the guest's architecture;
        None if libvirt offers no emulator for it there
    :param shim: path of that host's shim for it; None likewise
    :param models: the devices that models know which are installed there
    :param bits: how many address bits a guest can have there; None if that
        is not known, or does not depend on the host
    :returns: path of the emulator that it is to have there; None for that
        which its domain names
    :raises CannotCarry: if it cannot
    """
    unknown = sorted(set(launch.models) - set(models))
    if unknown:
        raise errors.CannotCarry(
            reason="the memory model '%s' is not installed there" %
            "', '".join(unknown))
    if launch.reserved_kib is None and not launch.can_grow:
        return None
    if support is None:
        raise errors.CannotCarry(
            reason='libvirt offers no emulator for %s guests there' %
            launch.arch)
    if support.no_virtio_mem and device.VIRTIO_MEM in launch.models:
        raise errors.CannotCarry(
            reason='no guest with a virtio-mem can be started there (%s)' %
            support.no_virtio_mem)
    if bits and launch.top_mb > (1 << bits) // units.BYTES_PER_MIB:
        raise errors.CannotCarry(
            reason='it needs %d MiB of addresses, more than the %d bits of '
            'the processors there' % (launch.top_mb, bits))
    if launch.has_empty_cell and launch.can_cross:
        there = shim if _crossing(support) == SHIM else support.emulator
        return None if there == launch.emulator else there
    strategy = _needed(launch, support, shim)
    if strategy not in support.usable:
        raise errors.CannotCarry(
            reason="it needs the strategy '%s', which does not work there "
            '(%s)' % (strategy, support.refusals.get(
                strategy, 'it was not tried')))
    return None


def _crossing(support: ArchSupport) -> str:
    """Choose what starts an empty cell on a host, the first that works."""
    for strategy in support.usable:
        if strategy in (NATIVE, SHIM):
            return strategy
    raise errors.CannotCarry(
        reason="it needs one of the strategies 'shim' and 'native', which do "
        'not work there (%s)' % '; '.join(
            '%s: %s' % (strategy, support.refusals.get(
                strategy, 'it was not tried'))
            for strategy in (SHIM, NATIVE)))


def is_emulator(path: object) -> bool:
    """Tell whether what another host names can be an emulator.

    :param path: what it names
    :returns: whether it is a plain absolute path
    """
    return (isinstance(path, str) and path.isprintable() and
            posixpath.isabs(path) and posixpath.normpath(path) == path)


def _needed(launch: Launch, support: ArchSupport, shim: str | None) -> str:
    """Tell what a host must be able to do for a guest as it is to go on."""
    if launch.reserved_kib is None:
        return EXISTING
    if launch.reserved_kib:
        return TINY
    if launch.emulator == shim:
        return SHIM
    if launch.emulator == support.emulator:
        return NATIVE
    raise errors.CannotCarry(
        reason='its emulator %s is not one of those that start an empty '
        'NUMA cell there: %s, %s' % (launch.emulator, shim, support.emulator))


def refused_shim(
    configured: str, support: ArchSupport,
) -> str | None:
    """Tell why a shim that is there cannot be used, though it is needed.

    Whoever has installed it wants empty nodes. Under ``auto`` the host is not
    to give servers another kind of room instead, with which they could not
    move to the hosts where the shim may run.

    :param configured: ``[memhotplug] zero_cell_strategy``
    :param support: what the host can start for one architecture
    :returns: what libvirt said; None if there is no such shim
    """
    if (configured in (AUTO, SHIM) and support.has_shim and
            support.needs_shim):
        return support.refusals.get(SHIM, 'it was not tried')
    return None


def candidates(configured: str, zero_node: bool) -> tuple[str, ...]:
    """List the strategies that a guest may get, the best one first.

    :param configured: ``[memhotplug] zero_cell_strategy``
    :param zero_node: whether the flavor wants an empty node
    :returns: some of ``ORDER``; a host need not try any other
    """
    wanted = configured if zero_node else EXISTING
    return RESERVING if wanted == AUTO else (wanted,)


def carriers(launch: Launch, configured: str) -> tuple[str, ...]:
    """List the strategies with which a guest may go on elsewhere.

    :param launch: how it was started
    :param configured: ``[memhotplug] zero_cell_strategy`` there: who names
        the shim wants it also where it is not needed, for guests that are to
        go back to hosts that do need it
    :returns: some of ``ORDER``, the best one first
    """
    if launch.reserved_kib is None:
        return (EXISTING,)
    if launch.reserved_kib:
        return (TINY,)
    return (SHIM, NATIVE) if configured == SHIM else (NATIVE, SHIM)


def choose(
    configured: str, support: ArchSupport | None, arch: str, zero_node: bool,
) -> str:
    """Choose the strategy for a guest.

    :param configured: ``[memhotplug] zero_cell_strategy``
    :param support: what the host can start for the guest's architecture;
        None if nothing was found out about it
    :param arch: the guest's architecture
    :param zero_node: whether the flavor wants an empty node
    :returns: one of ``ORDER``
    :raises StrategyUnavailable: if the host cannot start such a guest
    """
    wanted = configured if zero_node else EXISTING
    tried = candidates(configured, zero_node)
    if support is None:
        raise errors.StrategyUnavailable(
            strategy=wanted, arch=arch,
            reason='libvirt offers no emulator for it')
    if refused_shim(wanted, support):
        tried = (SHIM,)
    for candidate in tried:
        if candidate in support.usable:
            return candidate
    raise errors.StrategyUnavailable(
        strategy=wanted, arch=arch, reason='; '.join(
            '%s: %s' % (candidate, support.refusals.get(
                candidate, 'it was not tried')) for candidate in tried))
