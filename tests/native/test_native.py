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

"""Hosts that start empty cells by themselves, and hosts that need the shim.

The sandbox has one of each: ``sandbox up --hosts 12,13``.
"""

import ddt

from tests.live import base
from tests.live import cloud
from tests.live import hosts
from tests.live import moves

SHIM_HOST, NATIVE_HOST = 'lv1', 'lv2'
OTHER = {SHIM_HOST: NATIVE_HOST, NATIVE_HOST: SHIM_HOST}


class NativeTestBase(base.LiveTest):

    def boot_on(self, host, arch):
        """Create a server on a host and wait for its guest's first word."""
        hosts.disable(OTHER[host])
        try:
            server = self.boot(arch)
        finally:
            hosts.disable(OTHER[host], False)
        self.assertEqual(host, hosts.host_of(server))
        return server

    def assert_started_by(self, server, host, strategy):
        """A server is on a host, and started in this way."""
        self.assertEqual((host, strategy), (
            hosts.host_of(server), server.memory()['strategy']))


@ddt.ddt
class NativeTest(NativeTestBase):

    @ddt.data(*cloud.ARCHS)
    def test_boot_and_grow(self, arch):
        server = self.boot_on(NATIVE_HOST, arch)
        self.assert_started_by(server, NATIVE_HOST, 'native')
        before = server.guest()
        self.assertEqual(0, before['nodes'].get(1, 0))
        self.grow(server, 1024)
        after = server.wait_guest(
            '512 MiB on node 1', lambda guest: guest['nodes'].get(1, 0) ==
            512 * base.MIB_KB)
        self.assert_grown(before, after, 1, 512)
        self.assert_total(server, 1024)
        self.assertEqual(1, server.boots())


class CrossingTest(moves.MoveMixin, NativeTestBase):

    def test_live_migration_there_and_back(self):
        """The guest leaves the shim and comes back, and goes on all the time.

        x86_64 alone: an emulated aarch64 guest moves only between hosts with
        the same QEMU (facts-native.md, section 4).
        """
        server = self.boot_on(SHIM_HOST, 'x86_64')
        self.assert_started_by(server, SHIM_HOST, 'shim')
        seen = self.grow_and_fill(server)
        for total_mb, host, strategy in (
                (1280, NATIVE_HOST, 'native'), (1536, SHIM_HOST, 'shim')):
            seen = self.migrate_and_grow(server, seen, total_mb)
            self.assert_started_by(server, host, strategy)
