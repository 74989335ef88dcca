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

"""Nova's books: quota, flavor, host usage, a full host."""

import uuid

from testtools import matchers

from tests.live import base
from tests.live import cloud


FULL = 'The host of this server has not enough memory free.'


class BooksTest(base.LiveTest):

    def setUp(self):
        super().setUp()
        self.admin = cloud.connect('admin')

    def refuse(self, server, wanted, status, *words):
        answer = server.compute.post(
            server.path + '/action', json={'resizeMemory': wanted})
        self.assertEqual(status, answer.status_code, answer.text)
        for word in words:
            self.assertIn(word, answer.text)
        self.assert_total(server, 512)
        return answer

    def host(self, server):
        """Find the placement provider that a server is on."""
        allocations = self.admin.placement.get(
            '/allocations/' + server.id).json()['allocations']
        (provider,) = allocations
        return provider

    def used_mb(self, server):
        """Get what the host's hypervisor statistics say is used, in MiB."""
        hypervisor = self.admin.compute.get(
            '/os-hypervisors/' + self.host(server),
            microversion='2.53').json()['hypervisor']
        return hypervisor['memory_mb_used']

    @staticmethod
    def used_by_project_mb():
        """Get what counts against the quota, in MiB."""
        return cloud.connect('member').compute.get(
            '/limits').json()['limits']['absolute']['totalRAMUsed']

    def test_host_usage_follows_at_once(self):
        server = self.boot()
        before = self.used_mb(server)
        self.grow(server, 1024)
        self.assertEqual(before + 512, self.used_mb(server))

    def test_quota(self):
        server = self.boot()
        project = cloud.connect('member').current_project_id
        quota = self.admin.compute.get_quota_set(project)
        self.addCleanup(self.admin.compute.update_quota_set, project,
                        ram=quota.ram)
        used = self.used_by_project_mb()
        self.admin.compute.update_quota_set(
            project, ram=used + 256, force=True)
        self.refuse(server, {'memory_mb': 1024}, 403, 'ram', '512',
                    str(used), str(used + 256))
        plan = server.memory(1024)['plan']
        self.assertEqual(
            (False, ['over_quota']),
            (plan['possible'], [why['code'] for why in plan['reasons']]))
        # What is within the limit goes through; what is added counts.
        self.grow(server, 768)
        self.assert_total(server, 768)
        self.assertEqual(used + 256, self.used_by_project_mb())

    def test_full_host(self):
        server = self.boot()
        self._fill(self.host(server), leave_mb=256)
        plan = server.memory(4096, user='admin')['plan']
        self.assertEqual(
            ['host_full'], [why['code'] for why in plan['reasons']])
        # A host's memory may change while a virtual machine runs it.
        self.assertThat(plan['reasons'][0]['message'], matchers.MatchesRegex(
            r'.* has \d+ MiB of memory free; 3584 MiB more were asked for\.'))
        # How full a host is is not for its tenants.
        self.assertEqual(
            [{'code': 'host_full', 'message': FULL}],
            server.memory(4096)['plan']['reasons'])
        answer = self.refuse(server, {'memory_mb': 4096}, 409, FULL)
        self.assertEqual('host_full', cloud.reason(answer))
        self.assert_total(server, 512)
        self.assertEqual([], server.memory()['devices'])

    def _fill(self, provider, leave_mb):
        """Let somebody else have the host's memory but for a bit."""
        placement = self.admin.placement
        base_url = '/resource_providers/%s' % provider
        memory = placement.get(
            base_url + '/inventories').json()['inventories']['MEMORY_MB']
        used = placement.get(
            base_url + '/usages').json()['usages']['MEMORY_MB']
        amount = (memory['total'] - memory['reserved']) * int(
            memory['allocation_ratio']) - used - leave_mb
        consumer = str(uuid.uuid4())
        answer = placement.put(
            '/allocations/' + consumer, microversion='1.28', json={
                'allocations': {provider: {
                    'resources': {'MEMORY_MB': amount}}},
                'consumer_generation': None,
                'project_id': consumer, 'user_id': consumer})
        self.assertEqual(204, answer.status_code, answer.text)
        self.addCleanup(placement.delete, '/allocations/' + consumer)
