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

"""Nova's libvirt driver, with room for growth in guests that ask for it.

Every override calls ``super()`` and returns its result untouched for a flavor
without ``memhotplug:max_memory_mb`` (design T6).
"""

from nova import conf as nova_conf
from nova import exception
from nova.virt.libvirt import driver
from oslo_log import log as logging

from nova_memhotplug.common import exclusions
from nova_memhotplug.common import nodes
from nova_memhotplug.common import rpcapi
from nova_memhotplug.common import specs
from nova_memhotplug.common import states
from nova_memhotplug.compute import books
from nova_memhotplug.compute import look
from nova_memhotplug.compute import reconcile
from nova_memhotplug.compute import service
from nova_memhotplug import conf
from nova_memhotplug.core import compositions
from nova_memhotplug.core import errors
from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import strategies
from nova_memhotplug.models import registry
from nova_memhotplug.virt import designer
from nova_memhotplug.virt import destination
from nova_memhotplug.virt import guest
from nova_memhotplug.virt import migration
from nova_memhotplug.virt import probe

CONF = nova_conf.CONF
conf.memhotplug.register_opts(CONF)

LOG = logging.getLogger(__name__)

#: Flavors ask for it with ``trait:CUSTOM_MEMORY_HOTPLUG=required``.
TRAIT = 'CUSTOM_MEMORY_HOTPLUG'


class MemHotplugLibvirtDriver(driver.LibvirtDriver):
    """The libvirt driver for hosts whose servers can grow while they run."""

    def __init__(self, virtapi, read_only=False):
        super().__init__(virtapi, read_only)
        self._arch_supports: dict[str, strategies.ArchSupport] = {}
        self._guests = guest.Guests(self._host)
        self._reconciler: reconcile.Reconciler | None = None

    def init_host(self, host):
        """Start the driver: find out what this host can do, and listen."""
        super().init_host(host)
        self._arch_supports = probe.probe(
            self._host.get_connection(), CONF.libvirt.virt_type,
            CONF.memhotplug.shim_directory)
        LOG.info('Memory hot-plug: %s', probe.describe(self._arch_supports))
        self._reconciler = service.start(
            self.virtapi._compute, self._guests, host)

    def get_available_resource(self, nodename):
        """Bring the books to what guests have before usage is computed.

        Nova asks at service start, before it accepts requests, and then in
        its periodic task: when servers need a look, that is the time.
        """
        if self._reconciler is not None:
            self._reconciler.run_due()
        resources = super().get_available_resource(nodename)
        rpcapi.sign(resources)
        return resources

    @property
    def static_traits(self) -> dict[str, bool]:
        """Say that servers can grow here.

        The trait is added after Nova has sorted out what os-traits does not
        know, and is true only where a strategy has been seen to work.
        """
        is_able = any(
            self._can_reserve(arch) for arch in self._arch_supports)
        return {**super().static_traits, TRAIT: is_able}

    def _can_reserve(self, arch):
        try:
            self._strategy(arch, zero_node=True)
        except errors.StrategyUnavailable:
            return False
        return True

    def spawn(self, context, instance, image_meta, *args, **kwargs):
        """Create the guest, unless what is asked for contradicts itself.

        :raises nova.exception.InvalidInput: before anything is done; Nova
            then does not try other hosts
        """
        self._check_flavor(
            instance.flavor, image_meta,
            first_boot=instance.launched_at is None)
        return super().spawn(context, instance, image_meta, *args, **kwargs)

    def migrate_disk_and_power_off(
        self, context, instance, dest, flavor, *args, **kwargs,
    ):
        """Start a cold resize, unless the new flavor cannot be had.

        It may contradict itself, or what the server's image asks for.

        :raises nova.exception.InstanceFaultRollback: before anything is
            done; the server then goes on as it was
        """
        try:
            self._check_flavor(flavor, instance.image_meta)
        except exception.InvalidInput as exc:
            raise exception.InstanceFaultRollback(
                exception.ResizeError(reason=exc.format_message()))
        return super().migrate_disk_and_power_off(
            context, instance, dest, flavor, *args, **kwargs)

    def check_can_live_migrate_destination(
        self, context, instance, *args, **kwargs,
    ):
        """Check that a server can go on on this host, then what Nova checks.

        Nova's own check leaves a file for its caller to remove, who would not
        do that if a refusal came after it.

        :raises nova.exception.MigrationPreCheckError: if it cannot; Nova then
            tries other hosts, or the server goes on as it was
        """
        try:
            if _spec(instance.flavor) is not None:
                destination.check(context, instance, self._arch_supports)
        except exception.InvalidInput as exc:
            raise exception.MigrationPreCheckError(
                reason=exc.format_message())
        except errors.MemoryHotplugError as exc:
            raise exception.MigrationPreCheckError(reason=str(exc))
        return super().check_can_live_migrate_destination(
            context, instance, *args, **kwargs)

    def _get_guest_config(
        self, instance, network_info, image_meta, *args, **kwargs,
    ):
        if _spec(instance.flavor) is not None:
            nodes.restore(instance)
        config = super()._get_guest_config(
            instance, network_info, image_meta, *args, **kwargs)
        spec = self._check_flavor(instance.flavor, image_meta)
        if spec is None:
            return config
        try:
            self._make_elastic(config, spec)
        except errors.StrategyUnavailable as exc:
            raise exception.ComputeResourcesUnavailable(reason=str(exc))
        return config

    def _create_guest(self, context, xml, instance, *args, **kwargs):
        """Start the guest, and leave a note of what it has been given."""
        started = super()._create_guest(
            context, xml, instance, *args, **kwargs)
        if states.is_elastic(instance.flavor):
            books.leave_note(
                context, instance, look.take_note(self._guests, instance))
        return started

    def _live_migration_operation(
        self, context, instance, dest, block_migration, migrate_data, guest,
        device_names,
    ):
        """Migrate the guest, its devices bound to nodes of the destination."""
        if states.is_elastic(instance.flavor):
            guest = migration.MovingGuest.of(guest, migrate_data)
        return super()._live_migration_operation(
            context, instance, dest, block_migration, migrate_data, guest,
            device_names)

    def post_live_migration_at_destination(
        self, context, instance, *args, **kwargs,
    ):
        """Take the guest over, and look at it with the next periodic task.

        Nova has claimed the nodes that its flavor stands for. Those of the
        guest are others if it kept only a part of what was added once.
        """
        super().post_live_migration_at_destination(
            context, instance, *args, **kwargs)
        if states.is_elastic(instance.flavor):
            self._reconciler.remember(instance)

    def _check_flavor(self, flavor, image_meta, first_boot=False):
        spec = _spec(flavor)
        if spec is None:
            return None
        request = exclusions.request_of(
            flavor, image_meta, self._check_emulation_arch(image_meta),
            CONF.libvirt.cpu_model_extra_flags)
        try:
            memory_spec.check_boot_size(spec, flavor.memory_mb, first_boot)
            compositions.check(request)
        except (errors.InvalidSpec, errors.ExcludedComposition) as exc:
            raise exception.InvalidInput(reason=str(exc))
        return compositions.adapt(spec, request)

    def _make_elastic(self, config, spec):
        arch = config.os_arch or self._host.get_capabilities().host.cpu.arch
        strategy = self._strategy(arch, spec.zero_node)
        designer.set_elastic_memory(
            config, spec, strategy, registry.get(spec.model))
        if strategy == strategies.SHIM:
            designer.set_emulator(config, designer.shim_path(
                CONF.memhotplug.shim_directory, self._arch_supports[arch]))

    def _strategy(self, arch, zero_node):
        return strategies.choose(
            CONF.memhotplug.zero_cell_strategy,
            self._arch_supports.get(arch), arch, zero_node)


def _spec(flavor) -> memory_spec.MemorySpec | None:
    """Read the memory spec of a flavor; None where it has no ceiling.

    :raises nova.exception.InvalidInput: if the extra specs cannot be read
    """
    try:
        return specs.spec_of(flavor)
    except errors.InvalidSpec as exc:
        raise exception.InvalidInput(reason=str(exc))
