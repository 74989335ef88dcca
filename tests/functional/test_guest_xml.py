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

"""The domain XML that servers boot with, made by Nova's real code path."""

import json
import os
import types

import ddt
import fixtures
from lxml import etree
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.libvirt import base as nova_base

from tests.functional import base

KIB = 1024
HUGEPAGE_KIB = 2048

NUMA = {'hw:numa_nodes': '2'}

#: Flavors without the key: extra specs, image properties.
STOCK_FLAVORS = {
    'plain': ({}, {}),
    'numa': (NUMA, {}),
    'hugepages': ({'hw:mem_page_size': '2MB'}, {}),
    'pinned': ({'hw:cpu_policy': 'dedicated'}, {}),
    'q35 with agent and hosts of properties': ({'hw:cpu_sockets': '2'}, {
        'hw_machine_type': 'q35', 'hw_qemu_guest_agent': 'yes',
        'hw_disk_bus': 'scsi', 'hw_scsi_model': 'virtio-scsi',
        'hw_video_model': 'virtio', 'hw_rng_model': 'virtio'}),
    'keys without the one that counts': ({
        'memhotplug:slots': '4', 'memhotplug:zero_node': 'false',
        'memhotplug:model': 'dimm'}, {}),
}


class GuestXmlTestBase(base.MemoryTestBase):

    def host_info(self):
        """A host with 4 NUMA nodes: room for every flavor at once."""
        pages = [fakelibvirt.create_mempages(
            [(4, 2 ** 20), (HUGEPAGE_KIB, 1024)]) for _node in range(4)]
        return fakelibvirt.HostInfo(
            cpu_nodes=4, cpu_cores=3, cpu_threads=1, kB_mem=4 * 6 * 2 ** 20,
            mempages=pages)

    def _setup_compute_service(self):
        super()._setup_compute_service()
        self.flags(cpu_shared_set='0-7', cpu_dedicated_set='8-11',
                   group='compute')

    def xml(self, server):
        return etree.fromstring(self.defined_xml(server).encode())

    def cells(self, root):
        return [(cell.get('id'), cell.get('cpus'), int(cell.get('memory')))
                for cell in root.findall('cpu/numa/cell')]

    def assert_fault(self, server, *parts):
        """The server is in error and its owner can read why."""
        fault = self.api.get_server(server['id'])['fault']['message']
        for part in parts:
            self.assertIn(part, fault)

    def fails_to_boot(self, extra_specs, *parts, **kwargs):
        server = self.boot(extra_specs, expected_state='ERROR', **kwargs)
        self.assert_fault(server, *parts)
        self.assertEqual(
            {}, self._get_allocations_by_server_uuid(server['id']))


class TestStockXml(GuestXmlTestBase):
    """No flavor key, no change (T6)."""

    def test_byte_for_byte(self):
        """The same servers, defined by this driver and by Nova's own."""
        # It is written into the metadata.
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.driver.time', types.SimpleNamespace(time=lambda: 0.)))
        servers = {
            name: self.boot(*flavor[:1], properties=flavor[1])
            for name, flavor in STOCK_FLAVORS.items()}
        ours = self._redefine(servers)
        self.assertEqual(
            'MemHotplugLibvirtDriver',
            type(self.computes['compute1'].driver).__name__)

        self.flags(compute_driver=base.STOCK_DRIVER)
        self.restart_compute_service('compute1')
        self.assertEqual(
            'LibvirtDriver', type(self.computes['compute1'].driver).__name__)
        stock = self._redefine(servers)

        for name in STOCK_FLAVORS:
            self.assertEqual(stock[name], ours[name], name)
            self.assertNotIn('maxMemory', ours[name])
        self.assertIn('<cell', ours['numa'])
        self.assertIn('<hugepages>', ours['hugepages'])
        self.assertIn('<vcpupin', ours['pinned'])

    def _redefine(self, servers):
        for server in servers.values():
            self._reboot_server(server, hard=True)
        return {name: self.defined_xml(server)
                for name, server in servers.items()}


@ddt.ddt
class TestElasticXml(GuestXmlTestBase):

    def test_what_is_added(self):
        """Everything else is as Nova writes it."""
        server = self.boot_elastic()
        root = self.xml(server)
        ceiling = root.find('maxMemory')
        self.assertEqual(str(4096 * KIB), ceiling.text)
        self.assertEqual('8', ceiling.get('slots'))
        self.assertEqual(str(512 * KIB), root.findtext('memory'))
        self.assertEqual(
            [('0', '0-1', 512 * KIB), ('1', None, 0)], self.cells(root))
        self.assertEqual(
            self.memory_libvirt.shim_directory,
            root.findtext('devices/emulator').rpartition('/')[0])

    def test_strategies(self):
        """The cells together always have what the flavor says."""
        boot = 512 * KIB
        cases = {
            'auto': [('0', '0-1', boot), ('1', None, 0)],
            'shim': [('0', '0-1', boot), ('1', None, 0)],
            'tiny': [('0', '0-1', boot - KIB), ('1', None, KIB)],
            'existing': [('0', '0-1', boot)],
        }
        for strategy, cells in cases.items():
            self.flags(zero_cell_strategy=strategy, group='memhotplug')
            server = self.boot_elastic()
            root = self.xml(server)
            self.assertEqual(cells, self.cells(root), strategy)
            self.assertEqual(
                strategy in ('auto', 'shim'),
                root.find('devices/emulator') is not None, strategy)
            self.assertIsNotNone(root.find('maxMemory'), strategy)
            memory = self.show(server)[1]['memory']
            self.assertEqual(
                'shim' if strategy == 'auto' else strategy,
                memory['strategy'])
            self.grow(server, 1024)
            self.assert_books(server, 1024)
            self.assertEqual(
                [len(cells) - 1],
                [dev.node for dev in self.guest(server).devices])

        self.flags(zero_cell_strategy='native', group='memhotplug')
        self.fails_to_boot(base.ELASTIC)
        self.assertIn("doesn't take value '0'", self.stdlog.logger.output)

    def test_without_zero_node(self):
        server = self.boot_elastic(**{'memhotplug:zero_node': 'false'})
        root = self.xml(server)
        self.assertEqual([('0', '0-1', 512 * KIB)], self.cells(root))
        self.assertIsNone(root.find('devices/emulator'))
        self.grow(server, 1024)
        self.assertEqual(0, self.guest(server).devices[0].node)

    def test_numa_flavor(self):
        """The reserved cell follows Nova's own."""
        server = self.boot_elastic(**NUMA)
        root = self.xml(server)
        self.assertEqual(
            [('0', '0', 256 * KIB), ('1', '1', 256 * KIB), ('2', None, 0)],
            self.cells(root))
        self.assertEqual(
            ['0', '1'],
            [node.get('cellid') for node in root.findall('numatune/memnode')])
        self.assertEqual(str(512 * KIB), root.findtext('memory'))

    def test_hugepages(self):
        """A tiny cell is a whole huge page."""
        self.flags(zero_cell_strategy='tiny', group='memhotplug')
        server = self.boot_elastic(**{'hw:mem_page_size': '2MB'})
        self.assertEqual(
            [('0', '0-1', 512 * KIB - HUGEPAGE_KIB),
             ('1', None, HUGEPAGE_KIB)], self.cells(self.xml(server)))
        (page,) = self.xml(server).findall('memoryBacking/hugepages/page')
        self.assertEqual('0-1', page.get('nodeset'))
        self.assertEqual(1, len(set(self.bound(server).values())))

    def bound(self, server):
        """Say to which nodes of the host each cell is bound."""
        return {node.get('cellid'): node.get('nodeset')
                for node in self.xml(server).findall('numatune/memnode')}

    @ddt.data(('tiny', ['0', '1', '2']), ('shim', ['0', '1']))
    @ddt.unpack
    def test_tiny_cell_of_several(self, strategy, cells):
        """It is on the node of the host that it is taken of (V17)."""
        self.flags(zero_cell_strategy=strategy, group='memhotplug')
        bound = self.bound(self.boot_elastic(**NUMA))
        self.assertEqual(cells, sorted(bound))
        self.assertNotEqual(bound['0'], bound['1'])
        self.assertEqual(bound['0'], bound.get('2', bound['0']))

    def test_default_slots(self):
        self.flags(default_slots=3, group='memhotplug')
        server = self.boot({'memhotplug:max_memory_mb': '1024'})
        self.assertEqual('3', self.xml(server).find('maxMemory').get('slots'))

    def test_rescue(self):
        """The rescue domain has the whole total, too."""
        server = self.boot_elastic()
        self.grow(server, 1024)
        # Nova's fixtures make no disks, and no directory for them.
        os.makedirs(os.path.join(
            nova_base.CONF.instances_path, server['id']))
        self._rescue_server(server)
        guest = self.guest(server)
        self.assertEqual(1024, guest.present_mb)
        self._unrescue_server(server)
        self.assert_books(server, 1024)


class TestContradictions(GuestXmlTestBase):

    def test_refused_at_boot(self):
        """The fault names both numbers, or the key and what is wrong."""
        # Nova checks one extra spec at a time, and only since 2.86.
        self.admin_api.microversion = '2.85'
        cases = (
            ({'memhotplug:max_memory_mb': '512'}, '512'),
            ({'memhotplug:max_memory_mb': '256'}, '256', '512'),
            ({'memhotplug:max_memory_mb': 'lots'}, 'max_memory_mb', 'lots'),
            ({'memhotplug:max_memory_mb': '1024', 'memhotplug:slots': '300'},
             'memhotplug:slots', '300', '255'),
            ({'memhotplug:max_memory_mb': '1024', 'memhotplug:slots': '0'},
             'memhotplug:slots', "'0'"),
            ({'memhotplug:max_memory_mb': '1024', 'memhotplug:model': 'sgx'},
             'memhotplug:model', 'sgx', 'dimm'),
            ({'memhotplug:max_memory_mb': '1024',
              'memhotplug:zero_node': 'maybe'},
             'memhotplug:zero_node', 'maybe'),
        )
        for extra_specs, *parts in cases:
            self.fails_to_boot(extra_specs, *parts)

    def test_no_other_host_is_tried(self):
        self.start_compute('compute2')
        server = self.boot(
            {'memhotplug:max_memory_mb': '256'}, expected_state='ERROR')
        self.assert_tried_once(server)

    def test_ceiling_lowered_below_what_a_server_has(self):
        """Such a server starts all the same, and says why it cannot grow."""
        server = self.boot_elastic()
        self.grow(server, 1024)
        instance = self.instance(server)
        instance.flavor.extra_specs['memhotplug:max_memory_mb'] = '768'
        instance.save()
        self.assert_books(server, 1024)
        self._reboot_server(server, hard=True)
        self.assert_books(server, 1024)
        memory = self.show(server)[1]['memory']
        self.assertEqual('at_ceiling', memory['reasons'][0]['code'])
        self.assertIn('768', memory['reasons'][0]['message'])


class TestEmptyNode(GuestXmlTestBase):
    """Nova lets a flavor give a node no memory, below microversion 2.86."""

    SPECS = base.ELASTIC | {
        'hw:numa_nodes': '2', 'hw:numa_cpus.0': '0', 'hw:numa_mem.0': '512',
        'hw:numa_cpus.1': '1', 'hw:numa_mem.1': '0'}

    def test_refused(self):
        """Also where libvirt would start it."""
        self.memory_libvirt.domain.native_hosts.add('compute1')
        self.restart_compute_service('compute1')
        self.api_fixture.admin_api.microversion = '2.85'
        self.fails_to_boot(self.SPECS, 'NUMA node 1 has no memory.')

    def test_attached_by_hand(self):
        """A guest that has such a node is not grown."""
        server = self.boot_elastic()
        guest = self.fake_domain(server)
        for cell in guest._cells():
            cell.set('memory', '0')
        status, body = self.show(server)
        self.assertEqual(200, status)
        self.assertIn('empty_node', [
            reason['code'] for reason in body['memory']['reasons']])


class TestPersistentMemory(GuestXmlTestBase):
    """hw:pmem: live migration takes every memory device for one."""

    def setUp(self):
        namespace = {
            'dev': 'namespace0.0', 'mode': 'devdax', 'map': 'mem',
            'size': 2 ** 30, 'name': 'ns_0', 'numa_node': 0,
            'daxregion': {'id': 0, 'size': 2 ** 30, 'align': 2 ** 21,
                          'devices': [{'chardev': 'dax0.0',
                                       'size': 2 ** 30}]}}
        self.useFixture(fixtures.MockPatch(
            'nova.privsep.libvirt.cleanup_vpmem'))
        self.useFixture(fixtures.MockPatch(
            'nova.privsep.libvirt.get_pmem_namespaces',
            return_value=json.dumps([namespace])))
        super().setUp()

    def _setup_compute_service(self):
        super()._setup_compute_service()
        self.flags(pmem_namespaces='1GB:ns_0', group='libvirt')

    def test_refused(self):
        self.fails_to_boot(dict(base.ELASTIC, **{'hw:pmem': '1GB'}),
                           'hw:pmem')

    def test_without_the_key(self):
        server = self.boot({'hw:pmem': '1GB'})
        self.assertIn("model='nvdimm'", self.defined_xml(server).replace(
            '"', "'"))


class TestAarch64(base.Aarch64Mixin, GuestXmlTestBase):

    def test_elastic(self):
        server = self.boot(base.ELASTIC)
        root = self.xml(server)
        self.assertEqual('aarch64', root.find('os/type').get('arch'))
        self.assertEqual(
            [('0', '0-1', 512 * KIB), ('1', None, 0)], self.cells(root))
        self.assertEqual(
            'qemu-system-aarch64',
            root.findtext('devices/emulator').rpartition('/')[2])
        self.grow(server, 1536)
        self.assert_books(server, 1536)
        (dimm,) = self.guest(server).devices
        # RAM of aarch64 begins at 1 GiB; blocks may have 1 GiB as well.
        self.assertEqual((0, 2 << 30), (dimm.slot, dimm.base))

    def test_default_is_what_no_guest_refuses(self):
        """Kernels before 5.12 have blocks of 1 GiB (P6)."""
        server = self.boot(base.ELASTIC)
        status, body = self.resize(server, 1024)
        self.assertEqual(400, status, body)
        self.assertIn('steps of 1024 MiB', body['badRequest']['message'])

    def test_block_of_the_flavor(self):
        server = self.boot(dict(base.ELASTIC, **{
            'memhotplug:block_mb': '128'}))
        self.grow(server, 640)
        self.assert_books(server, 640)

    def test_64k_pages(self):
        """The operator says how large the blocks of its guests are."""
        self.flags(aarch64_memory_block_mb=512, group='memhotplug')
        server = self.boot(base.ELASTIC)
        status, body = self.resize(server, 640)
        self.assertEqual(400, status, body)
        self.assertIn('512', body['badRequest']['message'])
        self.grow(server, 1024)
        self.assert_books(server, 1024)


class TestBlockOfImage(GuestXmlTestBase):

    def step_mb(self, extra_specs, properties):
        server = self.boot(
            dict(base.ELASTIC, **extra_specs), properties=properties)
        return self.show(server)[1]['memory']['step_mb']

    def test_larger_counts(self):
        block, image = 'memhotplug:block_mb', 'memhotplug_block_mb'
        self.assertEqual(512, self.step_mb({}, {image: '512'}))
        self.assertEqual(
            1024, self.step_mb({block: '512'}, {image: '1024'}))
        self.assertEqual(
            512, self.step_mb({block: '512'}, {image: '256'}))
        # Plans from the note and the action say the same.
        server = self.boot(base.ELASTIC, properties={image: '512'})
        self.assertEqual(
            ['unaligned'], self.plan(server, 640)[2])
        self.grow(server, 1024)
        self.assert_books(server, 1024)

    def test_property_that_is_broken_later(self):
        """It does not keep a server that has run from anything (T9)."""
        server = self.boot(
            base.ELASTIC, properties={'memhotplug_block_mb': '512'})
        instance = self.instance(server)
        instance.system_metadata['image_memhotplug_block_mb'] = 'x'
        instance.save()
        self._reboot_server(server, hard=True)
        self.assertEqual(128, self.show(server)[1]['memory']['step_mb'])
        self.grow(server, 640)
        self.assert_books(server, 640)
