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

from collections.abc import Mapping
import dataclasses
import types

from nova_memhotplug.core import errors

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
    :param usable: the strategies that started, in the order of ``ORDER``
    :param refusals: why the others did not start, by strategy
    """

    arch: str
    emulator: str
    usable: tuple[str, ...]
    refusals: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: types.MappingProxyType({}))


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
    candidates = RESERVING if wanted == AUTO else (wanted,)
    if support is None:
        raise errors.StrategyUnavailable(
            strategy=wanted, arch=arch,
            reason='libvirt offers no emulator for it')
    for candidate in candidates:
        if candidate in support.usable:
            return candidate
    raise errors.StrategyUnavailable(
        strategy=wanted, arch=arch, reason='; '.join(
            '%s: %s' % (candidate, support.refusals.get(
                candidate, 'it was not tried')) for candidate in candidates))
