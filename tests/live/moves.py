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

"""A guest that goes on while its server moves."""

from tests.live import base
from tests.live import hosts


class MoveMixin:
    """For tests of servers that migrate live."""

    def grow_and_fill(self, server):
        """Give a server two devices, and its guest a file in its memory.

        :returns: what ``hosts.fill`` does
        """
        self.grow(server, 768)
        self.grow(server, 1024)
        server.wait_guest(
            '512 MiB more', lambda report: report['nodes'].get(1) ==
            512 * base.MIB_KB)
        return hosts.fill(server)

    def migrate_and_grow(self, server, seen, total_mb):
        """Migrate a server live: its guest goes on, and can grow there.

        :param seen: what was seen in the guest before
        :param total_mb: what it is brought to then
        :returns: what is seen in it now
        """
        (earlier, before), devices = seen, server.memory()['devices']
        hosts.migrate_live(server)
        self.assertEqual(devices, server.memory()['devices'])
        uptime, after = hosts.look_inside(server)
        self.assertGreater(uptime, earlier)
        self.assertEqual(before, after)
        self.grow(server, total_mb)
        self.assert_total(server, total_mb)
        self.assertEqual(devices, server.memory()['devices'][:-1])
        return uptime, after
