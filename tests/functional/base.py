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

"""A cloud of one host with the plugin, on Nova's own fixtures."""

import copy
import datetime
import threading
import warnings

from nova import conf as nova_conf
from nova import context as nova_context
from nova.db.main import api as db_api
from nova.db.main import models
from nova import objects
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.api import client
from nova.tests.functional.libvirt import base
# Loaded here: in a test, Nova forbids what tries to import libvirt.
import nova.virt.memhotplug  # noqa: F401
from oslo_serialization import jsonutils
from oslo_utils.fixture import uuidsentinel as uuids
from oslo_utils import uuidutils

from nova_memhotplug.api import resize
from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import notes
from tests.functional import fixtures

DRIVER = 'memhotplug.MemHotplugLibvirtDriver'
STOCK_DRIVER = 'libvirt.LibvirtDriver'

#: The flavor ``elastic`` of the sandbox.
BOOT_MB = 512
CEILING_MB = 4096
SLOTS = 8
ELASTIC = {
    'memhotplug:max_memory_mb': str(CEILING_MB),
    'memhotplug:slots': str(SLOTS),
    'trait:CUSTOM_MEMORY_HOTPLUG': 'required',
}

MEMORY_DEVICE = """\
<memory model="dimm">
  <target><size unit="KiB">%d</size><node>1</node></target>%s
</memory>"""


class MemoryTestBase(base.ServersTestBase):
    """Nova with the plugin installed as an operator installs it.

    Requests go through the paste file, Nova's router, its schema and policy
    checks; RPC goes through oslo.messaging; placement is real.
    """

    #: Casts are asynchronous, as in a real cloud.
    CAST_AS_CALL = False
    ADDITIONAL_FILTERS = ['NUMATopologyFilter']
    microversion = 'latest'

    def setUp(self):
        self.useFixture(fixtures.ProcessCachesFixture())
        self.useFixture(fixtures.ApiPasteFixture(base.CONF))
        super().setUp()
        # Nova 34 uses what SQLAlchemy 2.1 wants to remove one day.
        warnings.filterwarnings('ignore', message='The noload')
        # Placement's fixture turns this off for everybody.
        self.flags(enforce_new_defaults=True, group='oslo_policy')
        self.policy = self.useFixture(nova_fixtures.RealPolicyFixture())
        self.ctxt = nova_context.get_admin_context()
        self.memory_libvirt = self.useFixture(
            fixtures.MemoryLibvirtFixture())
        # Nobody waits for that look, and a test may be over before it.
        self.stub_out('nova_memhotplug.compute.resize.SECONDS_AFTER', 0)
        # No guest has statistics, so none is followed for them.
        self.flags(mem_stats_period_seconds=0, group='libvirt')
        self.addCleanup(self._forget_requests)
        self.flags(shim_directory=self.memory_libvirt.shim_directory,
                   group='memhotplug')
        self.flags(weight_classes=[], group='filter_scheduler')
        self.start_compute('compute1', self.host_info())

    def _forget_requests(self):
        """Have nobody follow a guest of this test after it."""
        for compute in self.computes.values():
            reconciler = getattr(compute.driver, '_reconciler', None)
            if reconciler is not None:
                reconciler._sweep._follower._requests.clear()

    def host_info(self):
        """Describe the host: 2 NUMA nodes, 8 CPUs, 16 GiB."""
        return None

    def _setup_compute_service(self):
        self.flags(compute_driver=DRIVER)

    def start_compute(self, hostname='compute1', *args, **kwargs):
        """Start a compute service to which servers can migrate."""
        super().start_compute(hostname, *args, **kwargs)
        self.memory_libvirt.domain.hosts[hostname] = (
            self.computes[hostname].driver._host.get_connection())
        return hostname

    # What Nova's own helpers can do since Nova 33

    def _live_migrate(self, server, migration_expected_state='completed',
                      server_expected_state='ACTIVE', api=None, host=None):
        (api or self.api).post_server_action(server['id'], {
            'os-migrateLive': {'host': host, 'block_migration': 'auto'}})
        self._wait_for_migration_status(server, [migration_expected_state])
        return self._wait_for_state_change(server, server_expected_state)

    def _migrate_server(self, server, host=None, api=None):
        (api or self.api).post_server_action(
            server['id'], {'migrate': {'host': host} if host else None})
        return self._wait_for_state_change(server, 'VERIFY_RESIZE')

    # What a tenant does

    def create_flavor(self, extra_specs=None, memory_mb=BOOT_MB, vcpu=2):
        """Create a flavor, as an administrator."""
        return self._create_flavor(
            memory_mb=memory_mb, vcpu=vcpu, disk=1, ephemeral=0,
            extra_spec=extra_specs or None)

    def create_image(self, properties):
        """Create an image with these properties."""
        image = copy.deepcopy(self.glance.image1)
        image['id'] = uuidutils.generate_uuid()
        image['properties'].update(properties)
        return self.glance.create(None, image)['id']

    def boot(self, extra_specs=None, memory_mb=BOOT_MB, vcpu=2,
             properties=None, expected_state='ACTIVE'):
        """Boot a server of a new flavor with these extra specs."""
        image = self.create_image(properties) if properties else None
        return self._create_server(
            image_uuid=image, networks='none', expected_state=expected_state,
            flavor_id=self.create_flavor(extra_specs, memory_mb, vcpu))

    def boot_elastic(self, **more):
        """Boot a server of the flavor ``elastic``."""
        return self.boot(dict(ELASTIC, **more))

    def call(self, api, method, server_id, path, body=None):
        """Make one API call; return its status and its decoded body."""
        relative = 'servers/%s/%s' % (server_id, path)
        if method == 'GET':
            response = api.api_request(relative)
        else:
            response = api.api_request(
                relative, method=method, body=jsonutils.dumps(body))
        return response.status_code, client.APIResponse(response).body

    def show(self, server, memory_mb=None, api=None):
        """GET os-memory."""
        query = '' if memory_mb is None else '?memory_mb=%s' % memory_mb
        return self.call(
            api or self.api, 'GET', server['id'], 'os-memory' + query)

    def show_guest(self, server, api=None):
        """GET os-memory, and have the guest asked; return its words."""
        status, body = self.call(
            api or self.api, 'GET', server['id'], 'os-memory?guest=true')
        self.assertEqual(200, status, body)
        return body['memory']['guest']

    def resize(self, server, memory_mb, api=None):
        """POST resizeMemory."""
        return self.call(
            api or self.api, 'POST', server['id'], 'action',
            {'resizeMemory': {'memory_mb': memory_mb}})

    def outcome(self, server):
        """What is on record of what the guest made of its last resize.

        :returns: verdict, MiB, of how many, evidence, and whether it is final
        """
        outcome = self.show(server)[1]['memory']['last_resize']['outcome']
        self.assertIsNotNone(outcome.pop('time'))
        return tuple(outcome.values())

    def plan(self, server, memory_mb, api=None):
        """GET os-memory with a total: the document, its plan, the codes."""
        status, body = self.show(server, memory_mb, api)
        self.assertEqual(200, status, body)
        memory = body['memory']
        codes = [reason['code'] for reason in memory['plan']['reasons']]
        self.assertEqual(not codes, memory['plan']['possible'])
        return memory, memory['plan'], codes

    def grow(self, server, memory_mb):
        """Resize, and wait for the end of it, whatever that is."""
        status, body = self.resize(server, memory_mb)
        self.assertEqual(202, status, body)
        self.wait_idle(server)
        return body

    def wait_idle(self, server):
        """Wait until nothing is going on with a server."""
        return self._wait_for_server_parameter(
            server, {'OS-EXT-STS:task_state': None})

    def other_project(self, roles=('reader', 'member')):
        """Return a client of somebody else."""
        other = client.TestOpenStackClient(
            'somebody-else', self.api_fixture.base_url,
            project_id=uuids.other_project, roles=list(roles))
        other.microversion = self.microversion
        return other

    # What there is to see

    def instance(self, server):
        """Return Nova's record of a server."""
        return objects.Instance.get_by_uuid(self.ctxt, server['id'])

    def allocation(self, server):
        """Return what a server has allocated in placement, in MiB."""
        (allocation,) = self._get_allocations_by_server_uuid(
            server['id']).values()
        return allocation['resources']['MEMORY_MB']

    def claimed_mb(self, server, host):
        """Return what a server has allocated on one host, in MiB."""
        allocations = self._get_allocations_by_server_uuid(server['id'])
        on_host = allocations.get(
            self.compute_rp_uuids[host], {'resources': {}})
        return on_host['resources'].get('MEMORY_MB', 0)

    def placed_mb(self, host):
        """Return what all consumers have allocated on a host, in MiB."""
        return self._get_provider_usages(
            self.compute_rp_uuids[host])['MEMORY_MB']

    def used_mb(self, host):
        """Return what the host says its servers use, in MiB."""
        node = objects.ComputeNode.get_first_node_by_host_for_old_compat(
            self.ctxt, host)
        return (node.memory_mb_used -
                nova_conf.CONF.reserved_host_memory_mb)

    def request_spec_mb(self, server):
        """Return what the next move of a server claims, in MiB."""
        return objects.RequestSpec.get_by_instance_uuid(
            self.ctxt, server['id']).flavor.memory_mb

    def fake_domain(self, server):
        """Return the domain on whatever host the server is."""
        host = self.instance(server).host
        connection = self.computes[host].driver._host.get_connection()
        return connection.lookupByUUIDString(server['id'])

    def defined_xml(self, server):
        """Return the XML that Nova wrote, byte for byte."""
        return self.fake_domain(server).defined_xml

    def guest(self, server, flags=0):
        """Return what the guest has, read from its live domain."""
        return domain.read(self.fake_domain(server).XMLDesc(flags))

    def prepare_move(self, server):
        """Ask for a migration that Nova refuses: the RequestSpec follows.

        Not while a resize waits for its confirmation: then it is Nova's.
        """
        status, body = self.call(
            self.admin_api, 'POST', server['id'], 'action',
            {'migrate': {'host': 'no-such-host'}})
        self.assertIn(status, (400, 409), body)

    def events(self, server):
        """List the resizeMemory actions of a server, newest first."""
        actions = self.admin_api.get_instance_actions(server['id'])
        return [self.admin_api.api_get(
            'servers/%s/os-instance-actions/%s' % (
                server['id'], action['request_id'])).body['instanceAction']
                for action in actions if action['action'] == 'resizeMemory']

    def state(self, server):
        """Everything a refused request must leave alone."""
        instance = self.instance(server)
        flavor = instance.flavor
        fake = self.fake_domain(server) if instance.host else None
        return {
            'flavor': (flavor.memory_mb, flavor.vcpus, flavor.root_gb),
            'memory_mb': instance.memory_mb,
            'allocation': self.allocation(server),
            'task_state': instance.task_state,
            'vm_state': instance.vm_state,
            'live': fake and fake.XMLDesc(0),
            'persistent': fake and fake.XMLDesc(2),
            'actions': len(self.admin_api.get_instance_actions(
                server['id'])),
        }

    def assert_books(self, server, total_mb):
        """All books and the guest itself have the same total (T1, T4)."""
        instance = self.instance(server)
        self.assertEqual(total_mb, instance.flavor.memory_mb)
        self.assertEqual(total_mb, instance.memory_mb)
        self.assertEqual(total_mb, self.allocation(server))
        self.assertEqual(
            total_mb, self.api.get_server(server['id'])['flavor']['ram'])
        live = self.guest(server)
        self.assertEqual(total_mb, live.present_mb)
        persistent = self.guest(server, flags=2)
        self.assertEqual(total_mb, persistent.present_mb)
        self.assertEqual(
            [(dev.model, dev.size_mb, dev.node) for dev in live.devices],
            [(dev.model, dev.size_mb, dev.node)
             for dev in persistent.devices])

    def assert_details(self, server, sentence):
        """The newest action failed, and tells its owner why."""
        action = self.events(server)[0]
        self.assertEqual('Error', action['message'])
        (event,) = (event for event in action['events']
                    if event['event'] == 'compute_resize_memory')
        self.assertEqual('Error', event['result'])
        self.assertIn(sentence, event['details'])

    def assert_tried_once(self, server):
        """One host has tried to build a server, and no other one."""
        (action,) = self.admin_api.get_instance_actions(server['id'])
        events = self.admin_api.api_get(
            'servers/%s/os-instance-actions/%s' % (
                server['id'], action['request_id'])
        ).body['instanceAction']['events']
        self.assertEqual(
            1, [event['event'] for event in events].count(
                'compute__do_build_and_run_instance'))

    def note(self, server):
        """Return the note that the host has left of the guest."""
        return self.instance(server).system_metadata.get(notes.KEY)

    # What can happen on a host

    def force_down(self, host, is_down=True):
        """Tell Nova that a host is dead, or no longer."""
        (service,) = self.admin_api.get_services(
            host=host, binary='nova-compute')
        self.admin_api.put_service_force_down(service['id'], is_down)

    def take_down(self, host):
        """Let a host die."""
        self.computes[host].stop()
        self.force_down(host)

    def run_periodic_task(self, host='compute1'):
        """Run the task in which a host looks at its resources."""
        self.computes[host].manager.update_available_resource(self.ctxt)

    def grow_old(self, server, seconds):
        """Let time go by for a server, and for nothing else.

        If the clock were put forward, services would look dead to each other.
        """
        @db_api.pick_context_manager_writer
        def antedate(context, model, column, **which):
            for record in context.session.query(model).filter_by(**which):
                then = getattr(record, column) - datetime.timedelta(
                    seconds=seconds)
                context.session.query(model).filter_by(id=record.id).update(
                    {column: then})

        antedate(self.ctxt, models.InstanceAction, 'start_time',
                 instance_uuid=server['id'])
        antedate(self.ctxt, models.Instance, 'updated_at', uuid=server['id'])

    def attach_unbooked(self, server, size_mb, foreign=False):
        """Give a guest a device that the books know nothing of.

        :param server: the server
        :param size_mb: size of the device, in MiB
        :param foreign: as attached by hand, not by a resize that was cut
            short
        """
        alias = '' if foreign else (
            '<alias name="%s"/>' % device.new_alias())
        self.fake_domain(server).attachDeviceFlags(
            MEMORY_DEVICE % (size_mb * fixtures.KIB_PER_MIB, alias),
            fakelibvirt.VIR_DOMAIN_AFFECT_LIVE |
            fakelibvirt.VIR_DOMAIN_AFFECT_CONFIG)

    def claim(self, server, total_mb):
        """Set a server's allocation, and no other book, in MiB."""
        url = '/allocations/%s' % server['id']
        consumer = self.placement.get(url, version='1.28').body
        (allocation,) = consumer['allocations'].values()
        allocation['resources']['MEMORY_MB'] = total_mb
        answer = self.placement.put(url, consumer, version='1.28')
        self.assertEqual(204, answer.status, answer.body)

    def set_task_state(self, server, task_state):
        """Put a server into a task state, as nova-api does."""
        instance = self.instance(server)
        instance.task_state = task_state
        instance.save()

    def crash_before_commit(self, server, total_mb):
        """Leave what a nova-compute leaves behind that dies in a resize,
        after the attach and before the commit.
        """
        added_mb = total_mb - self.guest(server).present_mb
        self.set_task_state(server, 'resize_prep')
        self.claim(server, total_mb)
        self.attach_unbooked(server, added_mb)

    def before_start(self, what):
        """Have something happen between the checks and the resize, once."""
        start = resize.API._start
        pending = [what]

        def start_late(this, *args):
            while pending:
                pending.pop()()
            start(this, *args)

        self.stub_out('nova_memhotplug.api.resize.API._start', start_late)

    def before_attach(self, what):
        """Have something done before a memory device is attached."""
        self.memory_libvirt.domain.before_attach = staticmethod(what)

    def keep_devices(self):
        """Make the guest keep the memory that it is asked to let go of."""
        def keep(domain, alias):
            raise fixtures.libvirt_error(
                9, 'unplug of device was rejected by the guest')

        self.memory_libvirt.domain.before_detach = staticmethod(keep)

    def refuse_second_attach(self, message='only one a day'):
        """Make the hypervisor take one memory device, and no second one."""
        seen = []

        def second_fails(domain, xml):
            seen.append(xml)
            if len(seen) == 2:
                raise fixtures.libvirt_error(1, message)

        self.before_attach(second_fails)
        return seen

    def hold_attach(self):
        """Make attaching wait.

        :returns: two events: set when it waits; to be set to let it go on
        """
        waiting, go_on = threading.Event(), threading.Event()
        self.addCleanup(go_on.set)

        def wait(domain, xml):
            waiting.set()
            go_on.wait(30)

        self.before_attach(wait)
        return waiting, go_on

    def refuse_attach(self, message='not today'):
        """Make the hypervisor refuse every memory device."""
        def refuse(domain, xml):
            raise fixtures.libvirt_error(1, message)

        self.before_attach(refuse)

    def accept_attach(self):
        """Make the hypervisor take memory devices again."""
        self.before_attach(lambda domain, xml: None)

    def fill_host(self, free_mb=0, host='compute1'):
        """Leave only so much memory in placement."""
        rp_uuid = self._get_provider_uuid_by_name(host)
        inventory = self._get_provider_inventory(rp_uuid)['MEMORY_MB']
        used = self._get_provider_usages(rp_uuid)['MEMORY_MB']
        capacity = int(inventory['total'] * inventory['allocation_ratio'])
        self.assertEqual(1.0, inventory['allocation_ratio'])
        self._reserve_placement_resource(
            host, 'MEMORY_MB', capacity - used - free_mb)


class Aarch64HostMixin:
    """Hosts of aarch64, without KVM."""

    def _setup_compute_service(self):
        super()._setup_compute_service()
        # The fake host offers aarch64 guests without KVM only.
        self.flags(virt_type='qemu', group='libvirt')

    def start_compute(self, *args, **kwargs):
        """Start a compute service on an aarch64 machine."""
        self.libvirt.mock_uname.return_value = fakelibvirt.os_uname(
            'Linux', '', '5.4.0-0-generic', '', 'aarch64')
        return super().start_compute(*args, **kwargs)


class Aarch64Mixin(Aarch64HostMixin):
    """Hosts and guests of aarch64, without KVM."""

    def boot(self, *args, **kwargs):
        """Boot a server of an aarch64 image."""
        properties = {'architecture': 'aarch64',
                      'hw_firmware_type': 'uefi'}
        return super().boot(*args, properties=properties, **kwargs)
