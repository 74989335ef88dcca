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
"""A running guest gives memory back, or keeps it."""

import functools

import ddt

from tests.live import agent
from tests.live import base
from tests.live import cloud
from tests.live import hosts

#: More than is free of what the guest booted with.
FILL = """
mkdir /mnt
mount -t ramfs ramfs /mnt
dd if=/dev/zero of=/mnt/file bs=1M count=450
"""


@ddt.ddt
class ShrinkTest(base.LiveTest):

    def shrink(self, server, total_mb):
        """Ask for less, and wait for what becomes of it.

        :returns: ``last_resize`` of os-memory
        """
        answer = server.resize(total_mb)
        self.assertEqual(202, answer.status_code, answer.text)
        return server.wait_resized()

    def wait_node1(self, server, size_mb):
        return server.wait_guest(
            '%d MiB on node 1' % size_mb,
            lambda guest: guest['nodes'].get(1, 0) == size_mb * base.MIB_KB)

    @ddt.data(*cloud.ARCHS)
    def test_down_and_up(self, arch):
        """A guest whose kernel keeps nothing of its own there."""
        image = 'live-movable-memory-' + arch
        cloud.copy_image(arch, image, 'memhotplug.online=movable')
        self.addCleanup(cloud.delete_image, image)
        server = self.boot(arch, image=image)
        self.grow(server, 768)
        self.grow(server, 1536)
        self.wait_node1(server, 1024)
        self.assertEqual(512, server.memory()['min_mb'])
        self.assertEqual(400, server.resize(1024).status_code)
        for total_mb in (768, 512):
            self.assertEqual(
                'done', self.shrink(server, total_mb)['status'])
            self.wait_node1(server, total_mb - 512)
            self.assert_total(server, total_mb)
            self.assertEqual(total_mb, hosts.domain_mb(server))
        self.grow(server, 1024)
        self.wait_node1(server, 512)
        self.assert_total(server, 1024)
        self.assertEqual(1, server.boots(), 'the guest was rebooted')

    def test_guest_uses_it(self):
        server = self.boot()
        self.grow(server, 1024)
        self.wait_node1(server, 512)
        agent.run(functools.partial(hosts.virsh, hosts.host_of(server)),
                  server.id, FILL)
        last = self.shrink(server, 512)
        self.assertEqual('failed', last['status'])
        self.assertIn('The guest keeps memory', last['message'])
        self.assert_total(server, 1024)
        self.assertEqual(1024, hosts.domain_mb(server))
