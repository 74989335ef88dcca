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

"""Who may look at the memory of a server, and who may change it."""

from tempest.lib import decorators
from tempest.lib import exceptions

from nova_memhotplug_tempest_plugin.tests import base


class ReaderTest(base.MemoryTest):
    """Somebody who may only read what is in the project."""

    credentials = ['primary', 'project_reader']

    @classmethod
    def skip_checks(cls):
        super().skip_checks()
        cls.skip_without_feature('reader_role')

    @decorators.idempotent_id('4c9e7b10-6a2d-4d8f-9b3c-e1f0a5d6c728')
    def test_looks_but_changes_nothing(self):
        server_id = self.create(self.addCleanup)
        reader = self.os_project_reader.memhotplug.ServerMemoryClient()
        memory = reader.show_server_memory(server_id)['memory']
        self.assertEqual(
            base.lasting(self.show(server_id)), base.lasting(memory))
        wanted_mb = memory['current_mb'] + memory['step_mb']
        plan = reader.show_server_memory(
            server_id, memory_mb=wanted_mb)['memory']['plan']
        self.assertEqual((False, ['not_allowed']), (
            plan['possible'], [why['code'] for why in plan['reasons']]))
        self.refuse(
            exceptions.Forbidden, 'not_allowed', server_id,
            'policy does not allow you to change', client=reader,
            memory_mb=wanted_mb)


class OtherProjectTest(base.MemoryTest):
    """Somebody from another project, for whom the server is not there."""

    credentials = ['primary', 'alt']

    @classmethod
    def setup_clients(cls):
        super().setup_clients()
        if (cls.os_alt.credentials.project_id ==
                cls.os_primary.credentials.project_id):
            raise cls.skipException('no account of another project')

    @decorators.idempotent_id('90d2b7e5-3f8c-4b06-a4d1-7c5e8a9f0b13')
    def test_is_not_there(self):
        server_id = self.create(self.addCleanup)
        stranger = self.os_alt.memhotplug.ServerMemoryClient()
        self.assertRaises(exceptions.NotFound,
                          stranger.show_server_memory, server_id)
        self.refuse(exceptions.NotFound, None, server_id, server_id,
                    client=stranger, memory_mb=1024)
