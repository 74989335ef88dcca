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

"""The list of the servers of a project: ``GET /os-server-memory``."""

from tests.functional import base


class TestList(base.MemoryTestBase):

    def setUp(self):
        super().setUp()

        def ask(this, context, instance, ask_guest=False):
            self.fail('a host was asked')

        self.stub_out(
            'nova_memhotplug.common.rpcapi.MemHotplugAPI.observe_memory', ask)

    def list(self, query='', api=None):
        response = (api or self.api).api_request('os-server-memory' + query)
        return response.status_code, response.json()

    def test_servers(self):
        """Of each server what is known, and nothing of another project."""
        plain = self.boot()
        grown = self.boot_elastic()
        self.grow(grown, 1024)
        stopped = self.boot_elastic()
        self._stop_server(stopped)
        status, body = self.list()
        self.assertEqual(200, status)
        self.assertEqual(['servers'], list(body))
        self.assertEqual({
            plain['id']: {
                'boot_mb': 512, 'current_mb': 512, 'max_mb': 512,
                'slots': {'total': 0, 'used': 0, 'free': 0},
                'source': 'flavor'},
            grown['id']: {
                'boot_mb': 512, 'current_mb': 1024, 'max_mb': base.CEILING_MB,
                'slots': {'total': 8, 'used': 1, 'free': 7},
                'source': 'note'},
            stopped['id']: {
                'boot_mb': 512, 'current_mb': 512, 'max_mb': base.CEILING_MB,
                'slots': {'total': 8, 'used': 0, 'free': 8},
                'source': 'flavor'},
        }, {server['id']: server['memory'] for server in body['servers']})
        self.assertIn(grown['name'], [
            server['name'] for server in body['servers']])
        self.check_pages(body['servers'])
        self.assertEqual(
            (200, {'servers': []}), self.list(api=self.other_project()))
        self.assertEqual(403, self.list(api=self.other_project(roles=()))[0])

    def check_pages(self, servers):
        """Each page names the next one, and Nova checks what it is given."""
        status, body = self.list('?limit=2')
        self.assertEqual((200, servers[:2]), (status, body['servers']))
        link, = body['servers_links']
        self.assertEqual('next', link['rel'])
        status, body = self.list('?' + link['href'].partition('?')[2])
        self.assertEqual((200, {'servers': servers[2:]}), (status, body))
        for query in ('?limit=x', '?limit=-1', '?marker=nobody'):
            self.assertEqual(400, self.list(query)[0], query)
