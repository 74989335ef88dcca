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

"""What this package uses of Nova without Nova's promise to keep it.

A service does not start where one of these things is gone: it says in one
line which. What they do is for tests to see.
"""

from collections.abc import Iterator
import importlib
from importlib import metadata
import inspect
import typing as ty

from oslo_log import log as logging

LOG = logging.getLogger(__name__)

#: Callables, and the parameters that they are given here. Of two paths, Nova
#: has the second before some release.
_Callables: ty.TypeAlias = tuple[tuple[str, str], ...]

#: Exceptions that are raised or caught, and what they are made of.
EXCEPTIONS = (
    ('ResizeError', 'reason'),
    ('InvalidInput', 'reason'),
    ('ComputeResourcesUnavailable', 'reason'),
    ('MigrationPreCheckError', 'reason'),
    ('InstanceFaultRollback', 'inner_exception'),
    ('PolicyNotAuthorized', 'action'),
    ('AllocationUpdateFailed', 'consumer_uuid error'),
    ('InstanceIsLocked', 'instance_uuid'),
    ('InstanceInvalidState', 'attr instance_uuid state method'),
    ('InstanceNotFound', 'instance_id'),
    ('NumaTopologyNotFound', 'instance_uuid'),
    ('InstanceNotReady', 'instance_id'),
    ('FlavorNotFound', 'flavor_id'),
    ('ServiceUnavailable', ''),
    ('InternalError', 'err'),
    ('RequestSpecNotFound', 'instance_uuid'),
    ('OverQuota', 'overs'),
)

#: Fields of Nova's objects that are read or set.
_OBJECT_FIELDS = (
    ('NUMATopology', 'cells'),
    ('NUMACell', 'id memory memory_usage mempages'),
    ('NUMAPagesTopology', 'size_kb'),
    ('InstanceNUMATopology', 'cells'),
    ('InstanceNUMACell', 'id memory pagesize cpu_policy'),
    ('Instance', 'numa_topology'),
    ('RequestSpec', 'flavor numa_topology'),
    ('ComputeNode', 'numa_topology ram_allocation_ratio'),
    ('migrate_data.LibvirtLiveMigrateData', 'dst_numa_info'),
    ('migrate_data.LibvirtLiveMigrateNUMAInfo', 'cell_pins'),
)

#: Fields of Nova's config objects that are read or set, and what they are at
#: first.
_CONFIG_FIELDS: tuple[tuple[str, dict[str, ty.Any]], ...] = (
    ('LibvirtConfigGuest', {
        'memory': 500 * 2 ** 20, 'vcpus': 1, 'cpu': None, 'os_arch': None,
        'membacking': None, 'max_memory_size': None, 'max_memory_slots': 0}),
    ('LibvirtConfigGuestCPU', {'numa': None}),
    ('LibvirtConfigGuestCPUNUMA', {'cells': []}),
    ('LibvirtConfigGuestCPUNUMACell', {
        'id': None, 'cpus': None, 'memory': None, 'memAccess': None}),
    ('LibvirtConfigGuestMemoryBacking', {'hugepages': []}),
    ('LibvirtConfigGuestMemoryBackingPage', {'size_kb': None}),
)

_SHARED: _Callables = (
    ('nova.virt.hardware.numa_get_constraints', 'flavor image_meta'),
    ('nova.virt.hardware.format_cpu_spec', 'cpuset'),
    ('nova.objects.InstanceNUMATopology.get_by_instance_uuid',
     'context instance_uuid'),
    ('nova.objects.NUMATopology.obj_from_db_obj', 'db_obj'),
    ('nova.scheduler.client.report.SchedulerReportClient.'
     'get_allocs_for_consumer', 'self context consumer'),
    ('nova.scheduler.client.report.SchedulerReportClient.'
     'add_resources_to_instance_allocation',
     'self context consumer_uuid resources'),
    ('nova.scheduler.client.report.SchedulerReportClient.'
     'remove_resources_from_instance_allocation',
     'self context consumer_uuid resources'),
    ('nova.scheduler.client.report.SchedulerReportClient.'
     'get_allocations_for_resource_provider', 'self context rp_uuid'),
    ('nova.objects.ServiceList.get_by_binary',
     'context binary include_disabled'),
    ('nova.objects.ComputeNodeList.get_all_by_host', 'context host'),
    ('nova.scheduler.client.report.report_client_singleton', ''),
    ('nova.objects.Instance.get_by_uuid', 'context uuid expected_attrs'),
    ('nova.objects.ComputeNode.get_by_host_and_nodename',
     'context host nodename'),
    ('nova.objects.InstanceAction.action_start',
     'context instance_uuid action_name want_result'),
    ('nova.objects.InstanceAction.get_by_request_id',
     'context instance_uuid request_id'),
    ('nova.objects.InstanceActionEvent.event_start',
     'context instance_uuid event_name want_result host'),
    ('nova.objects.InstanceActionEvent.event_finish_with_failure',
     'context instance_uuid event_name exc_val exc_tb want_result'),
    ('nova.objects.InstanceList.get_by_filters', 'context filters'),
    ('nova.objects.Instance.save', 'self expected_task_state'),
    ('nova.objects.InstanceList.get_by_host',
     'context host expected_attrs'),
    ('nova.utils.synchronized', 'name'),
)

_COMPUTE: _Callables = (
    *_SHARED,
    ('nova.virt.libvirt.driver.LibvirtDriver.__init__',
     'self virtapi read_only'),
    ('nova.virt.libvirt.driver.LibvirtDriver.init_host', 'self host'),
    ('nova.virt.libvirt.driver.LibvirtDriver.get_available_resource',
     'self nodename'),
    ('nova.virt.libvirt.driver.LibvirtDriver.spawn',
     'self context instance image_meta injected_files admin_password '
     'allocations network_info block_device_info power_on accel_info'),
    ('nova.virt.libvirt.driver.LibvirtDriver.reboot',
     'self context instance network_info reboot_type block_device_info '
     'bad_volumes_callback accel_info share_info'),
    ('nova.virt.libvirt.driver.LibvirtDriver.power_off',
     'self instance timeout retry_interval'),
    ('nova.virt.libvirt.driver.LibvirtDriver.destroy',
     'self context instance network_info block_device_info destroy_disks '
     'destroy_secrets'),
    ('nova.virt.libvirt.driver.LibvirtDriver.resume',
     'self context instance network_info block_device_info share_info'),
    ('nova.virt.libvirt.driver.LibvirtDriver.rescue',
     'self context instance network_info image_meta rescue_password '
     'block_device_info share_info'),
    ('nova.virt.libvirt.driver.LibvirtDriver._get_guest_config',
     'self instance network_info image_meta'),
    ('nova.virt.libvirt.driver.LibvirtDriver._check_emulation_arch',
     'self image_meta'),
    ('nova.virt.libvirt.driver.LibvirtDriver._get_guest_cpu_config',
     'self flavor image_meta guest_cpu_numa_config instance_numa_topology'),
    ('nova.virt.libvirt.utils.get_machine_type', 'image_meta'),
    ('nova.virt.libvirt.driver.LibvirtDriver._create_guest',
     'self context xml instance'),
    ('nova.virt.libvirt.driver.LibvirtDriver.migrate_disk_and_power_off',
     'self context instance dest flavor network_info block_device_info '
     'timeout retry_interval'),
    ('nova.virt.libvirt.driver.LibvirtDriver.'
     'check_can_live_migrate_destination',
     'self context instance src_compute_info dst_compute_info '
     'block_migration disk_over_commit'),
    ('nova.virt.libvirt.driver.LibvirtDriver._live_migration_operation',
     'self context instance dest block_migration migrate_data guest '
     'device_names'),
    ('nova.virt.libvirt.driver.LibvirtDriver.'
     'post_live_migration_at_destination',
     'self context instance network_info block_migration '
     'block_device_info'),
    ('nova.virt.libvirt.migration.get_updated_guest_xml',
     'instance guest migrate_data'),
    ('nova.virt.libvirt.host.Host.get_guest', 'self instance'),
    ('nova.virt.libvirt.host.Host.list_guests', 'self'),
    ('nova.virt.libvirt.host.Host._wrap_libvirt_proxy', 'self obj'),
    ('nova.virt.libvirt.guest.Guest.get_power_state', 'self host'),
    ('nova.virt.libvirt.host.Host.get_connection', 'self'),
    # Nova 31 and 32 have the queue in the host itself.
    ('nova.virt.libvirt.host.LibvirtEventHandler._queue_event|'
     'nova.virt.libvirt.host.Host._queue_event', 'self event'),
    ('nova.virt.libvirt.host.Host.get_capabilities', 'self'),
    ('nova.virt.libvirt.guest.Guest.attach_device',
     'self conf persistent live'),
    ('nova.virt.libvirt.guest.Guest.get_xml_desc', 'self dump_inactive'),
    ('nova.virt.libvirt.guest.Guest.is_active', 'self'),
    ('nova.virt.libvirt.config.LibvirtConfigGuest.add_device', 'self dev'),
    ('nova.compute.manager.wrap_exception', ''),
    ('nova.compute.manager.reverts_task_state', 'function'),
    ('nova.compute.manager.wrap_instance_fault', 'function'),
    ('nova.compute.manager.ComputeManager._instance_update',
     'self context instance'),
    ('nova.rpc.if_notifications_enabled', 'f'),
    ('nova.notifications.objects.base.EventType.__init__',
     'self object action phase'),
    ('nova.notifications.objects.base.NotificationPublisher.__init__',
     'self host source'),
    ('nova.notifications.objects.base.NotificationBase.emit',
     'self context'),
    ('nova.notifications.objects.instance.InstanceActionPayload.__init__',
     'self context instance fault'),
    ('nova.notifications.objects.exception.ExceptionPayload.from_exception',
     'fault'),
    ('nova.objects.base.NovaObjectRegistry.register_notification',
     'notification_cls'),
    ('nova.objects.InstanceActionEvent.create',
     'self instance_uuid request_id'),
    ('nova.compute.utils.wrap_instance_event', 'prefix'),
    ('nova.compute.utils.EventReporter.__init__', 'self context event_name '
     'host'),
    ('nova.compute.resource_tracker.ResourceTracker.disabled',
     'self nodename'),
    ('nova.compute.resource_tracker.ResourceTracker._get_usage_dict',
     'self object_or_dict instance'),
    ('nova.compute.resource_tracker.ResourceTracker._update_usage',
     'self usage nodename sign'),
    ('nova.compute.resource_tracker.ResourceTracker._update',
     'self context compute_node'),
)

_API: _Callables = (
    *_SHARED,
    ('nova.compute.api.check_instance_host', 'check_is_up'),
    ('nova.compute.api.API.get_all',
     'self context search_opts limit marker expected_attrs'),
    ('nova.api.openstack.common.get_limit_and_marker', 'request'),
    ('nova.api.openstack.common.ViewBuilder._get_collection_links',
     'self request items collection_name id_key'),
    ('nova.compute.instance_list.get_instance_objects_sorted',
     'ctx filters limit marker expected_attrs sort_keys sort_dirs'),
    ('nova.api.validation.extra_specs.base.ExtraSpecValidator.validate',
     'self name value'),
    ('nova.api.openstack.common.get_instance',
     'compute_api context instance_id expected_attrs'),
    ('nova.api.openstack.common.'
     'raise_http_conflict_for_instance_invalid_state', 'exc action server_id'),
    ('nova.api.openstack.compute.routes.APIRouterV21.__init__',
     'self custom_routes'),
    ('nova.api.openstack.wsgi.Resource.__init__', 'self controller'),
    ('nova.api.openstack.wsgi.Resource.register_subcontroller_actions',
     'self sub_controller'),
    ('nova.api.openstack.wsgi.action', 'name'),
    ('nova.api.openstack.wsgi.response', 'code'),
    ('nova.api.openstack.wsgi.expected_errors', 'errors'),
    ('nova.api.validation.schema', 'request_body_schema'),
    ('nova.api.validation.query_schema', ''),
    ('nova.limit.placement._get_enforcer', 'context project_id'),
    ('nova.limit.utils.use_unified_limits', ''),
    ('nova.limit.utils.should_enforce', 'exc'),
    ('nova.objects.quotas.ids_from_instance', 'context instance'),
    ('nova.objects.Quotas.check_deltas',
     'context deltas user_id check_project_id check_user_id'),
    ('nova.objects.ImageMeta.from_image_ref',
     'context image_api image_ref'),
    ('nova.context.RequestContext.can', 'self action target fatal'),
    ('nova.api.openstack.api_version_request.is_supported',
     'req'),
    ('nova.servicegroup.api.API.service_is_up', 'self member'),
    ('nova.objects.RequestSpec.get_by_instance_uuid',
     'context instance_uuid'),
    ('nova.objects.Flavor.get_by_flavor_id',
     'context flavor_id read_deleted'),
    ('nova.policies.base.list_rules', ''),
    ('nova.policies.migrate_server.list_rules', ''),
    ('nova.rpc.get_client', 'target serializer'),
    ('nova.rpc.ClientRouter.client', 'self context'),
)


class NovaHasChanged(SystemExit):
    """This package does not work with the Nova that is installed."""


def require_for_compute() -> None:
    """Refuse to start nova-compute where Nova has changed too much.

    :raises NovaHasChanged: if it has
    """
    _require(compute_changes())


def require_for_api() -> None:
    """Refuse to start nova-api where Nova has changed too much.

    :raises NovaHasChanged: if it has
    """
    _require(api_changes())


def compute_changes() -> Iterator[str]:
    """Say what is gone of that which nova-compute uses.

    :returns: one sentence for each thing; none where all is there
    """
    yield from _changes(_COMPUTE)
    for name, defaults in _CONFIG_FIELDS:
        path = 'nova.virt.libvirt.config.' + name
        config = _find(path)
        fields = vars(config()) if config else {}
        for field, default in defaults.items():
            if field not in fields:
                yield 'Nova has no %s.%s' % (path, field)
            elif fields[field] != default:
                yield '%s.%s of Nova is %r at first, and not %r' % (
                    path, field, fields[field], default)


def api_changes() -> Iterator[str]:
    """Say what is gone of that which nova-api uses.

    :returns: one sentence for each thing; none where all is there
    """
    return _changes(_API)


def _require(changes: Iterator[str]) -> None:
    for change in changes:
        sentence = 'nova-memhotplug does not work with Nova %s: %s.' % (
            metadata.version('nova'), change)
        LOG.critical(sentence)
        raise NovaHasChanged(sentence)


def _changes(callables: _Callables) -> Iterator[str]:
    # Nova's objects are attributes of their package only then.
    importlib.import_module('nova.objects').register_all()
    for path, wanted in callables:
        yield from _change(path, wanted)
    for name, wanted in EXCEPTIONS:
        yield from _change('nova.exception.' + name, wanted)
    for name, wanted in _OBJECT_FIELDS:
        fields = getattr(_find('nova.objects.' + name), 'fields', ())
        for field in wanted.split():
            if field not in fields:
                yield 'Nova has no nova.objects.%s.%s' % (name, field)


def _change(path: str, wanted: str) -> Iterator[str]:
    """Say what is gone of a callable."""
    path, _or, earlier = path.partition('|')
    found = _find(path) or _find(earlier)
    if not callable(found):
        yield 'Nova has no %s' % path
        return
    parameters = inspect.signature(found).parameters
    # What is decorated may show that it takes anything.
    if any(parameter.kind is parameter.VAR_KEYWORD
           for parameter in parameters.values()):
        return
    for name in wanted.split():
        if name not in parameters:
            yield '%s of Nova takes (%s), and no %s' % (
                path, ', '.join(parameters), name)


def _find(path: str) -> ty.Any:
    """Find what a dotted path names, wherever the module ends in it.

    :returns: None if it names nothing
    """
    parts = path.split('.')
    for end in range(len(parts) - 1, 0, -1):
        try:
            found: ty.Any = importlib.import_module('.'.join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            found = getattr(found, part, None)
        return found
    return None
