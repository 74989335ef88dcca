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

"""The main job: a running server grows into its empty NUMA node."""

import ddt

from tests.live import base
from tests.live import cloud
from tests.live import hosts

DIMM = {'model': 'dimm', 'node': 1, 'size_mb': 512}


@ddt.ddt
class GrowTest(base.LiveTest):

    @ddt.data(*cloud.ARCHS)
    def test_twice(self, arch):
        server = self.boot(arch)
        first = server.guest()
        self.assertEqual(0, first['nodes'].get(1, 0), first)
        self.assert_total(server, 512)
        self.assertEqual('shim', server.memory()['strategy'])

        answer = self.grow(server, 1024)
        self.assertEqual((True, [DIMM]),
                         (answer['changed'], answer['devices']))
        second = self._wait_node1(server, 512)
        self.assert_grown(first, second, 1, 512)
        self.assert_total(server, 1024)

        self.grow(server, 1536)
        third = self._wait_node1(server, 1024)
        self.assert_grown(second, third, 1, 512)
        self.assert_total(server, 1536)
        self._check_devices(server)
        self.assertEqual(1, server.boots(), 'the guest was rebooted')

    def _wait_node1(self, server, size_mb):
        return server.wait_guest(
            '%d MiB on node 1' % size_mb,
            lambda guest: guest['nodes'].get(1, 0) >= size_mb * base.MIB_KB)

    def _check_devices(self, server):
        memory = server.memory(guest=True)
        self.assertEqual(
            {'total': 8, 'used': 2, 'free': 6}, memory['slots'])
        self.assertEqual([0, 1], [dev['slot'] for dev in memory['devices']])
        self.assertEqual(
            [DIMM, DIMM],
            [{key: dev[key] for key in DIMM} for dev in memory['devices']])
        self.assertEqual(
            {'agent': True, 'online_mb': 1536, 'confirmed': True},
            memory['guest'])

    def test_repeated_request_changes_nothing(self):
        server = self.boot()
        self.grow(server, 1024)
        before = server.memory()
        answer = self.grow(server, 1024)
        self.assertEqual((False, []), (answer['changed'], answer['devices']))
        self.assertIn('nothing was changed', answer['message'])
        self.assertEqual(before, server.memory())
        self.assertEqual(1, len(server.events()))

    def test_action_is_recorded(self):
        server = self.boot()
        self.grow(server, 1024)
        (action,) = server.events()
        (event,) = action['events']
        self.assertEqual(('compute_resize_memory', 'Success'),
                         (event['event'], event['result']))

    def test_plan_changes_nothing(self):
        server = self.boot()
        plan = server.memory(1024)['plan']
        self.assertEqual((True, [DIMM]), (plan['possible'], plan['devices']))
        plan = server.memory(5000)['plan']
        self.assertEqual(
            (False, ['above_ceiling', 'unaligned']),
            (plan['possible'], [why['code'] for why in plan['reasons']]))
        self.assert_total(server, 512)


@ddt.ddt
class LostDeviceTest(base.LiveTest):

    @ddt.data(*cloud.ARCHS)
    def test_taken_away(self, arch):
        """QEMU has a device that libvirt does not know of."""
        server = self.boot(arch)
        self.grow(server, 640)
        first = server.wait_guest(
            '128 MiB on node 1',
            lambda guest: guest['nodes'].get(1, 0) == 128 * base.MIB_KB)
        hosts.attach_unseen(server, 256, slot=1)
        server.wait_guest(
            '384 MiB on node 1',
            lambda guest: guest['nodes'].get(1, 0) == 384 * base.MIB_KB)
        self.assert_total(server, 640)
        self.grow(server, 1152)
        last = server.wait_guest(
            '640 MiB on node 1',
            lambda guest: guest['nodes'].get(1, 0) == 640 * base.MIB_KB)
        self.assert_grown(first, last, 1, 512)
        self.assert_total(server, 1152)
        self.assertEqual(
            {dev['alias'] for dev in server.memory()['devices']},
            {dev['data']['id'] for dev in hosts.ask_qemu(
                server, 'query-memory-devices')})
        self.assertEqual(1, server.boots(), 'the guest was rebooted')


@ddt.ddt
class RebootTest(base.LiveTest):

    @ddt.data(*cloud.ARCHS)
    def test_hard_reboot_folds(self, arch):
        server = self.boot(arch)
        self.grow(server, 1024)
        self._hard_reboot(server, 1024)
        self.assertEqual(8, server.memory()['slots']['free'])
        self.grow(server, 1536)
        server.wait_guest(
            '512 MiB on node 1',
            lambda guest: guest['nodes'].get(1, 0) == 512 * base.MIB_KB)
        self.assert_total(server, 1536)

    @ddt.data(*cloud.ARCHS)
    def test_hard_reboot_at_the_ceiling(self, arch):
        flavor = self.flavor('live-low-%s' % arch,
                             memhotplug__max_memory_mb='1024')
        server = self.boot(arch, flavor)
        self.grow(server, 1024)
        self._hard_reboot(server, 1024)
        memory = server.memory()
        self.assertEqual((1024, False, ['at_ceiling']), (
            memory['boot_mb'], memory['can_grow'],
            [why['code'] for why in memory['reasons']]))
        answer = server.resize(1152)
        self.assertEqual(409, answer.status_code, answer.text)
        self.assertIn('1024 MiB', answer.text)

    def _hard_reboot(self, server, total_mb):
        server.act({'reboot': {'type': 'HARD'}})
        server.wait()
        guest = server.wait_guest(
            'all of it on node 0', lambda guest: (
                guest['nodes'][0] > (total_mb - 200) * base.MIB_KB and
                not guest['nodes'].get(1)))
        self.assertLess(guest['nodes'][0], total_mb * base.MIB_KB)
        self.assert_total(server, total_mb)
        self.assertEqual([], server.memory()['devices'])

    @ddt.data(*cloud.ARCHS)
    def test_soft_reboot_keeps(self, arch):
        server = self.boot(arch)
        self.grow(server, 1024)
        server.act({'reboot': {'type': 'SOFT'}})
        server.wait()
        server.wait_guest(
            '512 MiB on node 1 again',
            lambda guest: guest['nodes'].get(1, 0) == 512 * base.MIB_KB)
        self.assert_total(server, 1024)
        (device,) = server.memory()['devices']
        self.assertEqual((1, 512, 0), (
            device['node'], device['size_mb'], device['slot']))
