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

Each failure here says in one sentence what Nova has changed. The names are in
``nova_memhotplug.common.contract``. Semantics that need running services are
pinned by the other modules of this tier: ``RESIZE_PREP`` and a restart
(``test_compute_restarts_half_way``), what ``InvalidInput`` does to a build
(``test_no_other_host_is_tried``).
"""

import dataclasses
import importlib
from importlib import metadata
import inspect
import itertools
import subprocess
import sys

import ddt
import hypothesis
from hypothesis import strategies as st
from lxml import etree
from nova.api.openstack import api_version_request
from nova.api.openstack import common
from nova.api.openstack.compute import routes
from nova.api.openstack import wsgi
from nova.api.validation.extra_specs import base as extra_specs_base
from nova.api.validation.extra_specs import validators
from nova.compute import api as compute_api
from nova.compute import instance_actions
from nova.compute import manager
from nova.compute import resource_tracker
from nova.compute import task_states
from nova.compute import utils as compute_utils
from nova.compute import vm_states
from nova import context as nova_context
from nova.db.main import models
from nova import exception
from nova import objects
from nova.objects import fields
from nova.objects import migrate_data
from nova import policies as nova_policies
from nova.policies import base as policies_base
from nova import rpc
from nova import service
from nova import test
from nova import utils as nova_utils
from nova.virt import driver as virt_driver
from nova.virt import hardware
from nova.virt.libvirt import config as vconfig
from nova.virt.libvirt import driver
from nova.virt.libvirt import guest as libvirt_guest
from nova.virt.libvirt import migration
from oslo_messaging._drivers import common as messaging_common
from oslo_serialization import jsonutils
from oslo_utils.fixture import uuidsentinel as uuids
import webob.exc

from nova_memhotplug.api import authorization
from nova_memhotplug.api import moves
from nova_memhotplug.api import planning
from nova_memhotplug.api import router
from nova_memhotplug.common import contract
from nova_memhotplug.common import nodes as compute_numa
from nova_memhotplug.common import options
from nova_memhotplug.core import compositions
from nova_memhotplug.core import errors
from nova_memhotplug.core import notes
from nova_memhotplug.core import numa


@ddt.ddt
class TestSymbols(test.NoDBTestCase):

    def test_nothing_is_gone(self):
        """What the services themselves look at when they start."""
        self.assertEqual([], list(contract.compute_changes()))
        self.assertEqual([], list(contract.api_changes()))

    @ddt.unpack
    @ddt.data(*contract.EXCEPTIONS)
    def test_exceptions(self, name, parts):
        error = getattr(exception, name)(**{
            part: 'value of ' + part for part in parts.split()})
        for part in parts.split():
            # Nova does not show what an administrator alone may know.
            if name not in ('InternalError', 'OverQuota'):
                self.assertIn(
                    'value of ' + part, error.format_message(),
                    'nova.exception.%s does not show %s.' % (name, part))

    def test_invalid_state(self):
        error = exception.InstanceInvalidState(
            attr='vm_state', instance_uuid='it', state='stopped',
            method='grow')
        caught = self.assertRaises(
            webob.exc.HTTPConflict,
            common.raise_http_conflict_for_instance_invalid_state,
            error, 'grow', 'it')
        self.assertIn('stopped', caught.explanation)


#: What the services do when they start, with a Nova that has lost something.
COMPUTE_WITHOUT = """
from nova.virt import driver
from nova.virt.libvirt import driver as libvirt_driver
del libvirt_driver.LibvirtDriver._create_guest
driver.load_compute_driver(None, 'memhotplug.MemHotplugLibvirtDriver')
"""
API_WITHOUT = """
from nova.api.openstack import wsgi
del wsgi.Resource.register_subcontroller_actions
import nova_memhotplug.api.router
"""


@ddt.ddt
class TestChangedNova(test.NoDBTestCase):

    def changes(self, module, attribute, new):
        with test.mock.patch.object(module, attribute, new):
            return list(contract.compute_changes())

    def test_gone(self):
        self.assertEqual(
            ['Nova has no nova.virt.libvirt.driver.LibvirtDriver.spawn'],
            self.changes(driver.LibvirtDriver, 'spawn', None))
        self.assertEqual(
            ['Nova has no nova.exception.ResizeError'],
            self.changes(exception, 'ResizeError', None))

    def test_other_parameters(self):
        self.assertEqual(
            ['nova.virt.hardware.format_cpu_spec of Nova takes (cpus), and '
             'no cpuset'],
            self.changes(hardware, 'format_cpu_spec', lambda cpus: None))

    def test_other_fields(self):
        self.assertEqual(
            ['Nova has no nova.objects.NUMACell.mempages'],
            self.changes(objects.NUMACell, 'fields', {
                name: field for name, field in objects.NUMACell.fields.items()
                if name != 'mempages'}))

    def test_other_default(self):
        cell = vconfig.LibvirtConfigGuestCPUNUMACell()
        cell.memory = 1
        self.assertEqual(
            ['nova.virt.libvirt.config.LibvirtConfigGuestCPUNUMACell.memory '
             'of Nova is 1 at first, and not None'],
            self.changes(
                vconfig, 'LibvirtConfigGuestCPUNUMACell', lambda: cell))

    @ddt.data(
        (COMPUTE_WITHOUT,
         'nova.virt.libvirt.driver.LibvirtDriver._create_guest'),
        (API_WITHOUT,
         'nova.api.openstack.wsgi.Resource.register_subcontroller_actions'))
    @ddt.unpack
    def test_service_does_not_start(self, script, name):
        ended = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', script],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(1, ended.returncode)
        self.assertNotIn('Traceback', ended.stderr)
        self.assertEqual(
            'nova-memhotplug does not work with Nova %s: Nova has no %s.' % (
                metadata.version('nova'), name),
            ended.stderr.splitlines()[-1])


class TestLibvirt(test.NoDBTestCase):

    def test_one_seam(self):
        """Every domain comes from the method that is overridden."""
        source = inspect.getsource(driver)
        self.assertEqual(
            1, source.count('self._get_guest_config('),
            'Nova calls _get_guest_config from more than one place.')
        self.assertIn(
            'self._get_guest_config(',
            inspect.getsource(driver.LibvirtDriver._get_guest_xml),
            'Nova does not make domain XML with _get_guest_config.')
        for method in ('spawn', '_hard_reboot', 'rescue', 'finish_migration',
                       'finish_revert_migration'):
            self.assertIn(
                'self._get_guest_xml(',
                inspect.getsource(getattr(driver.LibvirtDriver, method)),
                'LibvirtDriver.%s makes its XML in another way.' % method)

    def test_one_start(self):
        """Every guest is started by the method that is overridden."""
        source = inspect.getsource(driver)
        self.assertEqual(
            1, source.count('libvirt_guest.Guest.create('),
            'Nova defines domains in more than one place.')
        self.assertIn(
            'libvirt_guest.Guest.create(',
            inspect.getsource(driver.LibvirtDriver._create_guest),
            '_create_guest does not define the domain.')
        self.assertIn(
            'self._create_guest(', inspect.getsource(
                driver.LibvirtDriver._create_guest_with_network),
            '_create_guest_with_network starts guests in another way.')
        for method in ('spawn', '_hard_reboot', 'resume', 'rescue',
                       'unrescue', 'finish_migration',
                       'finish_revert_migration'):
            self.assertRegex(
                inspect.getsource(getattr(driver.LibvirtDriver, method)),
                r'self\._create_guest(_with_network)?\(',
                'LibvirtDriver.%s starts guests in another way.' % method)

    def test_all_stops(self):
        """Whatever stops a guest is overridden, or calls what is."""
        source = inspect.getsource(driver)
        found = sum(
            inspect.getsource(getattr(driver.LibvirtDriver, method)).count(
                'self._destroy(')
            for method in ('destroy', 'power_off', 'rescue', 'unrescue',
                           '_destroy'))
        self.assertEqual(
            source.count('self._destroy('), found,
            'Nova stops guests in a place that does not look at them first.')
        for method, call in (('_hard_reboot', 'self.destroy('),
                             ('migrate_disk_and_power_off',
                              'self.power_off(')):
            self.assertIn(
                call, inspect.getsource(
                    getattr(driver.LibvirtDriver, method)),
                'LibvirtDriver.%s stops the guest in another way.' % method)

    def test_live_migration(self):
        """One method migrates, and takes the guest's XML from its guest."""
        self.assertEqual(
            ['self', 'context', 'instance', 'dest', 'block_migration',
             'migrate_data', 'guest', 'device_names'],
            list(inspect.signature(
                driver.LibvirtDriver._live_migration_operation).parameters),
            '_live_migration_operation takes other parameters.')
        source = inspect.getsource(driver)
        self.assertEqual(
            1, source.count('.get_updated_guest_xml('),
            'Nova makes XML for a destination in more than one place.')
        self.assertIn(
            '.get_updated_guest_xml(', inspect.getsource(
                driver.LibvirtDriver._live_migration_operation),
            '_live_migration_operation makes no XML for the destination.')
        self.assertIn(
            'guest.get_xml_desc(',
            inspect.getsource(migration.get_updated_guest_xml),
            'get_updated_guest_xml does not start with the XML of the guest.')

    def test_nodes_of_destination(self):
        """By the number of the cell, as text."""
        info = migrate_data.LibvirtLiveMigrateNUMAInfo(
            cell_pins={'0': {1}, '1': {0, 2}})
        self.assertEqual({'0': {1}, '1': {0, 2}}, info.cell_pins)
        self.assertNotIn(
            'cell_pins', migrate_data.LibvirtLiveMigrateNUMAInfo())
        self.assertEqual('0,2', hardware.format_cpu_spec({0, 2}, False))
        self.assertEqual({0, 2}, hardware.parse_cpu_spec(
            hardware.format_cpu_spec({0, 2})))

    def test_domain_of_guest(self):
        domain = object()
        # Nova 31 and 32 import libvirt there, which Nova's tests forbid.
        with test.mock.patch.object(libvirt_guest, 'libvirt'):
            guest = libvirt_guest.Guest(domain)
        self.assertIs(domain, guest._domain,
                      'Guest keeps its virDomain somewhere else.')

    def test_static_traits_is_a_property(self):
        self.assertIsInstance(
            inspect.getattr_static(driver.LibvirtDriver, 'static_traits'),
            property, 'LibvirtDriver.static_traits is no property.')

    def test_image_of_instance(self):
        self.assertIsInstance(
            inspect.getattr_static(objects.Instance, 'image_meta'), property,
            'Instance.image_meta is no property.')

    def test_properties_of_image(self):
        properties = objects.ImageMetaProps()
        for name in (*compositions.IMAGE_PROPERTIES, 'hw_architecture',
                     'hw_emulation_architecture'):
            self.assertIsNone(properties.get(name))
        properties = objects.ImageMetaProps.from_dict({
            'hw_mem_encryption': 'True', 'hw_firmware_type': 'bios',
            'os_type': 'Windows'})
        self.assertIs(True, properties.hw_mem_encryption)
        self.assertEqual(compositions.BIOS, properties.hw_firmware_type)
        self.assertEqual(compositions.WINDOWS, properties.os_type)

    def test_names_of_architectures(self):
        self.assertEqual(
            set(), compositions.ARCHS_32_BIT - set(fields.Architecture.ALL),
            'Nova names some architectures differently.')

    def test_name_of_driver(self):
        with test.mock.patch(
                'nova.virt.driver.importutils.import_object') as load:
            load.return_value = test.mock.Mock(virt_driver.ComputeDriver)
            virt_driver.load_compute_driver(None, 'memhotplug.SomeDriver')
        self.assertEqual(
            'nova.virt.memhotplug.SomeDriver', load.call_args[0][0],
            'Nova does not look for drivers below nova.virt any more.')

    def _guest(self):
        guest = vconfig.LibvirtConfigGuest()
        guest.virt_type, guest.uuid, guest.name = 'qemu', uuids.guest, 'one'
        guest.os_type = 'hvm'
        return guest

    def test_ceiling_and_empty_cell(self):
        """How Nova renders what is set."""
        guest = self._guest()
        guest.max_memory_size, guest.max_memory_slots = 4096, 8
        root = guest.format_dom()
        ceiling = root.find('maxMemory')
        self.assertIsNotNone(ceiling, 'Nova renders no <maxMemory>.')
        self.assertEqual(('4096', '8'), (ceiling.text, ceiling.get('slots')))

        cell = vconfig.LibvirtConfigGuestCPUNUMACell()
        cell.id, cell.memory = 1, 0
        self.assertEqual(
            {'id': '1', 'memory': '0'}, dict(cell.format_dom().attrib),
            'Nova renders a cell without CPUs in another way.')

    def test_device_with_another_element(self):
        """add_device takes anything that has a format_dom()."""
        class Emulator(vconfig.LibvirtConfigGuestDevice):
            def format_dom(self):
                return etree.Element('emulator')

        guest = self._guest()
        guest.add_device(Emulator(root_name='emulator'))
        self.assertEqual(
            ['emulator'], [e.tag for e in guest.format_dom().find('devices')],
            'LibvirtConfigGuest renders devices in another way.')


class TestCompute(test.NoDBTestCase):

    def test_resize_prep(self):
        self.assertEqual('resize_prep', task_states.RESIZE_PREP)
        self.assertIn(task_states.RESIZE_PREP, fields.InstanceTaskState.ALL,
                      'notifications do not know RESIZE_PREP.')
        self.assertEqual(
            'RESIZE', common.status_from_state(
                vm_states.ACTIVE, task_states.RESIZE_PREP),
            'a server whose memory grows does not show as RESIZE.')
        self.assertIn(
            'RESIZE_PREP', inspect.getsource(
                manager.ComputeManager._init_instance),
            'nova-compute does not clear RESIZE_PREP when it starts.')

    def test_who_else_prepares_a_resize(self):
        """Which actions of Nova's own have the task state of ours."""
        self.assertEqual(('resize', 'migrate'), (
            instance_actions.RESIZE, instance_actions.MIGRATE))
        parts = inspect.getsource(compute_api).split(
            'task_state = task_states.RESIZE_PREP')
        self.assertEqual(
            2, len(parts), 'Nova prepares a resize in more than one place.')
        for name in ('RESIZE', 'MIGRATE'):
            self.assertIn('instance_actions.%s)' % name, parts[1][:500],
                          'Nova records a resize under another name.')

    def test_manager(self):
        """The driver finds its manager, its tracker and its client."""
        compute = test.mock.Mock()
        self.assertIs(compute, manager.ComputeVirtAPI(compute)._compute,
                      'ComputeVirtAPI keeps its manager somewhere else.')
        source = inspect.getsource(manager.ComputeManager.__init__)
        for name in ('reportclient', 'rt', 'driver'):
            self.assertIn('self.%s = ' % name, source,
                          'ComputeManager has no %s.' % name)

    def test_endpoints_are_read_after_init_host(self):
        source = inspect.getsource(service.Service.start)
        self.assertLess(
            source.index('self.manager.init_host('),
            source.index('additional_endpoints'),
            'Service.start collects endpoints before init_host.')

    def test_lock_of_an_instance(self):
        """The name under which Nova itself locks an instance."""
        self.assertIn(
            '@utils.synchronized(instance.uuid)',
            inspect.getsource(manager.ComputeManager.terminate_instance),
            'nova-compute locks an instance under another name.')

    def test_system_metadata(self):
        """How much room a value has, and that it is loaded for the API."""
        (length,) = {
            column.type.length for column in
            models.InstanceSystemMetadata.__table__.columns
            if column.name == 'value'}
        self.assertGreaterEqual(length, notes.MAX_LENGTH)
        self.assertIn(
            "'system_metadata'", inspect.getsource(compute_api.API.get),
            'nova-api does not load the system metadata of servers.')
        self.assertFalse(
            notes.KEY.startswith(nova_utils.SM_IMAGE_PROP_PREFIX),
            'a rebuild would remove the note.')

    def test_resource_tracker(self):
        self.assertEqual(
            'compute_resources', resource_tracker.COMPUTE_RESOURCE_SEMAPHORE)
        tracker = resource_tracker.ResourceTracker(
            'host', test.mock.Mock(), test.mock.Mock())
        self.assertEqual(({}, set(), {}), (
            tracker.compute_nodes, tracker.tracked_instances,
            tracker.tracked_migrations),
            'ResourceTracker keeps its books somewhere else.')
        source = inspect.getsource(
            resource_tracker.ResourceTracker.update_available_resource)
        self.assertNotIn(
            'synchronized', source, 'the driver is asked for resources while '
            'the tracker is locked: the reconciler would wait for itself.')

    def test_errors_that_cross_the_wire(self):
        self.assertIn('nova.exception', rpc.ALLOWED_EXMODS)

    def test_what_an_error_carries_over_the_wire(self):
        """More than its sentence: why a host refuses to settle books."""
        try:
            raise exception.ResizeError(reason='why', refusal='code')
        except exception.ResizeError:
            sent = messaging_common.serialize_remote_exception(
                sys.exc_info())
        caught = messaging_common.deserialize_remote_exception(
            sent, rpc.ALLOWED_EXMODS)
        self.assertIsInstance(caught, exception.ResizeError)
        self.assertEqual(('why', 'code'), (
            caught.kwargs['reason'], caught.kwargs['refusal']))

    def _endpoint(self, failure):
        class Endpoint:
            host = 'this-host'
            updates = []

            def _instance_update(self, context, instance, **kwargs):
                self.updates.append(kwargs)

            @manager.reverts_task_state
            @compute_utils.wrap_instance_event(prefix='compute')
            @manager.wrap_instance_fault
            def grow(self, context, instance, memory_mb):
                raise failure

        return Endpoint()

    def _grow(self, failure):
        endpoint = self._endpoint(failure)
        instance = test.mock.MagicMock(uuid=uuids.instance)
        instance.__getitem__ = lambda this, name: getattr(this, name)
        with test.mock.patch.object(
            compute_utils, 'EventReporter') as reporter, \
            test.mock.patch.object(
                compute_utils, 'add_instance_fault_from_exc') as fault:
            reporter.return_value.__exit__.return_value = False
            self.assertRaises(
                type(failure), endpoint.grow,
                nova_context.get_admin_context(), instance=instance,
                memory_mb=1)
        return endpoint, reporter, fault

    def test_decorators_of_the_manager(self):
        """They work on an object that is no ComputeManager."""
        failure = exception.ResizeError(reason='why')
        endpoint, reporter, fault = self._grow(failure)
        self.assertEqual([{'task_state': None}], endpoint.updates,
                         'reverts_task_state does not revert.')
        self.assertEqual(
            ('compute_grow', 'this-host', uuids.instance),
            reporter.call_args[0][1:],
            'wrap_instance_event records something else.')
        self.assertIs(failure, fault.call_args[0][2],
                      'wrap_instance_fault records something else.')

    def test_preempted_task(self):
        """A task state that is somebody else's is left alone."""
        endpoint, _reporter, _fault = self._grow(
            exception.UnexpectedDeletingTaskStateError(
                instance_uuid='it', expected={}, actual={}))
        self.assertEqual([], endpoint.updates)


class TestGuards(test.NoDBTestCase):
    """What Nova's own guards refuse, our list of refusals refuses."""

    class API:
        def __init__(self):
            self.servicegroup_api = test.mock.Mock()

        @compute_api.check_instance_lock
        @compute_api.check_instance_host(check_is_up=True)
        @compute_api.check_instance_state(vm_state=[vm_states.ACTIVE])
        def grow(self, context, instance):
            return 'done'

    def setUp(self):
        super().setUp()
        self.api = self.API()
        self.user = nova_context.RequestContext('user', 'project')
        self.one = test.mock.Mock(
            uuid=uuids.one, locked=False, host='host', task_state=None,
            vm_state=vm_states.ACTIVE, launched_at='then',
            services=[test.mock.Mock(binary='nova-compute')])

    def codes(self, context):
        return [refusal.code for refusal in planning.Inquiry(
            context, self.one, None, self.api.servicegroup_api).standing()]

    def assert_allowed(self, context):
        self.assertEqual('done', self.api.grow(context, self.one))
        self.assertEqual([], self.codes(context))

    def assert_refused(self, error, code):
        self.assertRaises(error, self.api.grow, self.user, self.one)
        self.assertEqual([code], self.codes(self.user))

    def test_allowed(self):
        self.assert_allowed(self.user)

    def test_locked(self):
        self.one.locked = True
        self.assert_refused(exception.InstanceIsLocked, 'locked')
        self.assert_allowed(nova_context.get_admin_context())

    def test_busy(self):
        self.one.task_state = task_states.RESIZE_PREP
        self.assert_refused(exception.InstanceInvalidState, 'busy')

    def test_not_active(self):
        self.one.vm_state = vm_states.PAUSED
        self.assert_refused(exception.InstanceInvalidState, 'not_active')

    def test_never_launched(self):
        self.one.launched_at = None
        self.assert_refused(exception.InstanceInvalidState, 'never_started')

    def test_without_host(self):
        self.one.host = None
        self.assert_refused(exception.InstanceNotReady, 'never_started')

    def test_host_down(self):
        self.api.servicegroup_api.service_is_up.return_value = False
        self.assert_refused(exception.ServiceUnavailable, 'host_down')


class TestNuma(test.NoDBTestCase):
    """What Nova keeps of the nodes of servers and hosts."""

    def flavor(self, **extra_specs):
        return objects.Flavor(
            memory_mb=1024, vcpus=2, extra_specs=extra_specs)

    def constraints(self, flavor):
        return hardware.numa_get_constraints(
            flavor, objects.ImageMeta.from_dict({}))

    def test_even_cells(self):
        topology = self.constraints(self.flavor(**{'hw:numa_nodes': '2'}))
        self.assertEqual(
            [512, 512], [cell.memory for cell in topology.cells],
            'Nova does not divide memory evenly among nodes.')
        self.assertIsNone(self.constraints(self.flavor()))

    def test_named_cells(self):
        extra_specs = {
            'hw:numa_nodes': '2',
            'hw:numa_cpus.0': '0', numa.CELL_MEMORY % 0: '256',
            'hw:numa_cpus.1': '1', numa.CELL_MEMORY % 1: '768'}
        topology = self.constraints(self.flavor(**extra_specs))
        self.assertEqual(
            [256, 768], [cell.memory for cell in topology.cells])
        extra_specs[numa.CELL_MEMORY % 1] = '640'
        self.assertRaises(
            exception.ImageNUMATopologyMemoryOutOfRange, self.constraints,
            self.flavor(**extra_specs))

    def test_page_sizes(self):
        """A size that was asked for by name is negative until it is found."""
        for name in ('small', 'large', 'any'):
            topology = self.constraints(
                self.flavor(**{'hw:mem_page_size': name}))
            self.assertGreater(0, topology.cells[0].pagesize, name)

    def test_pages(self):
        pages = objects.NUMAPagesTopology(
            size_kb=2048, total=10, used=3, reserved=2)
        self.assertEqual(
            (10 * 2048, 5 * 2048), (pages.total_kb, pages.free_kb))

    def test_tracker(self):
        """The lock under which nodes are claimed, and that they follow the
        usage of a server.
        """
        usage = inspect.getsource(
            resource_tracker.ResourceTracker._get_usage_dict)
        self.assertIn("'numa_topology'", usage,
                      'the usage of a server is without its nodes.')
        self.assertIn(
            'numa_usage_from_instance_numa', inspect.getsource(
                resource_tracker.ResourceTracker._update_usage),
            'ResourceTracker._update_usage leaves the nodes alone.')


#: What a node has, and what a server wants of it, in MiB. Sizes are whole
#: memory blocks, as a resize makes them.
TOTALS = st.integers(1, 64).map(lambda count: count * 128)
PARTS = st.integers(1, 24).map(lambda count: count * 128)
ROOM_SETTINGS = hypothesis.settings(
    max_examples=150, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(hypothesis.HealthCheck))
POLICIES = (None, fields.CPUAllocationPolicy.SHARED,
            fields.CPUAllocationPolicy.DEDICATED,
            fields.CPUAllocationPolicy.MIXED)


@dataclasses.dataclass(frozen=True)
class Room:
    """A server on a node of a host; sizes in MiB.

    :param pages: what the node has of each size of pages in KiB: all, used
        by others, reserved
    """

    memory_mb: int
    others_mb: int
    pages: dict[int, tuple[int, int, int]]
    policy: str | None
    page_kib: int | None
    ratio: float
    present_mb: int
    added_mb: int

    def host(self):
        """Make the host, with what others have there."""
        cpus = set(range(8))
        pages = [
            objects.NUMAPagesTopology(
                size_kb=size_kib, total=total_mb * 1024 // size_kib,
                used=used_mb * 1024 // size_kib,
                reserved=reserved_mb * 1024 // size_kib)
            for size_kib, (total_mb, used_mb, reserved_mb)
            in self.pages.items()]
        return objects.NUMATopology(cells=[objects.NUMACell(
            id=0, cpuset=cpus, pcpuset=cpus, memory=self.memory_mb,
            cpu_usage=0, memory_usage=self.others_mb, pinned_cpus=set(),
            siblings=[{cpu} for cpu in cpus], mempages=pages, socket=0)])

    def server(self, memory_mb):
        """Make the server with so much."""
        cell = objects.InstanceNUMACell(
            id=0, cpuset={0}, pcpuset=set(), memory=memory_mb,
            pagesize=self.page_kib, cpu_policy=self.policy,
            cpu_topology=None)
        if self.policy == fields.CPUAllocationPolicy.DEDICATED:
            cell.cpuset, cell.pcpuset = set(), {0}
        elif self.policy == fields.CPUAllocationPolicy.MIXED:
            cell.pcpuset = {1}
        return objects.InstanceNUMATopology(cells=[cell])

    def fits(self, host):
        """Ask Nova whether all of the server fits onto a host."""
        return hardware.numa_fit_instance_to_host(
            host, self.server(self.present_mb + self.added_mb), {},
            limits=objects.NUMATopologyLimits(
                cpu_allocation_ratio=16.0,
                ram_allocation_ratio=self.ratio)) is not None

    def has_room(self, host):
        """Ask ourselves whether it can grow there."""
        node = objects.ComputeNode(
            numa_topology=host._to_json(), ram_allocation_ratio=self.ratio)
        try:
            compute_numa.check_room(
                node, self.server(self.present_mb),
                [self.present_mb + self.added_mb])
        except errors.HostNodeFull as full:
            assert full.free_mb < self.added_mb, full
            return False
        return True


def pages_of(*sizes_kib):
    """Make pages of these sizes: all of them, those in use and reserved."""
    return st.fixed_dictionaries({
        size_kib: st.tuples(TOTALS, PARTS, st.sampled_from((0, 128)))
        for size_kib in sizes_kib})


def rooms(policy, page_kib):
    """Make servers of one kind on all kinds of hosts."""
    return st.builds(
        Room, memory_mb=TOTALS, others_mb=PARTS,
        pages=st.one_of(pages_of(), pages_of(4), pages_of(4, 2048)),
        policy=st.just(policy), page_kib=st.just(page_kib),
        ratio=st.sampled_from((0.9, 1.0, 1.5, 16.0)),
        present_mb=PARTS, added_mb=PARTS)


@ddt.ddt
class TestRoom(test.NoDBTestCase):
    """A server grows where Nova would put it, were it larger."""

    @ddt.data(*itertools.product(POLICIES, (None, 4, 2048)))
    @ddt.unpack
    def test_agrees_with_nova(self, policy, page_kib):
        found = set()

        @ROOM_SETTINGS
        @hypothesis.given(rooms(policy, page_kib))
        def check(room):
            without = room.host()
            present = room.server(room.present_mb)
            expected = room.fits(without)
            self.assertEqual(expected, room.has_room(
                self._claimed(without, present)), room)
            found.add(expected)

        check()
        # Nova has said yes and no.
        self.assertEqual({True, False}, found)

    @staticmethod
    def _claimed(host, server):
        """Let Nova claim what a server has, as its resource tracker does."""
        if host.cells[0].mempages:
            return hardware.numa_usage_from_instance_numa(host, server)
        # Nova does not count on hosts that do not tell of their pages.
        host.cells[0].memory_usage += server.cells[0].memory
        return host


class TestApi(test.NoDBTestCase):

    def test_actions_share_one_resource(self):
        """One registration covers both URL forms."""
        mapper = routes.APIRouterV21().map
        actions = [route for route in mapper.matchlist
                   if route.routepath.endswith(router.ACTION_ROUTE)]
        self.assertEqual(
            2, len(actions), 'server actions have other URLs: %s' % [
                route.routepath for route in actions])
        (resource,) = {route.defaults['controller'] for route in actions}
        self.assertIsInstance(resource, wsgi.Resource)
        self.assertIn('reboot', resource.wsgi_actions)
        self.assertNotIn('resizeMemory', resource.wsgi_actions,
                         'Nova itself has an action resizeMemory now.')

    def test_nova_has_no_such_path(self):
        paths = [path for path, _methods in routes.ROUTE_LIST]
        for path, _methods in router.ROUTES:
            self.assertNotIn(path, paths)

    def test_ours(self):
        mapper = router.APIRouter().map
        for prefix in ('', '/' + uuids.project.replace('-', '')):
            for method, path in (('GET', 'os-memory'), ('POST', 'action')):
                match = mapper.match(
                    '%s/servers/%s/%s' % (prefix, uuids.server, path),
                    environ={'REQUEST_METHOD': method})
                self.assertIsNotNone(match, (prefix, path))

    def test_personas(self):
        names = {rule.name for rule in policies_base.list_rules()}
        for name in ('project_reader_or_admin', 'project_member_or_admin'):
            self.assertIn(name, names, 'Nova has no rule %s.' % name)

    def test_rules_of_moves(self):
        """With all that can be asked for, in the newest microversion."""
        names = {rule.name for rule in nova_policies.list_rules()}
        request = wsgi.Request.blank('/')
        request.api_version_request = (
            api_version_request.max_api_version())
        for action in moves.MOVES:
            for wanted in ({}, {'host': 'there',
                                'trusted_image_certificates': []}):
                rules = list(authorization.nova_rules(
                    request, action, wanted))
                self.assertTrue(rules, action)
                for name in rules:
                    self.assertIn(name, names, 'Nova has no rule %s.' % name)

    def test_moves(self):
        """What is called instead of Nova's methods looks the same to the
        resource that calls it.
        """
        stock = self._actions(routes.APIRouterV21())
        ours = self._actions(router.APIRouter())
        for name in moves.MOVES:
            self.assertIn(name, stock, 'Nova has no action %s.' % name)
            self.assertIsNot(stock[name], ours[name])
            for attribute in set(vars(stock[name].__func__)) - {
                    '__wrapped__'}:
                self.assertTrue(
                    hasattr(ours[name], attribute), (name, attribute))
        unchanged = set(stock) - set(moves.MOVES)
        self.assertEqual(
            {name: self._function(stock[name]) for name in unchanged},
            {name: self._function(ours[name]) for name in unchanged})
        self.assertEqual({'resizeMemory'}, set(ours) - set(stock))

    def test_no_other_action_asks_the_scheduler(self):
        """A move under a new name would not be prepared."""
        self.assertEqual(
            {'unshelve', 'evacuate', 'rebuild', 'resize', 'live_migrate',
             'revert_resize'},
            {name for name, method in inspect.getmembers(
                compute_api.API, inspect.isfunction)
             if not name.startswith('_') and
             'RequestSpec.get_by_instance_uuid' in inspect.getsource(
                 inspect.unwrap(method))},
            'Nova has other moves than those that api.moves prepares.')

    @staticmethod
    def _function(action):
        # Nova 31 has one that is no method, and another one each time.
        return getattr(action, '__func__', None)

    @staticmethod
    def _actions(api):
        for route in api.map.matchlist:
            if route.routepath.endswith(router.ACTION_ROUTE):
                return route.defaults['controller'].wsgi_actions

    def test_extra_spec_validator(self):
        validator = extra_specs_base.ExtraSpecValidator(
            name='memhotplug:slots', description='some',
            value={'type': int, 'min': 1, 'max': 255, 'description': 'some'})
        validator.validate('memhotplug:slots', '255')
        self.assertRaises(exception.ValidationError, validator.validate,
                          'memhotplug:slots', '256')

    def test_namespace_of_validators(self):
        self.assertIn(
            "'nova.api.extra_spec_validators'",
            inspect.getsource(validators.load_validators),
            'Nova looks for extra spec validators in another namespace.')
        self.assertIn('memhotplug:slots', validators.VALIDATORS,
                      'the plugin is not installed, or not found by Nova.')


class TestStoredFlavor(test.NoDBTestCase):

    def test_extra_specs_count_as_changed(self):
        """Why whoever has read a server writes its flavor, too.

        If this fails, a flavor that is stored without changes would stay as
        it is, and need not be looked at again (decisions.rst, "When the
        books are compared").
        """
        stored = objects.Flavor(
            id=1, name='elastic', memory_mb=512, vcpus=1, root_gb=1,
            ephemeral_gb=0, flavorid='1', swap=0, rxtx_factor=1.0,
            vcpu_weight=0, disabled=False, is_public=True,
            extra_specs={'memhotplug:max_memory_mb': '4096'})
        stored.obj_reset_changes(recursive=True)
        instance = objects.Instance(uuid=uuids.server)
        instance._flavor_from_db(jsonutils.dumps(
            {'cur': stored.obj_to_primitive(), 'old': None, 'new': None}))
        self.assertIn(
            'flavor', instance.obj_what_changed(),
            'Nova takes a stored flavor for unchanged now.')


class TestOptions(test.NoDBTestCase):

    def test_registered(self):
        """Each module that reads an option sees to it that it is there."""
        for name in ('common.specs', 'compute.reconcile', 'virt.destination',
                     'virt.driver'):
            module = importlib.import_module('nova_memhotplug.' + name)
            self.assertIs(options.CONF, module.CONF, name)
