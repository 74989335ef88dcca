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

"""What others have reported of such software, asked of this one.

The names of the reports (P1, ...) are those of the review that has collected
them. Servers are shared, since a start of one is what takes time.
"""

from lxml import etree

from tests.live import base
from tests.live import cloud
from tests.live import hosts
from tests.live import refusals

#: 1 TiB, which no processor with 40 address bits can have beside its devices.
TIB_MB = 1 << 20
#: What a server of 512 MiB with that ceiling is told: what there is, what it
#: needs and what would fit. QEMU's own model is one of AMD's, for which memory
#: begins at 1 TiB where it would reach a hole below that. Each of 8 slots
#: takes 1 GiB, PCI 32 GiB.
TOO_HIGH = ('40 bits', 'needs %d MiB of addresses' % (2 * TIB_MB + 40 * 1024),
            'at most %d MiB fit' % (TIB_MB - 56 * 1024 + 512))
OVERCOMMIT = 4.0


class ReportsTest(refusals.RefusalMixin, base.LiveTest):

    def elastic(self, name, max_mb, ram=512, **extra_specs):
        """Make a flavor with a ceiling."""
        return self.flavor('live-' + name, ram, **{
            'memhotplug__max_memory_mb': str(max_mb),
            'memhotplug__slots': '8', **extra_specs})

    def to_flavor(self, server, name, action='resizeMemory'):
        """Resize a server to a flavor, running or cold."""
        flavor = cloud.connect('admin').compute.find_flavor(name)
        answer = server.compute.post(
            server.path + '/action', json={action: {'flavorRef': flavor.id}})
        self.assertEqual(202, answer.status_code, answer.text)
        server.wait()
        return answer

    def codes(self, server, **query):
        memory = server.memory(**query)
        return [why['code'] for why in memory.get('plan', memory)['reasons']]

    def test_ceilings(self):
        """One server meets those of flavors, of its host, its processor."""
        memory = self.inventory()
        wanted_mb = memory['max_unit'] // 128 * 128 + 128
        # The page map of as much as the host has fits into it.
        boot_mb = max(512, wanted_mb // 2048 * 128 + 128)
        too_high = self.elastic('tib', TIB_MB)
        server = self.create(flavor=self.elastic('room', wanted_mb, boot_mb))
        self.refuse_new(too_high)
        server.wait()
        server.wait_guest('first report', bool)
        self.refuse_cold_resize(server, too_high, boot_mb)
        self.refuse_more_than_the_host_has(server, memory, wanted_mb)
        self.keep_below_the_lower_ceiling(server, boot_mb)

    def refuse_new(self, flavor):
        """P3: it is not tried on each host in turn."""
        server = self.create(flavor=flavor)
        server.wait('ERROR')
        fault = cloud.connect('admin').compute.get_server(server.id).fault
        for word in TOO_HIGH:
            self.assertIn(word, fault['message'])
        (action,) = self.actions(server, 'create')
        self.assertEqual(1, [event['event'] for event in action[
            'events']].count('compute__do_build_and_run_instance'))

    def refuse_cold_resize(self, server, flavor, total_mb):
        """P3: the server goes on, and nothing was switched off."""
        self.to_flavor(server, flavor, 'resize')
        # Nova writes down how an event has ended when its state is gone.
        (event,) = cloud.until(20, 'a resize that has failed', lambda: [
            event for action in self.actions(server, 'resize')
            for event in action['events'] if event['result'] == 'Error'])
        for word in TOO_HIGH:
            self.assertIn(word, event['details'])
        self.assertEqual(1, server.boots(), 'the guest was switched off')
        self.assert_total(server, total_mb)

    @staticmethod
    def actions(server, name):
        """Get the actions of a kind, with what an administrator may read."""
        compute = cloud.connect('admin').compute
        path = server.path + '/os-instance-actions'
        return [
            compute.get('%s/%s' % (path, action['request_id']),
                        microversion='2.84').json()['instanceAction']
            for action in compute.get(path).json()['instanceActions']
            if action['action'] == name]

    def assert_told(self, server, total_mb, name):
        """P4: exporters and Ceilometer read what Nova's books say."""
        def told(*option):
            root = etree.fromstring(hosts.virsh(
                hosts.host_of(server), 'dumpxml', server.id, *option))
            flavor = root.find('metadata/{*}instance/{*}flavor')
            return flavor.findtext('{*}memory'), flavor.get('name')

        wanted = str(total_mb), name
        cloud.until(10, 'a domain that says %s' % (wanted,),
                    lambda: {wanted} == {told(), told('--inactive')})

    def inventory(self):
        """Read the memory of a host, as all hosts have it, in placement."""
        placement = cloud.connect('admin').placement
        for provider in placement.get(
                '/resource_providers').json()['resource_providers']:
            found = placement.get('/resource_providers/%s/inventories' % (
                provider['uuid'])).json()['inventories']
            if 'MEMORY_MB' in found:
                return found['MEMORY_MB']
        raise AssertionError('no host has memory')

    def overcommit(self, server, ratio):
        """Let placement give the memory of a server's host several times."""
        placement = cloud.connect('admin').placement
        (provider,) = placement.get(
            '/allocations/' + server.id).json()['allocations']
        path = '/resource_providers/%s/inventories/MEMORY_MB' % provider
        found = placement.get(path).json()
        placement.put(path, json=dict(
            found, allocation_ratio=ratio)).raise_for_status()

    def refuse_more_than_the_host_has(self, server, memory, wanted_mb):
        """P5: placement lets no server have more, whatever it gives away."""
        self.addCleanup(
            self.overcommit, server, memory['allocation_ratio'])
        self.overcommit(server, OVERCOMMIT)
        self.assertEqual(
            ['host_too_small'], self.codes(server, wanted_mb=wanted_mb))
        self.refuse(server, wanted_mb, 409,
                    'takes no server that is so large', code='host_too_small')
        (why,) = server.memory(wanted_mb, user='admin')['plan']['reasons']
        self.assertIn('no server of more than %d MiB; %d MiB were asked' % (
            memory['max_unit'], wanted_mb), why['message'])
        self.assertEqual(
            [], self.codes(server, wanted_mb=wanted_mb // 2048 * 1024))

    def keep_below_the_lower_ceiling(self, server, boot_mb):
        """P1: the ceiling of its flavor counts beside the guest's own.

        Exporters are told of each step (P4).
        """
        total_mb, max_mb = boot_mb + 512, boot_mb + 1024
        low = self.elastic('low', max_mb, ram=total_mb)
        self.to_flavor(server, low)
        self.assert_told(server, total_mb, low)
        self.refuse(server, max_mb + 512, 400, '%d MiB' % (max_mb + 512),
                    'ceiling of %d MiB of the flavor' % max_mb,
                    code='above_ceiling')
        self.grow(server, max_mb)
        self.assert_told(server, max_mb, low)
        server.act({'reboot': {'type': 'HARD'}})
        server.wait()
        self.assert_total(server, max_mb)
        self.assertEqual(max_mb, hosts.domain_mb(server))
        self.assertEqual(max_mb, server.memory()['max_mb'])
        self.assertEqual(['at_ceiling'], self.codes(server))

    def test_own_flavor(self):
        """P8: with the size of its cell, which growth has changed."""
        name = self.elastic('cell', 4096, hw__numa_nodes='1', **{
            'hw__numa_cpus.0': '0', 'hw__numa_mem.0': '512'})
        server = self.boot(flavor=name)
        self.grow(server, 1024)
        before = server.memory()
        answer = self.to_flavor(server, name).json()['memory']
        self.assertEqual((False, []), (answer['changed'], answer['devices']))
        self.assertIn('nothing was changed', answer['message'])
        self.assertEqual(before, server.memory())
        self.assert_total(server, 1024)

    def test_block_of_1_gib(self):
        """P6: kernels of aarch64 before 5.12 have it.

        The image names a smaller one: the larger counts. What such a kernel
        does with the memory is not waited for: the sandbox has none.
        """
        server = self.create('aarch64', self.elastic(
            'block', 4096, memhotplug__block_mb='1024'))
        server.wait()
        self.refuse(server, 640, 400, 'in steps of 1024 MiB', '1536',
                    code='unaligned')
        self.grow(server, 1536)
        (device,) = server.memory()['devices']
        self.assertEqual((1024, 0), (
            device['size_mb'], int(device['address'], 16) % (1 << 30)))
