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
"""A running guest keeps memory that it was asked to give back."""

import functools

from tests.live import agent
from tests.live import base
from tests.live import hosts

#: More than is free of what the guest booted with.
FILL = """
mkdir /mnt
mount -t ramfs ramfs /mnt
dd if=/dev/zero of=/mnt/file bs=1M count=450
"""


class ShrinkTest(base.LiveTest):

    def test_guest_uses_it(self):
        server = self.boot()
        self.grow(server, 1024)
        server.wait_guest(
            '512 MiB on node 1',
            lambda guest: guest['nodes'].get(1, 0) == 512 * base.MIB_KB)
        agent.run(functools.partial(hosts.virsh, hosts.host_of(server)),
                  server.id, FILL)
        answer = server.resize(512)
        self.assertEqual(202, answer.status_code, answer.text)
        last = server.wait_resized()
        self.assertEqual('failed', last['status'])
        self.assertIn('The guest keeps memory', last['message'])
        self.assert_total(server, 1024)
        self.assertEqual(1024, hosts.domain_mb(server))
