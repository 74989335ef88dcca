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

"""What the live tests have in common."""

import testtools

from tests.live import cloud

MIB_KB = 1024


class LiveTest(testtools.TestCase):
    """A test with servers that are deleted after it."""

    @property
    def name(self):
        """The name of all servers of this test."""
        return 'live-%s' % self.id().rsplit('.', 1)[-1][:40]

    def create(self, arch='x86_64', flavor='elastic', **more):
        """Create a server without waiting for it."""
        server = cloud.create_server(arch, flavor, name=self.name, **more)
        self.addCleanup(cloud.delete_server, server)
        return server

    def boot(self, arch='x86_64', flavor='elastic', **more):
        """Create a server and wait for its guest's first word."""
        server = self.create(arch, flavor, **more)
        server.wait()
        server.wait_guest('first report', bool)
        return server

    def flavor(self, name, ram=512, **extra_specs):
        """Make a flavor that is deleted after the test.

        One of that name that a killed run has left behind is replaced.

        :param name: its name
        :param ram: in MiB
        :param extra_specs: with ``__`` for ``:``
        :returns: its name
        """
        compute = cloud.connect('admin').compute
        leftover = compute.find_flavor(name)
        if leftover is not None:
            compute.delete_flavor(leftover)
        flavor = compute.create_flavor(
            name=name, ram=ram, vcpus=1, disk=1, is_public=True)
        self.addCleanup(compute.delete_flavor, flavor)
        specs = {key.replace('__', ':'): value
                 for key, value in extra_specs.items()}
        specs['trait:CUSTOM_MEMORY_HOTPLUG'] = 'required'
        compute.create_flavor_extra_specs(flavor, specs)
        return name

    def grow(self, server, total_mb):
        """Grow a server and wait until Nova is done with it.

        :returns: the body of the 202 answer
        """
        answer = server.resize(total_mb)
        self.assertEqual(202, answer.status_code, answer.text)
        server.wait()
        return answer.json()['memory']

    def assert_total(self, server, total_mb):
        """The API, the books and placement agree on a total."""
        memory = server.memory()
        self.assertEqual(
            (total_mb, total_mb), (memory['current_mb'],
                                   memory['requested_mb']), memory)
        self.assertEqual((total_mb, total_mb), server.books())

    def assert_grown(self, before, after, node, added_mb):
        """The guest has exactly so much more memory, all on one node."""
        self.assertEqual(
            before['nodes'].get(node, 0) + added_mb * MIB_KB,
            after['nodes'].get(node), after)
        others = {number: kb for number, kb in after['nodes'].items()
                  if number != node}
        self.assertEqual(
            {number: kb for number, kb in before['nodes'].items()
             if number != node}, others)
