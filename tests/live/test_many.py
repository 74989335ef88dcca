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


"""Many real guests grow at the same moment.

``MEMHOTPLUG_MANY_SERVERS`` says how many; each takes up to half a GiB of the
machine.
"""

from concurrent import futures
import os

from tests.live import base
from tests.live import cloud
from tests.live import hosts

MANY = int(os.environ.get('MEMHOTPLUG_MANY_SERVERS') or 10)
CLIENTS = 8
#: Guests that boot at the same time: without KVM that is slow.
BATCH = 8
BOOT_MB, WANTED_MB, BLOCK_MB = 256, 384, 128
NODE = 1
#: They share the processors of one machine.
TIMEOUT = 900


class ManyTest(base.LiveTest):

    def setUp(self):
        super().setUp()
        self.admin = cloud.connect('admin')
        self.member = cloud.connect('member')
        cloud.delete_servers_named(self.name)
        self._lift_quota()

    def _lift_quota(self):
        """Let the project have as much as it likes while the test runs."""
        project = self.member.current_project_id
        quota = self.admin.compute.get_quota_set(project)
        self.addCleanup(
            self.admin.compute.update_quota_set, project,
            instances=quota.instances, cores=quota.cores, ram=quota.ram,
            force=True)
        self.admin.compute.update_quota_set(
            project, instances=-1, cores=-1, ram=-1, force=True)

    def _boot_all(self, flavor):
        servers = []
        while len(servers) < MANY:
            batch = [self.create(flavor=flavor)
                     for _ in range(min(BATCH, MANY - len(servers)))]
            for server in batch:
                server.wait(seconds=TIMEOUT)
                server.wait_guest('first report', bool, TIMEOUT)
            servers += batch
        return servers

    def _at_once(self, function, servers):
        """Call a function for each server from several clients."""
        with futures.ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(function, servers))

    def _hosts_mb(self):
        """Sum up what the hypervisor statistics say is used, in MiB."""
        hypervisors = self.admin.compute.get(
            '/os-hypervisors/detail',
            microversion='2.53').json()['hypervisors']
        return sum(one['memory_mb_used'] for one in hypervisors)

    def _quota_mb(self):
        return self.member.compute.get(
            '/limits').json()['limits']['absolute']['totalRAMUsed']

    def _wait_grown(self, server):
        return server.wait_guest(
            '%d MiB in use' % WANTED_MB, lambda guest: (
                guest['nodes'].get(NODE, 0) >=
                (WANTED_MB - BOOT_MB) * base.MIB_KB and
                guest['blocks_online'] * BLOCK_MB == WANTED_MB and
                not guest['blocks_offline']), TIMEOUT)

    def test_all_at_once(self):
        flavor = self.flavor('live-many', ram=BOOT_MB,
                             memhotplug__max_memory_mb='1024',
                             memhotplug__slots='4')
        quota_mb = self._quota_mb()
        servers = self._boot_all(flavor)
        before = [server.guest() for server in servers]
        hosts_mb = self._hosts_mb()

        answers = self._at_once(
            lambda server: server.resize(WANTED_MB), servers)
        self.assertEqual(
            [202] * MANY, [answer.status_code for answer in answers],
            [answer.text for answer in answers])
        for server in servers:
            server.wait(seconds=TIMEOUT)
        self.assertEqual(
            [('done', None)] * MANY,
            [(last['status'], last['message']) for last in (
                server.wait_resized(TIMEOUT) for server in servers)])

        books = [server.books() for server in servers]
        total_mb = MANY * WANTED_MB
        sums = {
            'flavors': sum(flavor_mb for flavor_mb, _ in books),
            'allocations': sum(allocated_mb for _, allocated_mb in books),
            'domains': sum(map(hosts.domain_mb, servers)),
            'hosts': self._hosts_mb() - hosts_mb + MANY * BOOT_MB,
            'quota': self._quota_mb() - quota_mb,
        }
        self.assertEqual(dict.fromkeys(sums, total_mb), sums)
        for server, first in zip(servers, before):
            self.assert_grown(
                first, self._wait_grown(server), NODE, WANTED_MB - BOOT_MB)
            self.assertEqual(1, server.boots(), 'the guest was rebooted')
