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
"""What goes together with growth, booted and grown, and what does not."""

import json

import ddt
import fixtures
from lxml import etree
from nova import objects
from nova import test
from nova.tests.fixtures import libvirt as fakelibvirt
from oslo_utils.fixture import uuidsentinel as uuids
from oslo_utils import uuidutils

from nova_memhotplug.core import compositions
from nova_memhotplug.core import notes
from tests import documentation
from tests.functional import base

BY_NAME = {row.name: row for row in compositions.COMPOSITIONS}

UEFI_Q35 = {'hw_firmware_type': 'uefi', 'hw_machine_type': 'q35'}

#: What is refused on an x86_64 host: extra specs beside those of growth, and
#: image properties.
REFUSED_X86 = {
    'pmem': ({'hw:pmem': '1GB'}, {}),
    'mem_encryption': ({'hw:mem_encryption': 'true'}, UEFI_Q35),
    'mem_encryption by image': (
        {}, dict(UEFI_Q35, hw_mem_encryption='true')),
    'realtime': ({
        'hw:cpu_realtime': 'yes', 'hw:cpu_policy': 'dedicated',
        'hw:cpu_realtime_mask': '^1'}, {}),
    'locked_virtio_mem': ({
        'memhotplug:model': 'virtio-mem', 'hw:locked_memory': 'true',
        'hw:mem_page_size': 'small'}, {}),
    '32_bit': ({}, {'architecture': 'i686'}),
    'image_cells': ({}, {
        'hw_numa_nodes': '2', 'hw_numa_cpus.0': '0', 'hw_numa_mem.0': '256',
        'hw_numa_cpus.1': '1', 'hw_numa_mem.1': '256'}),
}

#: What is refused on an aarch64 host: options of the host, image properties.
REFUSED_ARM = {
    '32_bit': ({}, {'architecture': 'armv7l'}),
    'aarch64_bios': ({}, {
        'architecture': 'aarch64', 'hw_firmware_type': 'bios'}),
    'aarch64_mte': ({'cpu_mode': 'host-model',
                     'cpu_model_extra_flags': ['+MTE']},
                    {'architecture': 'aarch64', 'hw_firmware_type': 'uefi'}),
}

#: What works: extra specs, image properties, and what the domain then has.
WORKING = {
    'balloon': ({}, {}, ["devices/memballoon[@model='virtio']/stats"]),
    'quota': ({
        'quota:cpu_shares': '512', 'quota:cpu_quota': '50000',
        'quota:cpu_period': '100000'},
        {}, ['cputune/shares', 'cputune/quota']),
    'numa': ({'hw:numa_nodes': '1', 'hw:mem_page_size': 'small',
              'hw:cpu_policy': 'dedicated'},
             {}, ["numatune/memnode[@cellid='0']", 'cputune/vcpupin']),
    'locked_memory': ({
        # Nova wants a page size with it, which binds it to the host.
        'hw:locked_memory': 'true', 'hw:mem_page_size': 'small'},
        {}, ['memoryBacking/locked']),
    'vtpm': ({'hw:tpm_version': '2.0', 'hw:tpm_model': 'tpm-crb'},
             {'hw_machine_type': 'q35'},
             ["devices/tpm/backend[@type='emulator']"]),
    'secure_boot': ({}, dict(UEFI_Q35, os_secure_boot='required'),
                    ["os/loader[@secure='yes']"]),
    'machine_types i440fx': ({}, {'hw_machine_type': 'pc'},
                             ["os/type[@machine='pc']"]),
    'machine_types q35': ({}, {'hw_machine_type': 'q35'},
                          ["os/type[@machine='q35']"]),
    'windows': ({}, {'os_type': 'windows'}, ['features/hyperv']),
}


def pmem_namespace(number):
    """Describe persistent memory of a host, as ndctl does."""
    return {
        'dev': 'namespace0.%d' % number, 'mode': 'devdax', 'map': 'mem',
        'size': 2 ** 30, 'name': 'ns_%d' % number, 'numa_node': 0,
        'daxregion': {'id': 0, 'size': 2 ** 30, 'align': 2 ** 21,
                      'devices': [{'chardev': 'dax0.%d' % number,
                                   'size': 2 ** 30}]}}


class CompositionsTestBase(base.MemoryTestBase):

    def setUp(self):
        super().setUp()
        self.flags(allow_resize_to_same_host=True)

    def xml(self, server):
        return etree.fromstring(self.defined_xml(server).encode())

    def allocation(self, server):
        """Return what it has, beside resources of nested providers."""
        allocations = self._get_allocations_by_server_uuid(server['id'])
        return sum(one['resources'].get('MEMORY_MB', 0)
                   for one in allocations.values())

    def sentence(self, name):
        return str(BY_NAME[name.partition(' ')[0]].refusal)

    def domains(self):
        connection = self.computes['compute1'].driver._host.get_connection()
        return connection.listAllDomains(0)

    def usage(self):
        return self._get_provider_usages(self.compute_rp_uuids['compute1'])

    def refuses_to_boot(self, name, extra_specs, properties):
        """The owner reads why, no host is tried again, nothing is left."""
        usage = self.usage()
        server = self.boot(
            dict(base.ELASTIC, **extra_specs), properties=properties,
            expected_state='ERROR')
        self.assertIn(self.sentence(name),
                      self.api.get_server(server['id'])['fault']['message'])
        self.assertEqual([], self.domains())
        self.assertEqual(usage, self.usage())
        self.assertEqual(
            {}, self._get_allocations_by_server_uuid(server['id']))

    def refuses_to_resize(self, name, extra_specs, properties):
        """What is refused is the composition alone: it worked without growth.

        The guest runs on, and all of it is as before.
        """
        server = self.boot(extra_specs, properties=properties)
        before, usage = self.state(server), self.usage()
        # Nova wants the cells of an image to add up to the flavor.
        flavor_id = self.create_flavor(
            dict(base.ELASTIC, **extra_specs),
            base.BOOT_MB if name == 'image_cells' else 1024)
        self.api.post_server_action(
            server['id'], {'resize': {'flavorRef': flavor_id}})
        event = self._wait_for_instance_action_event(
            server, 'resize', 'compute_resize_instance', 'error')
        self.assertIn(self.sentence(name), event['details'])
        self.wait_idle(server)
        after = self.state(server)
        self.assertEqual(before.pop('actions') + 1, after.pop('actions'))
        self.assertEqual(before, after)
        self.assertEqual(usage, self.usage())
        self.assertTrue(self.fake_domain(server).isActive())


@ddt.ddt
class TestRefusedOnX86(CompositionsTestBase):
    """On a host that has all of it: nobody else refuses before."""

    def setUp(self):
        self.useFixture(fixtures.MockPatch(
            'nova.privsep.libvirt.cleanup_vpmem'))
        self.useFixture(fixtures.MockPatch(
            'nova.privsep.libvirt.get_pmem_namespaces',
            return_value=json.dumps([pmem_namespace(0), pmem_namespace(1)])))
        connection = fakelibvirt.virConnect
        self.useFixture(fixtures.MockPatchObject(
            connection, '_domain_capability_features',
            connection._domain_capability_features_with_SEV))
        super().setUp()

    def start_compute(self, *args, **kwargs):
        # Nova's fixture, whatever its release has for this, says no.
        self.stub_out(
            'nova.virt.libvirt.host.Host._kernel_supports_amd_sev',
            lambda host, model='sev': model == 'sev')
        return super().start_compute(*args, **kwargs)

    def _setup_compute_service(self):
        super()._setup_compute_service()
        self.flags(pmem_namespaces='1GB:ns_0|ns_1', group='libvirt')
        # Some of both kinds on each node.
        self.flags(cpu_shared_set='0-1,4-5', cpu_dedicated_set='2-3,6-7',
                   group='compute')

    @ddt.data(*REFUSED_X86)
    def test_refused(self, name):
        self.refuses_to_boot(name, *REFUSED_X86[name])
        self.refuses_to_resize(name, *REFUSED_X86[name])

    def test_server_that_has_it_already(self):
        """It runs on, and its domain is written afresh without room."""
        server = self.boot(REFUSED_X86['realtime'][0])
        instance = self.instance(server)
        instance.flavor.extra_specs.update(base.ELASTIC)
        instance.save()
        before = self.state(server)
        self.start_compute('compute2')
        self.admin_api.post_server_action(server['id'], {'migrate': None})
        event = self._wait_for_instance_action_event(
            server, 'migrate', 'compute_resize_instance', 'error')
        self.assertIn(self.sentence('realtime'), event['details'])
        self.wait_idle(server)
        after = self.state(server)
        self.assertEqual(before.pop('actions') + 1, after.pop('actions'))
        self.assertEqual(before, after)
        self._reboot_server(server, hard=True)
        self.assertIsNone(self.xml(server).find('maxMemory'))
        memory = self.show(server, api=self.admin_api)[1]['memory']
        self.assertEqual(
            ['excluded_composition', 'booted_inelastic'],
            [reason['code'] for reason in memory['reasons'][:2]])
        for reason in memory['reasons'][:2]:
            self.assertIn(self.sentence('realtime'), reason['message'])


@ddt.ddt
class TestRefusedOnAarch64(base.Aarch64HostMixin, CompositionsTestBase):

    @ddt.data(*REFUSED_ARM)
    def test_refused(self, name):
        options, properties = REFUSED_ARM[name]
        self.flags(group='libvirt', **options)
        self.refuses_to_boot(name, {}, properties)
        self.refuses_to_resize(name, {}, properties)


@ddt.ddt
class TestWorking(CompositionsTestBase):

    def setUp(self):
        connection = fakelibvirt.virConnect
        # Nova 34 has an attribute of its own for TPMs.
        kind = ('tpm' if hasattr(connection, '_domain_capability_tpm')
                else 'devices_with_tpm')
        self.useFixture(fixtures.MockPatchObject(
            connection,
            '_domain_capability_' + kind.removesuffix('_with_tpm'),
            getattr(connection, '_domain_capability_%s_supported' % kind)))
        self.useFixture(fixtures.MockPatch(
            'nova.virt.libvirt.driver.LibvirtDriver._check_vtpm_support'))
        super().setUp()
        # As Nova does it by default.
        self.flags(mem_stats_period_seconds=10, group='libvirt')

    def _setup_compute_service(self):
        super()._setup_compute_service()
        self.flags(cpu_shared_set='0-3', cpu_dedicated_set='4-7',
                   group='compute')
        self.flags(swtpm_enabled=True, group='libvirt')
        self.flags(
            backend='nova.tests.functional.libvirt.test_vtpm.FakeKeyManager',
            group='key_manager')

    @ddt.data(*WORKING)
    def test_grow(self, name):
        extra_specs, properties, paths = WORKING[name]
        server = self.boot(
            dict(base.ELASTIC, **extra_specs), properties=properties)
        root = self.xml(server)
        for path in paths:
            self.assertIsNotNone(root.find(path), path)
        self.grow(server, 1024)
        self.assert_books(server, 1024)
        (device,) = self.guest(server).devices
        last = root.findall('cpu/numa/cell')[-1].get('id')
        self.assertEqual(('dimm', 512, int(last)),
                         (device.model, device.size_mb, device.node))

    def test_made_before_it_was_refused(self):
        """A server that has it already does not grow."""
        server = self.boot_elastic()
        instance = self.instance(server)
        instance.system_metadata['image_hw_mem_encryption'] = 'True'
        instance.save()
        before = self.state(server)
        sentence = self.sentence('mem_encryption')
        for source in ('note', 'host'):
            memory, plan, codes = self.plan(server, 1024)
            self.assertEqual(source, memory['source'])
            self.assertEqual(['excluded_composition'], codes)
            self.assertEqual(sentence, plan['reasons'][0]['message'])
            status, body = self.resize(server, 1024)
            self.assertEqual(409, status, body)
            self.assertEqual(
                sentence, body['conflictingRequest']['message'])
            self.assertEqual(before, self.state(server))
            # Now the host is asked for the plan, too.
            instance = self.instance(server)
            instance.system_metadata.pop(notes.KEY, None)
            instance.save()
            before = self.state(server)

    def test_windows_with_empty_node(self):
        """The operator has the last word."""
        cases = (({}, ['0']), ({'memhotplug:zero_node': 'true'}, ['0', '1']))
        for extra_specs, nodes in cases:
            server = self.boot(dict(base.ELASTIC, **extra_specs),
                               properties={'os_type': 'windows'})
            self.assertEqual(nodes, [
                cell.get('id')
                for cell in self.xml(server).findall('cpu/numa/cell')])


class TestRebuild(CompositionsTestBase):
    """Nova destroys the guest before it asks the driver: the API refuses."""

    def rebuild(self, server, properties):
        """Rebuild it to an image that has these properties alone."""
        image_id = self.glance.create(None, dict(
            self.glance.image1, id=uuidutils.generate_uuid(),
            properties=properties))['id']
        return self.call(self.api, 'POST', server['id'], 'action',
                         {'rebuild': {'imageRef': image_id}})

    def refuses_to_rebuild(self, server, name, properties):
        before = self.state(server)
        image = self.instance(server).image_ref
        status, body = self.rebuild(server, properties)
        self.assertEqual(400, status, body)
        self.assertEqual(self.sentence(name), body['badRequest']['message'])
        self.assertEqual(before, self.state(server))
        self.assertEqual(image, self.instance(server).image_ref)

    def test_refused(self):
        server = self.boot_elastic()
        self.grow(server, 1024)
        for name, properties in (
                ('32_bit', {'architecture': 'i686'}),
                ('aarch64_bios', {'hw_emulation_architecture': 'aarch64',
                                  'hw_firmware_type': 'bios'}),
                ('mem_encryption', dict(UEFI_Q35, hw_mem_encryption='true')),
                ('image_cells', {
                    'hw_numa_nodes': '1', 'hw_numa_cpus.0': '0-1',
                    'hw_numa_mem.0': '1024'})):
            self.refuses_to_rebuild(server, name, properties)
        self.assert_books(server, 1024)

    def test_architecture_of_host(self):
        """It counts where the image does not say."""
        server = self.boot_elastic()
        node = objects.ComputeNode.get_by_host_and_nodename(
            self.ctxt, 'compute1', 'compute1')
        node.cpu_info = node.cpu_info.replace('x86_64', 'aarch64')
        node.save()
        self.refuses_to_rebuild(
            server, 'aarch64_bios', {'hw_firmware_type': 'bios'})

    def test_not_refused(self):
        """To Windows, and without growth to anything."""
        for extra_specs, properties in (
                (base.ELASTIC, {'os_type': 'windows'}),
                ({}, {'architecture': 'i686'})):
            server = self.boot(extra_specs)
            status, body = self.rebuild(server, properties)
            self.assertEqual(202, status, body)
            self._wait_for_instance_action_event(
                server, 'rebuild', 'compute_rebuild_instance', 'success')
            self.wait_idle(server)
            self.assertEqual(
                bool(extra_specs),
                self.xml(server).find('maxMemory') is not None)

    def test_left_to_nova(self):
        """What is wrong in another way gets the answer it always got."""
        server = self.boot_elastic()
        for image_id in (uuids.nowhere, 'not an id', 1, None, {}):
            status, body = self.call(
                self.api, 'POST', server['id'], 'action',
                {'rebuild': {'imageRef': image_id}})
            self.assertEqual(400, status, body)
            self.assertNotIn(
                'memhotplug', body['badRequest']['message'])
        status, _body = self.call(
            self.api, 'POST', server['id'], 'action', {'rebuild': None})
        self.assertEqual(400, status)


class TestTable(test.NoDBTestCase):

    def test_tested_here(self):
        """What the documentation says to be tested here, is."""
        names = {name.partition(' ')[0] for name in (
            *REFUSED_X86, *REFUSED_ARM, *WORKING)}
        table = documentation.tables('admin/compositions')[0]
        self.assertEqual(len(compositions.COMPOSITIONS), len(table))
        self.assertEqual(names, {
            row.name for row, cells in zip(compositions.COMPOSITIONS, table)
            if "Nova's fake libvirt" in cells[4]})
