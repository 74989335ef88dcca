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

from collections.abc import Iterator
import contextlib
import functools
import typing as ty

from nova.compute import task_states
from nova import exception
from nova.virt import event as virtevent
from nova.virt.libvirt import driver
from oslo_log import log as logging
from oslo_utils import importutils

from nova_memhotplug.common import exclusions
from nova_memhotplug.common import nodes
from nova_memhotplug.common import options
from nova_memhotplug.common import rpcapi
from nova_memhotplug.common import specs
from nova_memhotplug.common import states
from nova_memhotplug.compute import books
from nova_memhotplug.compute import look
from nova_memhotplug.compute import metrics
from nova_memhotplug.compute import onlining
from nova_memhotplug.compute import reconcile
from nova_memhotplug.compute import service
from nova_memhotplug.core import compositions
from nova_memhotplug.core import errors
from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import strategies
from nova_memhotplug.models import registry
from nova_memhotplug.virt import abilities
from nova_memhotplug.virt import address_space
from nova_memhotplug.virt import designer
from nova_memhotplug.virt import destination
from nova_memhotplug.virt import emulator
from nova_memhotplug.virt import events
from nova_memhotplug.virt import guest
from nova_memhotplug.virt import migration
from nova_memhotplug.virt import probe

libvirt = importutils.try_import('libvirt')

CONF = options.CONF

LOG = logging.getLogger(__name__)

#: Task states of a server whose guest a cold migration, or a cold resize,
#: starts on its new host.
_ARRIVING = (task_states.RESIZE_FINISH, task_states.RESIZE_REVERTING)


class MemHotplugLibvirtDriver(driver.LibvirtDriver):
    """The libvirt driver for hosts whose servers can grow while they run.

    It has no public method that Nova's ``ComputeDriver`` has not, and takes
    the same parameters; they have been the same since Nova 31.
    """

    def __init__(self, virtapi: ty.Any, read_only: bool = False):
        super().__init__(virtapi, read_only)
        self._prober = probe.Prober(
            lambda: self._host.get_connection(), CONF.libvirt.virt_type,
            CONF.memhotplug.shim_directory)
        self._abilities = abilities.Abilities(self._host, self._prober)
        self._guests = guest.Guests(self._host)
        self._onliner = onlining.Onliner(
            self._guests, events.GuestEvents(self._host))
        self._reconciler: reconcile.Reconciler | None = None
        # Guests that are being started, by the UUID of the server.
        self._starts: dict[str, _Start] = {}

    def init_host(self, host: str) -> None:
        """Start the driver: find out what this host can do, and listen."""
        super().init_host(host)
        self._abilities.log()
        self._reconciler = service.start(
            self.virtapi._compute, self._guests, self._land, host,
            self._onliner)

    def get_available_resource(self, nodename: str) -> dict[str, ty.Any]:
        """Bring the books to what guests have before usage is computed.

        Nova asks at service start, before it accepts requests, and then in
        its periodic task: when servers need a look, that is the time. At
        service start all that Nova itself checks is over by then: whether
        the host was renamed, so that its servers are those of another, and
        what was left behind by a crash.
        """
        if self._reconciler is not None:
            self._onliner.watch()
            self._reconciler.run_due()
            metrics.write(self._guests)
        resources: dict[str, ty.Any] = super().get_available_resource(
            nodename)
        rpcapi.sign(resources, self._abilities.stats())
        return resources

    def emit_event(self, event: ty.Any) -> None:
        """Pass on what happens to guests, but not to those of the probe.

        What Nova does not know goes to who has asked for it.
        """
        if isinstance(event, events.AgentConnected):
            self._onliner.remember(event.get_instance_uuid())
        elif isinstance(event, events.MemorySizeChanged):
            if self._reconciler is not None:
                self._reconciler.size_changed(event.get_instance_uuid())
        elif not (isinstance(event, virtevent.InstanceEvent) and
                  probe.is_probe(event.get_instance_uuid())):
            super().emit_event(event)

    @property
    def static_traits(self) -> dict[str, bool]:
        """Say that servers can grow here, and how.

        This is added after Nova has sorted out what os-traits does not know.
        """
        return {**super().static_traits, **self._abilities.traits()}

    def spawn(
        self, context: ty.Any, instance: ty.Any, image_meta: ty.Any,
        injected_files: ty.Any, admin_password: ty.Any, allocations: ty.Any,
        network_info: ty.Any = None, block_device_info: ty.Any = None,
        power_on: bool = True, accel_info: ty.Any = None,
    ) -> None:
        """Create the guest, unless what is asked for contradicts itself.

        A server that has run before is started in any case, to evacuate or
        to unshelve it, say (design T9).

        :raises nova.exception.InvalidInput: before anything is done; Nova
            then does not try other hosts
        """
        if instance.launched_at is None:
            with _as_nova_errors():
                self._check_flavor(
                    instance.flavor, image_meta, first_boot=True)
                self._check_room(instance, instance.flavor, image_meta)
        super().spawn(
            context, instance, image_meta, injected_files, admin_password,
            allocations, network_info=network_info,
            block_device_info=block_device_info, power_on=power_on,
            accel_info=accel_info)

    def reboot(
        self, context: ty.Any, instance: ty.Any, network_info: ty.Any,
        reboot_type: str, block_device_info: ty.Any = None,
        bad_volumes_callback: ty.Any = None, accel_info: ty.Any = None,
        share_info: ty.Any = None,
    ) -> ty.Any:
        """Reboot the guest; a soft reboot may end as a hard one.

        By then it may have been shut down. A hard one destroys the guest
        first (``destroy``).
        """
        if reboot_type == 'SOFT':
            self._before_stop(instance)
        return super().reboot(
            context, instance, network_info, reboot_type,
            block_device_info=block_device_info,
            bad_volumes_callback=bad_volumes_callback, accel_info=accel_info,
            share_info=share_info)

    def power_off(
        self, instance: ty.Any, timeout: int = 0, retry_interval: int = 0,
    ) -> None:
        """Stop the guest: to stop, shelve or migrate the server, say."""
        self._before_stop(instance)
        super().power_off(instance, timeout, retry_interval)

    def destroy(
        self, context: ty.Any, instance: ty.Any, network_info: ty.Any,
        block_device_info: ty.Any = None, destroy_disks: bool = True,
        destroy_secrets: bool = True,
    ) -> None:
        """Destroy the guest: for a hard reboot or a rebuild, say."""
        self._before_stop(instance)
        super().destroy(
            context, instance, network_info,
            block_device_info=block_device_info, destroy_disks=destroy_disks,
            destroy_secrets=destroy_secrets)

    def resume(
        self, context: ty.Any, instance: ty.Any, network_info: ty.Any,
        block_device_info: ty.Any = None, share_info: ty.Any = None,
    ) -> None:
        """Start a guest from what was saved of it, if its emulator is there.

        Else Nova would undefine the domain, and with it what was saved.

        :raises nova.exception.InstanceFaultRollback: before anything is
            done; the server then stays suspended
        """
        try:
            if states.is_elastic(instance.flavor):
                emulator.check_saved(self._host, instance)
        except errors.EmulatorGone as exc:
            raise exception.InstanceFaultRollback(
                exception.InvalidInput(reason=str(exc)))
        super().resume(
            context, instance, network_info, block_device_info, share_info)

    def rescue(
        self, context: ty.Any, instance: ty.Any, network_info: ty.Any,
        image_meta: ty.Any, rescue_password: ty.Any,
        block_device_info: ty.Any, share_info: ty.Any,
    ) -> None:
        """Start the guest from another image; it is destroyed for that."""
        self._before_stop(instance)
        super().rescue(
            context, instance, network_info, image_meta, rescue_password,
            block_device_info, share_info)

    def _before_stop(self, instance: ty.Any) -> None:
        """Keep what a guest has that is about to go (design T11)."""
        if (self._reconciler is not None and
                states.is_elastic(instance.flavor)):
            self._reconciler.before_stop(instance)

    def migrate_disk_and_power_off(
        self, context: ty.Any, instance: ty.Any, dest: ty.Any,
        flavor: ty.Any, network_info: ty.Any,
        block_device_info: ty.Any = None, timeout: int = 0,
        retry_interval: int = 0,
    ) -> ty.Any:
        """Start a cold resize, unless the new flavor cannot be had.

        It may contradict itself, or what the server's image asks for.

        :raises nova.exception.InstanceFaultRollback: before anything is
            done; the server then goes on as it was
        """
        try:
            self._check_flavor(flavor, instance.image_meta)
            if flavor.id != instance.flavor.id:
                self._check_room(instance, flavor, instance.image_meta)
        except errors.MemoryHotplugError as exc:
            raise exception.InstanceFaultRollback(
                exception.ResizeError(reason=str(exc)))
        return super().migrate_disk_and_power_off(
            context, instance, dest, flavor, network_info,
            block_device_info=block_device_info, timeout=timeout,
            retry_interval=retry_interval)

    def check_can_live_migrate_destination(
        self, context: ty.Any, instance: ty.Any, src_compute_info: ty.Any,
        dst_compute_info: ty.Any, block_migration: bool = False,
        disk_over_commit: bool = False,
    ) -> ty.Any:
        """Check that a server can go on on this host, then what Nova checks.

        Nova's own check leaves a file for its caller to remove, who would not
        do that if a refusal came after it.

        :raises nova.exception.MigrationPreCheckError: if it cannot; Nova then
            tries other hosts, or the server goes on as it was
        """
        try:
            if states.is_elastic(instance.flavor):
                self._land(destination.launch_of(context, instance))
        except errors.MemoryHotplugError as exc:
            raise exception.MigrationPreCheckError(reason=str(exc))
        return super().check_can_live_migrate_destination(
            context, instance, src_compute_info, dst_compute_info,
            block_migration, disk_over_commit)

    def _land(self, launch: strategies.Launch) -> str | None:
        """Say with which emulator a guest of another host can go on here.

        :raises CannotCarry: if it cannot
        """
        return destination.land(
            launch, self._prober, address_space.kvm_bits(self._host))

    def _get_guest_config(
        self, instance: ty.Any, network_info: ty.Any, image_meta: ty.Any,
        *args: ty.Any, **kwargs: ty.Any,
    ) -> ty.Any:
        is_elastic = states.is_elastic(instance.flavor)
        if is_elastic:
            nodes.restore(instance)
        config = super()._get_guest_config(
            instance, network_info, image_meta, *args, **kwargs)
        if is_elastic:
            start = self._give_room(config, instance, image_meta)
            self._starts[instance.uuid] = start._replace(xml=config.to_xml())
        return config

    def _give_room(
        self, config: ty.Any, instance: ty.Any, image_meta: ty.Any,
    ) -> '_Start':
        """Give a guest room for growth, if possible.

        Nova has destroyed the guest by now if it is not new. So a server that
        has run is started without room rather than not at all (design T9).

        :raises nova.exception.NovaException: if a new one cannot have any
        """
        if instance.launched_at is None:
            with _as_nova_errors():
                self._make_elastic(config, instance.flavor, image_meta)
            return _Start()
        plain_xml = config.to_xml()
        try:
            self._make_elastic(config, instance.flavor, image_meta)
        except Exception as exc:
            return _Start(no_room=_why(exc, instance))
        return _Start(plain_xml=plain_xml)

    def _create_guest(
        self, context: ty.Any, xml: str, instance: ty.Any, *args: ty.Any,
        post_xml_callback: ty.Any = None, **kwargs: ty.Any,
    ) -> ty.Any:
        """Start the guest, and leave a note of what it has been given.

        What the host could start may have changed since it was tried.
        """
        start = self._starts.pop(instance.uuid, _Start())
        if start.xml != xml:
            start = _Start(no_room=None)
        # What Nova does for a new domain is done once for two of them.
        callback = post_xml_callback and functools.cache(post_xml_callback)

        def create(xml: str) -> ty.Any:
            return super(MemHotplugLibvirtDriver, self)._create_guest(
                context, xml, instance, *args, post_xml_callback=callback,
                **kwargs)

        try:
            started = create(xml)
        except libvirt.libvirtError as exc:
            if start.plain_xml is None:
                raise
            started = create(start.plain_xml)
            start = _Start(no_room=_why(exc, instance))
        if states.is_elastic(instance.flavor):
            books.leave_note(
                context, instance, look.take_note(self._guests, instance),
                start.no_room)
            self._after_arrival(context, instance)
        return started

    def _after_arrival(self, context: ty.Any, instance: ty.Any) -> None:
        """Look after a server that a cold migration has brought here."""
        if (self._reconciler is not None and
                instance.task_state in _ARRIVING):
            self._reconciler.after_arrival(context, instance)

    def _live_migration_operation(
        self, context: ty.Any, instance: ty.Any, dest: ty.Any,
        block_migration: ty.Any, migrate_data: ty.Any, guest: ty.Any,
        device_names: ty.Any,
    ) -> ty.Any:
        """Migrate the guest, as it is to be on the destination.

        Its devices are bound to nodes of that host, and an empty cell is
        started by what that host has for it.
        """
        if states.is_elastic(instance.flavor):
            guest = migration.MovingGuest.of(
                guest, migrate_data, migration.emulator_there(
                    context, instance, dest,
                    self._guests.of(instance).read()))
        return super()._live_migration_operation(
            context, instance, dest, block_migration, migrate_data, guest,
            device_names)

    def post_live_migration_at_destination(
        self, context: ty.Any, instance: ty.Any, network_info: ty.Any,
        block_migration: bool = False, block_device_info: ty.Any = None,
    ) -> None:
        """Take the guest over, and look at it with the next periodic task.

        Nova has claimed the nodes that its flavor stands for. Those of the
        guest are others if it kept only a part of what was added once.
        """
        super().post_live_migration_at_destination(
            context, instance, network_info, block_migration,
            block_device_info)
        if (self._reconciler is not None and
                states.is_elastic(instance.flavor)):
            self._reconciler.remember(instance)

    def _check_flavor(
        self, flavor: ty.Any, image_meta: ty.Any, first_boot: bool = False,
    ) -> memory_spec.MemorySpec | None:
        spec = specs.spec_of(flavor)
        if spec is None:
            return None
        request = exclusions.request_of(
            flavor, image_meta, self._check_emulation_arch(image_meta),
            CONF.libvirt.cpu_model_extra_flags)
        memory_spec.check_boot_size(spec, flavor.memory_mb, first_boot)
        compositions.check(request)
        return compositions.adapt(spec, request)

    def _check_room(
        self, instance: ty.Any, flavor: ty.Any, image_meta: ty.Any,
    ) -> None:
        """Check that a server that is made, or changes its flavor, can grow.

        No other is checked: one that has run is started (design T9).

        :raises MemoryHotplugError: if it cannot
        """
        if states.is_elastic(flavor):
            address_space.check(
                self._host, instance, flavor, image_meta,
                self._check_emulation_arch(image_meta),
                self._get_guest_cpu_config(flavor, image_meta, None, None))

    def _make_elastic(
        self, config: ty.Any, flavor: ty.Any, image_meta: ty.Any,
    ) -> None:
        spec = ty.cast(memory_spec.MemorySpec,
                       self._check_flavor(flavor, image_meta))
        arch = config.os_arch or self._host.get_capabilities().host.cpu.arch
        strategy, support = self._abilities.strategy(
            arch, spec.zero_node)
        designer.set_elastic_memory(
            config, spec, strategy, registry.get(spec.model))
        if strategy == strategies.SHIM:
            designer.set_emulator(config, support.shim_path(
                CONF.memhotplug.shim_directory))


class _Start(ty.NamedTuple):
    """A guest that is being started.

    :param no_room: why it has no room for growth; empty if it has; None if
        the domain was made before
    :param plain_xml: its domain without that room, in case that it cannot be
        started with it; None if it is started with what it has, or not at all
    :param xml: its domain; another one may be started after a failure
    """

    no_room: str | None = ''
    plain_xml: str | None = None
    xml: str = ''


def _why(exc: Exception, instance: ty.Any) -> str:
    """Say why a server that has run gets no room for growth."""
    LOG.warning(
        'This server is started without room for growth: %s', exc,
        instance=instance,
        exc_info=not isinstance(exc, errors.MemoryHotplugError))
    return str(exc) or type(exc).__name__


@contextlib.contextmanager
def _as_nova_errors() -> Iterator[None]:
    """Refuse a server that has never run in words that Nova knows.

    :raises nova.exception.ComputeResourcesUnavailable: Nova tries other hosts
    :raises nova.exception.InvalidInput: Nova tries no other host
    """
    try:
        yield
    except (errors.StrategyUnavailable, errors.CeilingTooHighHere) as exc:
        raise exception.ComputeResourcesUnavailable(reason=str(exc))
    except errors.MemoryHotplugError as exc:
        raise exception.InvalidInput(reason=str(exc))
