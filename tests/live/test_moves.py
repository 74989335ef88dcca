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

"""A server that has grown moves at its real size (design T5)."""

import ddt

from tests.live import base
from tests.live import cloud
from tests.live import moves


@ddt.ddt
class MoveTest(moves.MoveMixin, base.LiveTest):

    @ddt.data(*cloud.ARCHS)
    def test_live_migration_there_and_back(self, arch):
        """The guest goes on, with a file in its memory and two devices."""
        server = self.boot(arch)
        seen = self.grow_and_fill(server)
        for total_mb in (1280, 1536):
            seen = self.migrate_and_grow(server, seen, total_mb)
