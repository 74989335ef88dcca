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
"""Servers of the memory model virtio-mem: what each start gives them."""

from lxml import etree

from nova_memhotplug.core import memory_spec
from tests.functional import base
from tests.functional import test_moves
from tests.functional import test_numa
from tests.functional import test_numa_moves

#: A server that was made with 512 MiB and has 1024 MiB now.
FIRST_MB, TOTAL_MB = 512, 1024
MODEL = {memory_spec.MODEL: 'virtio-mem'}
GROWN = dict(MODEL, **{memory_spec.BOOT_MEMORY_MB: str(FIRST_MB)})

DEVICE = """\
<memory model="virtio-mem"><target><size unit="KiB">3670016</size>\
<node>%d</node><block unit="KiB">2048</block>\
<requested unit="KiB">0</requested></target>\
<alias name="ua-memhotplug-vmem-0"/></memory>"""


def memory_elements(test, server):
    """List the memory devices of the domain that Nova has written."""
    root = etree.fromstring(test.defined_xml(server), etree.XMLParser(
        remove_blank_text=True))
    return [etree.tostring(one, encoding='unicode')
            for one in root.iterfind('devices/memory')]


class TestFirstBoot(base.MemoryTestBase):

    def test_device(self):
        """It has a device of all that it may get, a port for it, no more."""
        self.flags(num_pcie_ports=5, group='libvirt')
        for zero_node, node in (('true', 1), ('false', 0)):
            server = self.boot(
                dict(base.ELASTIC, **MODEL, **{
                    memory_spec.ZERO_NODE: zero_node}),
                properties={'hw_machine_type': 'q35'})
            self.assertEqual(
                [DEVICE % node], memory_elements(self, server))
            self.assertEqual(6, self.defined_xml(server).count(
                'model="pcie-root-port"'))
            guest = self.guest(server)
            self.assertEqual(
                (512, node + 1, base.CEILING_MB, 1, 0),
                (guest.boot_mb, len(guest.cells), guest.max_mb, guest.slots,
                 guest.used_slots))
            self.assert_books(server, 512)

    def test_refused(self):
        for extra_specs, words in (
                ({memory_spec.BOOT_MEMORY_MB: '256'}, "'dimm' this server "
                 'boots with 512 MiB'),
                (dict(MODEL, **{memory_spec.BOOT_MEMORY_MB: '640'}),
                 "not be above the flavor's RAM of 512 MiB"),
                (dict(MODEL, **{memory_spec.MAX_MEMORY_MB: '600'}),
                 'in steps of 128 MiB')):
            server = self.boot(
                dict(base.ELASTIC, **extra_specs), expected_state='ERROR')
            self.assertIn(words, server['fault']['message'])


class LifecycleBase(test_moves.MovesTestBase):
    """A server that has grown."""

    ceiling_mb = base.CEILING_MB

    def _boot(self):
        self._disable('compute2')
        server = self.boot(dict(base.ELASTIC, **GROWN, **{
            memory_spec.MAX_MEMORY_MB: str(self.ceiling_mb)}),
            memory_mb=TOTAL_MB)
        self._disable('compute2', False)
        return server

    def assert_asked(self, first_mb=FIRST_MB, total_mb=TOTAL_MB,
                     ceiling_mb=None):
        """It has booted with what it had at first, and asked for the rest."""
        for flags in (0, 2):
            guest = self.guest(self.server, flags)
            (device,) = guest.devices
            self.assertEqual(
                (first_mb, total_mb - first_mb, 'ua-memhotplug-vmem-0',
                 ceiling_mb or self.ceiling_mb),
                (guest.boot_mb, device.size_mb, device.alias, guest.max_mb))
        instance = self.instance(self.server)
        self.assertEqual(
            (total_mb, total_mb, total_mb),
            (instance.flavor.memory_mb, instance.memory_mb,
             self.claimed_mb(self.server, instance.host)))


class TestLifecycle(LifecycleBase):

    def test_same_host(self):
        """Nothing folds, whoever writes the domain."""
        self.assert_asked()
        self._reboot_server(self.server, hard=True)
        self.assert_asked()
        self._reboot_server(self.server, hard=False)
        self.assert_asked()
        self._stop_server(self.server)
        memory = self.show(self.server)[1]['memory']
        self.assertEqual((FIRST_MB, TOTAL_MB), (
            memory['boot_mb'], memory['current_mb']))
        self._start_server(self.server)
        self.assert_asked()
        self._rescue_server(self.server)
        self.assert_asked()
        self._unrescue_server(self.server)
        self.assert_asked()
        self._rebuild_server(self.server, self.glance.image1['id'])
        self.assert_asked()
        self._suspend_server(self.server)
        self._resume_server(self.server)
        self.assert_asked()

    def test_other_host(self):
        self.cold_migrate()
        self.assert_asked()
        self._revert_resize(self.server)
        self.assert_asked()
        self.live_migrate()
        self.assert_on('compute2', TOTAL_MB)
        self.assert_asked()
        self._shelve_server(self.server)
        self.unshelve()
        self.assert_asked()
        self.live_migrate()
        self.evacuate()
        self.assert_on('compute2', TOTAL_MB)
        self.assert_asked()

    def test_cold_resize(self):
        """It boots with all of another flavor, and goes back to its own."""
        other = self.create_flavor(
            dict(base.ELASTIC, **MODEL, **{
                memory_spec.MAX_MEMORY_MB: '2048'}), memory_mb=768)
        self._resize_server(self.server, other)
        self.assert_asked(768, 768, 2048)
        self._revert_resize(self.server)
        self.assert_asked()


class TestAtTheCeiling(LifecycleBase):

    ceiling_mb = TOTAL_MB

    def test_keeps_its_room(self):
        """A server with all that it may have keeps its way back."""
        self._reboot_server(self.server, hard=True)
        self.assert_asked()


class TestNuma(test_numa_moves.NumaMovesTestBase):
    """A device for each node of the flavor, where that is on the host."""

    case = test_numa.CASES['huge pages, uneven nodes']
    #: What was added is divided evenly.
    CELLS_MB = (640, 384)

    def _boot(self):
        self._disable('compute2')
        server = self.boot(
            dict(base.ELASTIC, **self.case.sized(self.CELLS_MB), **GROWN),
            memory_mb=TOTAL_MB)
        self._disable('compute2', False)
        return server

    def assert_bound(self, *nodes):
        guest = self.guest(self.server)
        self.assertEqual([384, 128], [
            cell.memory_kib // 1024 for cell in guest.own_cells])
        self.assertEqual(
            [(place, 256, 1792, 2, node, test_numa.HUGE_KIB)
             for place, node in enumerate(nodes)],
            [(int(dev.alias[-1]), dev.size_mb, dev.capacity_mb, dev.node,
              dev.backing.host_nodes, dev.backing.page_kib)
             for dev in guest.devices])
        self.assert_cells(self.server, self.case, self.CELLS_MB)

    def test_live_migration(self):
        self.fill_nodes(512, host='compute2', page_kib=test_numa.HUGE_KIB)
        self.assert_bound('0', '1')
        self._reboot_server(self.server, hard=True)
        self.assert_bound('0', '1')
        self.live_migrate()
        self.assert_bound('1', '0')
        self.assertEqual(
            [4096 - 512 + 384, 640],
            self.used_pages_mb('compute2', test_numa.HUGE_KIB))
