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

"""What this host can do for servers that grow, and how Nova is told of it."""

import typing as ty

from oslo_log import log as logging

from nova_memhotplug.common import options
from nova_memhotplug.core import errors
from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import strategies
from nova_memhotplug.virt import address_space
from nova_memhotplug.virt import emulator
from nova_memhotplug.virt import probe

CONF = options.CONF

LOG = logging.getLogger(__name__)

#: Flavors ask for it with ``trait:CUSTOM_MEMORY_HOTPLUG=required``.
TRAIT = 'CUSTOM_MEMORY_HOTPLUG'
#: Native and shim are one layout: servers move live between the two.
EMPTY_NODE = TRAIT + '_EMPTY_NODE'
#: Servers can have the memory model virtio-mem.
VIRTIO_MEM = TRAIT + '_VIRTIO_MEM'
#: By what new servers get that want an empty node.
STRATEGY_TRAITS = {
    strategy: '%s_%s' % (TRAIT, strategy.upper())
    for strategy in strategies.ORDER}
#: In ``ComputeNode.stats``, with the machine type behind it.
CEILING_STAT = 'memhotplug_ceiling_mb_'


class Abilities:
    """What a host can do.

    :param host: the ``nova.virt.libvirt.host.Host``
    :param prober: says what can be started
    """

    def __init__(self, host: ty.Any, prober: probe.Prober):
        self._host = host
        self._prober = prober
        # Where nothing starts through the shim, by architecture: what was
        # tried, and the same with what libvirt says of the shim.
        self._looks: dict[str, tuple[strategies.ArchSupport,
                                     strategies.ArchSupport]] = {}
        self._stats: dict[str, int] | None = None

    def log(self) -> None:
        """Try what servers of this host's own architecture would get.

        Other architectures are tried with their first server. A host that
        cannot tell now is asked again then, too.
        """
        try:
            for arch in self._prober.archs()[:1]:
                _strategy, support = self.strategy(arch, zero_node=True)
                LOG.info('Memory hot-plug: %s', probe.describe(support))
        except errors.StrategyUnavailable as exc:
            LOG.warning('%s', exc)
        except Exception:
            LOG.warning('It cannot be told now how servers of this host can '
                        'get room for growth.', exc_info=True)

    def traits(self) -> dict[str, bool]:
        """Say what the scheduler can ask for.

        A trait is true only where a strategy has been seen to work: the one
        that new servers get which want an empty node. No other is tried for
        that.

        :returns: all traits of this package, and whether the host has them
        """
        chosen, support = next(
            filter(None, map(self._chosen, self._prober.archs())),
            (None, None))
        return {
            TRAIT: chosen is not None,
            EMPTY_NODE: chosen in (strategies.NATIVE, strategies.SHIM),
            VIRTIO_MEM: support is not None and support.no_virtio_mem is None,
            **{trait: strategy == chosen
               for strategy, trait in STRATEGY_TRAITS.items()}}

    def _chosen(
        self, arch: str,
    ) -> tuple[str, strategies.ArchSupport] | None:
        try:
            return self.strategy(arch, zero_node=True)
        except errors.StrategyUnavailable:
            return None

    def stats(self) -> dict[str, int]:
        """Say how large guests can get, by machine type, in MiB.

        Where libvirt does not tell, no ceiling is refused here. Nothing that
        goes wrong may keep the service from starting.

        :returns: what ``ComputeNode.stats`` is to have; nothing if that
            cannot be told now
        """
        if self._stats is None:
            try:
                self._stats = {
                    CEILING_STAT + found.machine: _bounded(found.largest_mb)
                    for found in address_space.ceilings(self._host)}
            except Exception:
                LOG.warning('The scheduler is not told now how large guests '
                            'of this host can get.', exc_info=True)
                return {}
        return self._stats

    def strategy(
        self, arch: str, zero_node: bool,
    ) -> tuple[str, strategies.ArchSupport]:
        """Choose how a guest gets room, trying up to the first that works.

        :param arch: the guest's architecture
        :param zero_node: whether the flavor wants an empty node
        :returns: the strategy, and what was found out
        :raises StrategyUnavailable: if there is none
        """
        configured = CONF.memhotplug.zero_cell_strategy
        support = self._prober.support(
            arch, strategies.candidates(configured, zero_node))
        if support is not None and strategies.SHIM in support.refusals:
            support = self._with_shim(support, configured)
        strategy = strategies.choose(configured, support, arch, zero_node)
        return strategy, ty.cast(strategies.ArchSupport, support)

    def _with_shim(
        self, support: strategies.ArchSupport, configured: str,
    ) -> strategies.ArchSupport:
        """Ask about a shim through which nothing starts; log that once."""
        known = self._looks.get(support.arch)
        if known is None or known[0] != support:
            known = support, emulator.look(
                self._host.get_connection(), support, configured,
                CONF.memhotplug.shim_directory)
            self._looks[support.arch] = known
        return known[1]


def _bounded(ceiling_mb: int | None) -> int:
    """Say which ceiling flavors can have: Nova's own limit is known."""
    if ceiling_mb is None:
        return memory_spec.MAX_TOTAL_MB
    return max(0, min(ceiling_mb, memory_spec.MAX_TOTAL_MB))
