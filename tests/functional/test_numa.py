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

"""Servers that are bound to NUMA nodes and huge pages of their host grow.

Each host has two nodes of 8 GiB, half of it in huge pages of 2 MiB, with two
CPUs for all and two that are given away one by one.
"""

import dataclasses
import threading
from unittest import mock

import ddt
from nova import objects
from nova.tests.fixtures import libvirt as fakelibvirt

from nova_memhotplug.core import errors
from nova_memhotplug.core import numa
from nova_memhotplug.core import units
from tests.functional import base

NODES = (0, 1)
NODE_MB = 8192
SMALL_KIB, HUGE_KIB = 4, 2048
#: What a node has of each size of pages.
PAGES_MB = {SMALL_KIB: 4096, HUGE_KIB: 4096}

BOOT_MB = base.BOOT_MB
GROWN_MB = 1024


@dataclasses.dataclass(frozen=True)
class Case:
    """A flavor, and what a server of it has.

    :param extra_specs: what it has beside those of growth
    :param cells_mb: RAM of the NUMA nodes that it boots with, in MiB
    :param page_kib: the pages that its guest asks libvirt for
    :param claims_kib: the pages that Nova accounts for
    """

    extra_specs: dict[str, str]
    cells_mb: tuple[int, ...] = (BOOT_MB,)
    page_kib: int = 0
    claims_kib: int = SMALL_KIB

    @property
    def step_mb(self):
        """In what steps a server grows, in MiB."""
        return 128 * len(self.cells_mb)

    @property
    def has_reserved(self):
        """Whether there is a cell for growth beside its own."""
        return self.extra_specs.get('memhotplug:zero_node') != 'false'

    def grown(self, total_mb):
        """Say what the nodes have when all of them have so much, in MiB."""
        share_mb = (total_mb - BOOT_MB) // len(self.cells_mb)
        return tuple(cell_mb + share_mb for cell_mb in self.cells_mb)

    def sized(self, cells_mb):
        """Return the extra specs of a flavor with nodes of other sizes."""
        return dict(self.extra_specs, **{
            'hw:numa_mem.%d' % number: str(cell_mb)
            for number, cell_mb in enumerate(cells_mb)})


TWO_NODES = {'hw:numa_nodes': '2'}
#: The larger node comes first: see test_numa_moves.TestOtherNodes.
UNEVEN = dict(TWO_NODES, **{
    'hw:numa_cpus.0': '0', 'hw:numa_mem.0': '384',
    'hw:numa_cpus.1': '1', 'hw:numa_mem.1': '128'})
UNEVEN_MB = (384, 128)
EVEN_MB = (256, 256)
PINNED = {'hw:cpu_policy': 'dedicated'}
HUGE = {'hw:mem_page_size': '2048'}

CASES = {
    'one node': Case({'hw:numa_nodes': '1'}),
    'two nodes': Case(TWO_NODES, EVEN_MB),
    'uneven nodes': Case(UNEVEN, UNEVEN_MB),
    'huge pages': Case(HUGE, page_kib=HUGE_KIB, claims_kib=HUGE_KIB),
    'huge pages, uneven nodes': Case(
        UNEVEN | HUGE, UNEVEN_MB, HUGE_KIB, HUGE_KIB),
    'small pages': Case({'hw:mem_page_size': 'small'}),
    'any pages': Case({'hw:mem_page_size': 'any'},
                      page_kib=HUGE_KIB, claims_kib=HUGE_KIB),
    'pinned': Case(PINNED),
    'pinned, two nodes': Case(PINNED | TWO_NODES, EVEN_MB),
    'some pinned': Case({
        'hw:cpu_policy': 'mixed', 'hw:cpu_dedicated_mask': '1'}),
    'no reserved cell': Case(
        dict(TWO_NODES, **{'memhotplug:zero_node': 'false'}), EVEN_MB),
}


def node_pages():
    """Describe the pages of a node."""
    return fakelibvirt.create_mempages([
        (size_kib, units.mb_to_kib(size_mb) // size_kib)
        for size_kib, size_mb in PAGES_MB.items()])


class NumaMixin:
    """Hosts with nodes and huge pages, and what servers have there."""

    def host_info(self):
        """Describe a host."""
        return fakelibvirt.HostInfo(
            cpu_nodes=len(NODES), cpu_sockets=1, cpu_cores=4, cpu_threads=1,
            kB_mem=units.mb_to_kib(NODE_MB * len(NODES)),
            mempages=[node_pages() for _ in NODES])

    def _setup_compute_service(self):
        super()._setup_compute_service()
        self.flags(reserved_host_memory_mb=0)
        self.flags(cpu_shared_set='0-1,4-5', cpu_dedicated_set='2-3,6-7',
                   group='compute')

    def boot_case(self, case, **more):
        """Boot a server of a case's flavor."""
        return self.boot(dict(base.ELASTIC, **case.extra_specs, **more))

    def fill_nodes(self, *free_mb, host='compute1', page_kib=SMALL_KIB):
        """Let a server of somebody take pages of the first nodes of a host.

        :param free_mb: what is left of each, in MiB, if nobody else has any
        """
        sizes_mb = [PAGES_MB[page_kib] - left_mb for left_mb in free_mb]
        extra_specs = {'hw:numa_nodes': str(len(sizes_mb))}
        for number, size_mb in enumerate(sizes_mb):
            extra_specs['hw:numa_cpus.%d' % number] = str(number)
            extra_specs['hw:numa_mem.%d' % number] = str(size_mb)
        if page_kib == HUGE_KIB:
            extra_specs |= HUGE
        server = self._create_server(
            networks='none', host=host, flavor_id=self.create_flavor(
                extra_specs, sum(sizes_mb), vcpu=len(sizes_mb)))
        self.assertEqual(list(range(len(sizes_mb))), [
            cell.id for cell in self.instance(server).numa_topology.cells])

    # What there is to see

    def host_cells(self, host):
        """Return what is used of the nodes of a host."""
        node = objects.ComputeNode.get_first_node_by_host_for_old_compat(
            self.ctxt, host)
        return objects.NUMATopology.obj_from_db_obj(node.numa_topology).cells

    def used_by_node(self, host):
        """List what is used of the memory of each node, in MiB."""
        return [cell.memory_usage for cell in self.host_cells(host)]

    def used_pages_mb(self, host, size_kib):
        """List what is used of the pages of each node, in MiB."""
        return [int(pages.used) * size_kib // units.KIB_PER_MIB
                for cell in self.host_cells(host)
                for pages in cell.mempages if pages.size_kb == size_kib]

    def all_state(self, server):
        """Everything that a refused request must leave alone."""
        instance = self.instance(server)
        return self.state(server) | {
            'topology': instance.numa_topology.obj_to_primitive(),
            'extra_specs': instance.flavor.extra_specs,
            'nodes': self.used_by_node(instance.host)}

    def assert_cells(self, server, case, cells_mb):
        """All books and the guest have the same in each node (T1)."""
        instance = self.instance(server)
        topology = instance.numa_topology
        self.assertEqual(
            cells_mb, tuple(cell.memory for cell in topology.cells))
        for flags in (0, 2):
            self.assertEqual(
                cells_mb, self.guest(server, flags).own_cells_mb)
        self.assertEqual(
            [str(cell.id) for cell in topology.cells],
            [cell.backing.host_nodes for cell in self.guest(
                server).own_cells])
        named = numa.explicit_cells(instance.flavor.extra_specs)
        self.assertEqual(cells_mb if 'hw:numa_mem.0' in case.extra_specs
                         else (), named)
        self.assert_books(server, sum(cells_mb))

    def assert_host_cells(self, server, case, cells_mb):
        """Nobody else is on the host, and it has exactly that in use."""
        instance = self.instance(server)
        used = [0 for _ in NODES]
        for cell, cell_mb in zip(
                instance.numa_topology.cells, cells_mb, strict=True):
            used[cell.id] += cell_mb
        for size_kib in PAGES_MB:
            self.assertEqual(
                used if size_kib == case.claims_kib else [0, 0],
                self.used_pages_mb(instance.host, size_kib))
        self.assertEqual(used, self.used_by_node(instance.host))

    def assert_request_spec(self, server, cells_mb):
        """The next move finds as much (T5)."""
        self.prepare_move(server)
        spec = objects.RequestSpec.get_by_instance_uuid(
            self.ctxt, server['id'])
        self.assertEqual(
            cells_mb, tuple(cell.memory for cell in spec.numa_topology.cells))
        flavor = self.instance(server).flavor
        self.assertEqual(
            (flavor.memory_mb, flavor.extra_specs),
            (spec.flavor.memory_mb, spec.flavor.extra_specs))

    def assert_all(self, server, case, total_mb):
        """Everything has a total, as its flavor divides it."""
        cells_mb = case.grown(total_mb)
        self.assert_cells(server, case, cells_mb)
        self.assert_host_cells(server, case, cells_mb)
        self.run_periodic_task(self.instance(server).host)
        self.assert_host_cells(server, case, cells_mb)
        self.assert_request_spec(server, cells_mb)

    def assert_layout(self, server, case, cells_mb):
        """The guest has booted with that, and with room for growth."""
        guest = self.guest(server)
        self.assertEqual((), guest.devices)
        reserved = (0,) if case.has_reserved else ()
        self.assertEqual(
            list(enumerate(cells_mb + reserved)),
            [(cell.id, units.kib_to_mb(cell.memory_kib))
             for cell in guest.cells])
        self.assertEqual(
            [True] * len(cells_mb) + [False] * len(reserved),
            [cell.has_cpus for cell in guest.cells])
        self.assertEqual(case.has_reserved, guest.reserved_cell is not None)
        self.assertEqual(case.page_kib, guest.page_kib)
        self.assertEqual(
            (units.mb_to_kib(base.CEILING_MB), base.SLOTS),
            (guest.max_kib, guest.slots))

    def assert_devices(self, server, case, *added_mb):
        """What was added is on the nodes of the host of its own cells.

        :param added_mb: the amounts, in MiB, in the order in which they were
            added
        """
        count = len(case.cells_mb)
        nodes = [count] * count if case.has_reserved else range(count)
        hosts = [str(cell.id) for cell in
                 self.instance(server).numa_topology.cells]
        expected = [
            ('dimm', amount_mb // count, node, host, case.page_kib,
             'shared' if case.page_kib else None)
            for amount_mb in added_mb for node, host in zip(nodes, hosts)]
        for flags in (0, 2):
            self.assertEqual(expected, [
                (dev.model, dev.size_mb, dev.node, dev.backing.host_nodes,
                 dev.backing.page_kib, dev.backing.access)
                for dev in self.guest(server, flags).devices])
        self.assertEqual(list(range(len(expected))), [
            dev.slot for dev in self.guest(server).devices])


class NumaTestBase(NumaMixin, base.MemoryTestBase):
    """One such host."""


@ddt.ddt
class TestGrowth(NumaTestBase):

    @ddt.data(*CASES)
    def test_grow(self, name):
        """Grow twice, fold, and grow again."""
        case = CASES[name]
        server = self.boot_case(case)
        self.assert_layout(server, case, case.cells_mb)
        self.assert_all(server, case, BOOT_MB)

        body = self.grow(server, GROWN_MB)
        self.assertEqual(
            [GROWN_MB // 2 // len(case.cells_mb)] * len(case.cells_mb),
            [dev['size_mb'] for dev in body['memory']['devices']])
        self.assert_devices(server, case, 512)
        self.assert_all(server, case, GROWN_MB)
        self.grow(server, 1280)
        self.assert_devices(server, case, 512, 256)
        self.assert_all(server, case, 1280)

        self._reboot_server(server, hard=True)
        self.assert_layout(server, case, case.grown(1280))
        self.assert_all(server, case, 1280)
        self.grow(server, 1536)
        self.assert_devices(server, case, 256)
        self.assert_all(server, case, 1536)

    @ddt.data('one node', 'two nodes', 'no reserved cell')
    def test_step(self, name):
        """Each node gets whole memory blocks."""
        case = CASES[name]
        server = self.boot_case(case)
        self.assertEqual(
            case.step_mb, self.show(server)[1]['memory']['step_mb'])
        wanted_mb = BOOT_MB + case.step_mb // 2
        sentence = str(errors.Unaligned(
            wanted_mb=wanted_mb, step_mb=case.step_mb, present_mb=BOOT_MB,
            nearest='The nearest sizes are %d and %d MiB.' % (
                BOOT_MB, BOOT_MB + case.step_mb)))
        before = self.all_state(server)
        status, body = self.resize(server, wanted_mb)
        self.assertEqual(400, status, body)
        self.assertEqual(sentence, body['badRequest']['message'])
        _memory, plan, codes = self.plan(server, wanted_mb)
        self.assertEqual(['unaligned'], codes)
        self.assertEqual(sentence, plan['reasons'][0]['message'])
        self.assertEqual(before, self.all_state(server))

    def test_slots(self):
        """Each node takes one."""
        case = CASES['two nodes']
        server = self.boot_case(case, **{'memhotplug:slots': '3'})
        self.grow(server, GROWN_MB)
        memory, plan, codes = self.plan(server, 1280)
        self.assertEqual({'total': 3, 'used': 2, 'free': 1}, memory['slots'])
        self.assertEqual(['no_free_slot'], codes)
        before = self.all_state(server)
        status, body = self.resize(server, 1280)
        self.assertEqual(409, status, body)
        self.assertEqual(
            'Not enough memory slots of this server are free: 2 needed (one '
            'for each NUMA node of the flavor), 2 of 3 in use. A hard reboot '
            'turns the added memory into boot memory and frees the slots.',
            body['conflictingRequest']['message'])
        self.assertEqual(before, self.all_state(server))
        self._reboot_server(server, hard=True)
        self.grow(server, 1280)
        self.assert_all(server, case, 1280)

    def test_claim_comes_first(self):
        """When the first device is attached, all nodes are claimed (T3)."""
        case = CASES['uneven nodes']
        server = self.boot_case(case)
        seen = []
        self.before_attach(lambda _domain, xml: seen.append((
            self.allocation(server), self.used_by_node('compute1'),
            [cell.memory
             for cell in self.instance(server).numa_topology.cells])))
        self.grow(server, GROWN_MB)
        self.assertEqual(
            [(GROWN_MB, [640, 384], [640, 384])] * 2, seen)

    def test_soft_reboot_keeps_the_devices(self):
        case = CASES['huge pages, uneven nodes']
        server = self.boot_case(case)
        self.grow(server, GROWN_MB)
        self._reboot_server(server)
        self.assert_devices(server, case, 512)
        self.assert_all(server, case, GROWN_MB)

    def test_stop_and_start_folds(self):
        case = CASES['pinned, two nodes']
        server = self.boot_case(case)
        self.grow(server, GROWN_MB)
        self._stop_server(server)
        self._start_server(server)
        self.assert_layout(server, case, case.grown(GROWN_MB))
        self.assert_all(server, case, GROWN_MB)

    def test_tiny_cell(self):
        """A page of the first node is in the cell for growth."""
        self.flags(zero_cell_strategy='tiny', group='memhotplug')
        case = CASES['huge pages, uneven nodes']
        server = self.boot_case(case)
        self.assertEqual([382, 128, 2], [
            units.kib_to_mb(cell.memory_kib)
            for cell in self.guest(server).cells])
        self.assert_all(server, case, BOOT_MB)
        self.grow(server, GROWN_MB)
        self.assert_devices(server, case, 512)
        self.assert_all(server, case, GROWN_MB)

    @ddt.data('huge pages, uneven nodes', 'no reserved cell')
    def test_attached_by_hand(self, name):
        """What is in an own cell is found there."""
        case = CASES[name]
        server = self.boot_case(case)
        self.attach_unbooked(server, 128, foreign=True)
        cells_mb = (case.cells_mb[0], case.cells_mb[1] + 128)
        self.restart_compute_service('compute1')
        self.assert_cells(server, case, cells_mb)
        self.assert_host_cells(server, case, cells_mb)
        self.grow(server, GROWN_MB - 128)
        cells_mb = tuple(cell_mb + 128 for cell_mb in cells_mb)
        self.assert_cells(server, case, cells_mb)
        self._reboot_server(server, hard=True)
        self.assert_layout(server, case, cells_mb)


@ddt.ddt
class TestFlavors(NumaTestBase):
    """To another flavor, while the server runs."""

    case = CASES['uneven nodes']

    def change(self, server, memory_mb, extra_specs):
        """POST resizeMemory with a flavor of these extra specs."""
        flavor_id = self.create_flavor(
            dict(base.ELASTIC, **extra_specs), memory_mb)
        return flavor_id, *self.call(
            self.api, 'POST', server['id'], 'action',
            {'resizeMemory': {'flavorRef': flavor_id}})

    def test_matching_sizes(self):
        """Each node has as much more; so it is when it has grown before."""
        server = self.boot_case(self.case)
        self.grow(server, 768)
        flavor_id, status, body = self.change(
            server, GROWN_MB, self.case.sized((640, 384)))
        self.assertEqual(202, status, body)
        self.wait_idle(server)
        self.assertEqual(flavor_id, self.instance(server).flavor.flavorid)
        self.assert_devices(server, self.case, 256, 256)
        self.assert_all(server, self.case, GROWN_MB)

    @ddt.data(
        ((512, 512), 'extra specs hw:numa_mem.0, hw:numa_mem.1'),
        ((640,), 'extra specs hw:numa_mem.1'))
    @ddt.unpack
    def test_other_sizes(self, cells_mb, differences):
        server = self.boot_case(self.case)
        before = self.all_state(server)
        _flavor_id, status, body = self.change(
            server, GROWN_MB, self.case.sized(cells_mb))
        self.assertEqual(400, status, body)
        self.assertIn(
            "differs from the server's own in more than memory, which takes "
            'a cold resize: %s.' % differences, body['badRequest']['message'])
        self.assertEqual(before, self.all_state(server))

    def test_no_sizes(self):
        """Nodes that the flavor does not name would be even ones."""
        server = self.boot_case(self.case)
        before = self.all_state(server)
        _flavor_id, status, body = self.change(server, GROWN_MB, TWO_NODES)
        self.assertEqual(400, status, body)
        self.assertIn('extra specs hw:numa_cpus.0, hw:numa_cpus.1, '
                      'hw:numa_mem.0, hw:numa_mem.1.',
                      body['badRequest']['message'])
        self.assertEqual(before, self.all_state(server))


class TestRefusals(NumaTestBase):
    """A node of the host has not enough."""

    def refused(self, server, total_mb, **facts):
        """Plan and action agree on why not, and nothing changes.

        Who does not run the cloud is not told of the nodes of the host.
        """
        error = errors.HostNodeFull(**facts)
        before = self.all_state(server)
        for api, sentence in ((self.admin_api, str(error)),
                              (self.api, error.tenant_msg)):
            _memory, plan, codes = self.plan(server, total_mb, api)
            self.assertEqual(['host_node_full'], codes)
            self.assertEqual(sentence, plan['reasons'][0]['message'])
            status, body = self.resize(server, total_mb, api)
            self.assertEqual(409, status, body)
            self.assertEqual(
                sentence, body['conflictingRequest']['message'])
        self.assertEqual(before, self.all_state(server))
        self.assertEqual([], self.events(server))

    def accepted(self, server, case, total_mb):
        """That much is there."""
        self.grow(server, total_mb)
        self.assert_cells(server, case, case.grown(total_mb))

    def test_no_huge_pages(self):
        case = CASES['huge pages']
        self.fill_nodes(640, 640, page_kib=HUGE_KIB)
        server = self.boot_case(case)
        self.refused(server, GROWN_MB, node=0, free_mb=128, asked_mb=512,
                     pages=' in pages of 2048 KiB')
        self.accepted(server, case, 640)
        self.refused_after_growth(server, 768, HUGE_KIB)

    def refused_after_growth(self, server, total_mb, page_kib):
        """Nothing is left of the pages of the node."""
        self.assertEqual(PAGES_MB[page_kib], self.used_pages_mb(
            'compute1', page_kib)[0])
        status, body = self.resize(server, total_mb, self.admin_api)
        self.assertEqual(409, status, body)
        self.assertIn('which has 0 MiB', body[
            'conflictingRequest']['message'])

    def test_second_node(self):
        """It is the second one that has not enough."""
        case = CASES['huge pages, uneven nodes']
        server = self.boot_case(case)
        self.fill_nodes(1024, 256, page_kib=HUGE_KIB)
        self.refused(server, GROWN_MB, node=1, free_mb=128, asked_mb=256,
                     pages=' in pages of 2048 KiB')
        self.accepted(server, case, 768)

    def test_pinned(self):
        """Without huge pages, what others have claimed is not free."""
        case = CASES['pinned, two nodes']
        self.fill_nodes(384, 384)
        server = self.boot_case(case)
        self.refused(server, GROWN_MB, node=0, free_mb=128, asked_mb=256,
                     pages='')
        self.accepted(server, case, 768)
        self.refused_after_growth(server, 1024, SMALL_KIB)

    def test_shared(self):
        """Others may have claimed the same, up to the ratio."""
        case = CASES['one node']
        self.fill_nodes(0, 0, page_kib=HUGE_KIB)
        self.fill_nodes(640, 640)
        server = self.boot_case(case)
        self.refused(server, GROWN_MB, node=0, free_mb=128, asked_mb=512,
                     pages='')
        self.accepted(server, case, 640)
        self.refused_after_growth(server, 768, SMALL_KIB)

    def test_larger_than_the_node(self):
        case = CASES['one node']
        server = self.boot_case(
            case, **{'memhotplug:max_memory_mb': '8192'})
        self.refused(server, 4224, node=0, free_mb=3584, asked_mb=3712,
                     pages='')
        self.accepted(server, case, 4096)

    def test_filled_meanwhile(self):
        """The room that there was when it was asked for is gone."""
        case = CASES['huge pages, uneven nodes']
        server = self.boot_case(case)
        self.before_start(lambda: self.fill_nodes(
            512, 512, page_kib=HUGE_KIB))
        attached = []
        self.before_attach(lambda _domain, xml: attached.append(xml))
        self.grow(server, GROWN_MB)
        self.assert_details(server, str(errors.HostNodeFull(
            node=0, free_mb=128, asked_mb=256,
            pages=' in pages of 2048 KiB')))
        self.assertEqual(
            errors.HostNodeFull.tenant_msg,
            self.show(server)[1]['memory']['last_resize']['message'])
        self.assertEqual([], attached)
        self.assert_cells(server, case, case.cells_mb)
        self.assertEqual(
            [3584 + 384, 3584 + 128], self.used_by_node('compute1'))
        self.assert_request_spec(server, case.cells_mb)
        self.accepted(server, case, 768)


#: The steps of a resize that come after its claim.
ATTACH = 'virt.guest.LiveGuest.apply'
CONFIRM = 'compute.look.Look.confirm'
COMMIT = 'compute.books.Books.commit'


class Killed(BaseException):
    """nova-compute dies: nothing that it would do then is done."""


@ddt.ddt
class TestFailures(NumaTestBase):

    case = CASES['huge pages, uneven nodes']

    def setUp(self):
        super().setUp()
        self.server = self.boot_case(self.case)

    def kill_at(self, step):
        """Let nova-compute die when a resize comes to a step."""
        dead = threading.Event()

        def die(*args, **kwargs):
            dead.set()
            raise Killed()

        with mock.patch('nova_memhotplug.' + step, die):
            status, body = self.resize(self.server, GROWN_MB)
            self.assertEqual(202, status, body)
            self.assertTrue(dead.wait(30))
        self.assertEqual(
            'resize_prep', self.instance(self.server).task_state)

    def restart(self):
        """Start nova-compute again."""
        self.restart_compute_service('compute1')
        self.wait_idle(self.server)

    def assert_claimed(self):
        """What was claimed is still so."""
        cells_mb = self.case.grown(GROWN_MB)
        instance = self.instance(self.server)
        self.assertEqual(cells_mb, tuple(
            cell.memory for cell in instance.numa_topology.cells))
        self.assert_host_cells(self.server, self.case, cells_mb)
        self.assertEqual(GROWN_MB, self.allocation(self.server))
        self.assertEqual(BOOT_MB, instance.flavor.memory_mb)

    def assert_works(self):
        """The same resize succeeds afterwards."""
        self.accept_attach()
        self.grow(self.server, GROWN_MB)
        self.assert_all(self.server, self.case, GROWN_MB)

    def test_first_device(self):
        self.refuse_attach()
        self.grow(self.server, GROWN_MB)
        self.assert_details(self.server, 'not today')
        self.assertEqual((), self.guest(self.server).devices)
        self.assert_all(self.server, self.case, BOOT_MB)
        self.assert_works()

    def test_second_device(self):
        """The first one is taken back, and all of the claim given back."""
        seen = self.refuse_second_attach()
        self.grow(self.server, GROWN_MB)
        self.assertEqual(2, len(seen))
        self.assert_details(self.server, 'only one a day')
        self.assertEqual((), self.guest(self.server).devices)
        self.assert_all(self.server, self.case, BOOT_MB)
        self.assert_works()

    def test_second_device_and_the_guest_keeps_the_first(self):
        """The books of each node follow the guest (T2)."""
        self.refuse_second_attach()
        self.keep_devices()
        self.grow(self.server, GROWN_MB)
        self.assert_details(self.server, 'only one a day')
        cells_mb = (640, 128)
        self.assert_cells(self.server, self.case, cells_mb)
        self.assert_host_cells(self.server, self.case, cells_mb)
        self.assert_request_spec(self.server, cells_mb)
        # It goes on from there.
        self.accept_attach()
        self.grow(self.server, GROWN_MB)
        self.assert_cells(self.server, self.case, (768, 256))
        self._reboot_server(self.server, hard=True)
        self.assert_layout(self.server, self.case, (768, 256))

    def test_killed_after_the_claim(self):
        self.kill_at(ATTACH)
        self.assert_claimed()
        self.assertEqual((), self.guest(self.server).devices)
        self.restart()
        self.assert_all(self.server, self.case, BOOT_MB)
        self.assert_works()

    @ddt.data(CONFIRM, COMMIT)
    def test_killed_after_the_attach(self, step):
        self.kill_at(step)
        self.assert_claimed()
        self.restart()
        self.assert_devices(self.server, self.case, 512)
        self.assert_all(self.server, self.case, GROWN_MB)

    def test_killed_between_the_devices(self):
        """The guest has one of them, and its node is claimed."""
        def die(fake, xml):
            if fake.live:
                dead.set()
                raise Killed()

        dead = threading.Event()
        self.before_attach(die)
        self.resize(self.server, GROWN_MB)
        self.assertTrue(dead.wait(30))
        self.accept_attach()
        self.restart()
        self.assert_cells(self.server, self.case, (640, 128))
        self.assert_host_cells(self.server, self.case, (640, 128))
        self.assert_request_spec(self.server, (640, 128))

    def test_guest_off_after_the_claim(self):
        """It starts with what its flavor says, whatever was claimed."""
        self.kill_at(ATTACH)
        self.set_task_state(self.server, None)
        self._stop_server(self.server)
        self.assert_claimed()
        self._start_server(self.server)
        self.assert_layout(self.server, self.case, self.case.cells_mb)
        self.restart()
        self.assert_all(self.server, self.case, BOOT_MB)

    def test_guest_off_when_the_host_looks(self):
        """There is no guest to ask: the books get what it starts with."""
        self.kill_at(ATTACH)
        self.set_task_state(self.server, None)
        self._stop_server(self.server)
        self.restart_compute_service('compute1')
        self.assert_host_cells(self.server, self.case, self.case.cells_mb)
        self.assertEqual(BOOT_MB, self.allocation(self.server))
        self._start_server(self.server)
        self.assert_layout(self.server, self.case, self.case.cells_mb)
        self.assert_all(self.server, self.case, BOOT_MB)
