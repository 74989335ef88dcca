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

"""Servers that are bound to the NUMA node and the huge pages of a host."""

import ddt

from tests.faults import machine
from tests.live import audit
from tests.live import base
from tests.live import cloud
from tests.live import hosts
from tests.live.lifecycle import hosts as guest_hosts
from tests.live import numa
from tests.live import refusals

BOOT_MB, STEP_MB = 512, 128
#: More than the huge pages of a machine that has some of its own.
MAX_MB = 32768
#: The machine has this node alone.
HOST_NODE = '0'
PAGE_KIB = 2048
#: What binds a server to its host, by name.
BINDINGS = {
    'nodes': {'hw__numa_nodes': '1'},
    'small_pages': {'hw__mem_page_size': 'small'},
    'cells': {'hw__numa_nodes': '1', 'hw__numa_cpus.0': '0',
              'hw__numa_mem.0': str(BOOT_MB)},
    'huge_pages': {'hw__numa_nodes': '1', 'hw__mem_page_size': str(PAGE_KIB)},
}
HUGE = 'huge_pages'
#: The guest would give pages that it does not use back to the kernel: Nova's
#: balloon has free page reporting.
NO_BALLOON = 'module_blacklist=virtio_balloon'


class NumaTest(audit.AuditMixin, refusals.RefusalMixin, base.LiveTest):

    #: One that a killed run has left behind would use up huge pages.
    name = 'live-numa'

    def setUp(self):
        super().setUp()
        cloud.delete_servers_named(self.name)
        self.topologies = numa.Topologies(machine.Machine().query)
        # What was deleted soon after a move is counted for up to a minute.
        self.wait_hosts()

    def bound_flavor(self, binding, ram=BOOT_MB, **extra_specs):
        """Make a flavor of one of the BINDINGS."""
        return self.flavor(
            'live-numa-%s-%d' % (binding, ram), ram,
            memhotplug__max_memory_mb=str(MAX_MB), memhotplug__slots='8',
            **BINDINGS[binding] | extra_specs)

    def boot_bound(self, binding, **extra_specs):
        """Boot a server that is bound to its host."""
        return self.boot(flavor=self.bound_flavor(binding, **extra_specs))

    def devices(self, server):
        """Read the memory devices of the live domain."""
        return numa.devices(hosts.virsh(
            hosts.host_of(server), 'dumpxml', server.id))

    def assert_books(self, server, total_mb):
        """All books have a total, those of its cells and its host too."""
        self.assert_total(server, total_mb)
        self.assertEqual(total_mb, hosts.domain_mb(server))
        self.assertEqual([total_mb], self.topologies.server_mb(server.id))
        server.prepare_move()
        self.assertEqual(
            [total_mb], self.topologies.request_spec_mb(server.id))
        specs = server.fresh.flavor['extra_specs']
        self.assertEqual(str(total_mb), specs.get(
            'hw:numa_mem.0', str(total_mb)))
        self.wait_hosts()

    def wait_hosts(self):
        """Wait until the hosts have in use what their servers have.

        After a move, a host may notice with its next periodic task only.
        """
        def differences():
            pairs = {host: (self.topologies.used(host),
                            self.topologies.claimed(host))
                     for host in machine.Machine().settings.hostnames}
            return {host: pair for host, pair in pairs.items()
                    if pair[0] != pair[1]}

        cloud.until(100, 'hosts that agree with their servers',
                    lambda: not differences(), lambda: str(differences()))

    def assert_devices(self, server, sizes_mb, node=1, page_kib=None):
        """The domain has these devices, on a node of guest and host."""
        self.assertEqual(
            [(node, size_mb * base.MIB_KB, HOST_NODE, page_kib)
             for size_mb in sizes_mb],
            [(device.node, device.size_kib, device.nodemask, device.page_kib)
             for device in self.devices(server)])

    def look(self, server):
        """Ask the guest itself what it has, as ``ask_guest`` does."""
        return cloud.until(60, 'guest agent', lambda: guest_hosts.ask_guest(
            hosts.host_of(server), server))

    def grow_seen(self, server, total_mb, node=1):
        """Grow a server, and see the memory in the guest, which goes on."""
        before = self.look(server)
        added_mb = total_mb - server.memory()['current_mb']
        wanted_kb = before['nodes'].get(node, 0) + added_mb * base.MIB_KB
        self.grow(server, total_mb)
        cloud.until(
            60, '%d MiB more on node %d' % (added_mb, node),
            lambda: self.look(server)['nodes'].get(node, 0) >= wanted_kb)
        after = self.look(server)
        self.assertEqual(before['boot'], after['boot'], 'it was rebooted')
        self.assert_grown(before, after, node, added_mb)
        host = hosts.host_of(server)
        self.assertEqual(
            self.topologies.claimed(host), self.topologies.used(host))
        self.assert_books(server, total_mb)

    def assert_folded(self, server, total_mb):
        """All is boot memory again, and all slots are free."""
        server.wait_guest(
            'all of it on node 0', lambda guest: (
                guest['nodes'][0] > (total_mb - 200) * base.MIB_KB and
                not guest['nodes'].get(1)))
        self.assertEqual([], self.devices(server))
        self.assertEqual(8, server.memory()['slots']['free'])
        self.assert_books(server, total_mb)

    def hard_reboot(self, server, total_mb):
        """Have the domain written afresh."""
        server.act({'reboot': {'type': 'HARD'}})
        server.wait()
        self.assert_folded(server, total_mb)

    def move(self, server, action, decision, user='member'):
        """Resize or migrate a server cold."""
        server.act(action, user=user)
        server.wait('VERIFY_RESIZE')
        server.act({decision: None})
        server.wait()


@ddt.ddt
class GrowTest(NumaTest):

    @ddt.data('nodes', 'small_pages', 'cells')
    def test_bound(self, binding):
        server = self.boot_bound(binding)
        self.assert_books(server, BOOT_MB)
        self.grow_seen(server, 768)
        self.grow_seen(server, 896)
        self.assert_devices(server, [256, 128])
        self.hard_reboot(server, 896)
        self.grow_seen(server, 1024)
        self.assert_devices(server, [128])
        self.assert_clean()

    def test_without_a_zero_node(self):
        server = self.boot_bound('nodes', memhotplug__zero_node='false')
        self.grow_seen(server, 768, node=0)
        self.assert_devices(server, [256], node=0)
        self.hard_reboot(server, 768)
        self.grow_seen(server, 896, node=0)
        self.assert_devices(server, [128], node=0)
        self.assert_clean()


class ExplicitCellsTest(NumaTest):

    def test_cold_migration(self):
        server = self.boot_bound('cells')
        self.grow_seen(server, 768)
        self.move(server, {'migrate': None}, 'confirmResize', user='admin')
        self.assert_folded(server, 768)
        self.grow_seen(server, 896)
        self.assert_devices(server, [128])
        self.move(server, {'migrate': None}, 'revertResize', user='admin')
        self.assert_folded(server, 896)
        self.assert_clean()

    def test_resize(self):
        server = self.boot_bound('cells')
        self.grow_seen(server, 768)
        larger = self.larger()
        self.move(server, larger, 'revertResize')
        self.assert_folded(server, 768)
        self.grow_seen(server, 896)
        self.move(server, larger, 'confirmResize')
        self.assert_folded(server, 1024)
        self.grow_seen(server, 1152)
        self.assert_devices(server, [128])
        self.assert_clean()

    def larger(self):
        """Describe the resize to a flavor whose cell has 1024 MiB."""
        name = self.bound_flavor('cells', 1024, **{'hw__numa_mem.0': '1024'})
        flavor = cloud.connect('admin').compute.find_flavor(name)
        return {'resize': {'flavorRef': flavor.id}}


@ddt.ddt
class HugePagesTest(NumaTest):

    def boot_huge(self, arch='x86_64'):
        """Boot a server on huge pages, which keeps what it has."""
        image = 'live-numa-%s' % arch
        self.addCleanup(cloud.delete_image, image)
        cloud.copy_image(arch, image, NO_BALLOON)
        return self.boot(arch, self.bound_flavor(HUGE), image=image)

    def grow_pages(self, server, total_mb):
        """Grow a server, and see the pages go."""
        used_mb = hosts.used_huge_pages_mb()
        added_mb = total_mb - server.memory()['current_mb']
        self.grow_seen(server, total_mb)
        self.assertEqual(used_mb + added_mb, hosts.used_huge_pages_mb())

    @ddt.data(*cloud.ARCHS)
    def test_grows_and_folds(self, arch):
        server = self.boot_huge(arch)
        self.grow_pages(server, 640)
        self.grow_pages(server, 768)
        self.assert_devices(server, [128, 128], page_kib=PAGE_KIB)
        used_mb = hosts.used_huge_pages_mb()
        self.hard_reboot(server, 768)
        self.assertEqual(used_mb, hosts.used_huge_pages_mb())
        self.grow_pages(server, 896)
        self.assert_devices(server, [128], page_kib=PAGE_KIB)
        self.assert_clean()

    @ddt.data(*cloud.ARCHS)
    def test_live_migration_there_and_back(self, arch):
        server = self.boot_huge(arch)
        self.grow_pages(server, 640)
        for total_mb in (768, 896):
            before = self.devices(server)
            hosts.migrate_live(server)
            self.assertEqual(before, self.devices(server))
            self.grow_pages(server, total_mb)
            self.assertEqual(before, self.devices(server)[:-1])
        self.assert_devices(server, [128] * 3, page_kib=PAGE_KIB)
        self.assert_clean()

    def test_no_free_pages(self):
        server = self.boot_huge()
        self.grow_pages(server, 640)
        before = self.devices(server), hosts.used_huge_pages_mb()
        wanted_mb = 640 + STEP_MB + self.topologies.free_mb(
            hosts.host_of(server), PAGE_KIB)
        plan = server.memory(wanted_mb)['plan']
        self.assertEqual(
            (False, ['host_node_full']),
            (plan['possible'], [why['code'] for why in plan['reasons']]))
        self.refuse(server, wanted_mb, 409, 'NUMA node',
                    code='host_node_full')
        self.assertEqual(
            before, (self.devices(server), hosts.used_huge_pages_mb()))
        self.assert_books(server, 640)
        self.grow_pages(server, 768)
        self.assert_clean()
