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

"""Every zero-cell strategy boots and grows a guest."""

import json

import ddt

from tests.live import base
from tests.live import cloud
from tests.live import hosts


@ddt.ddt
class StrategyTest(base.LiveTest):

    @classmethod
    def tearDownClass(cls):
        cloud.sandbox('reload')
        super().tearDownClass()

    @ddt.data('shim', 'tiny', 'existing')
    def test_configured(self, strategy):
        cloud.sandbox('reload', SANDBOX_ZERO_CELL_STRATEGY=strategy)
        servers = [self.create(arch) for arch in cloud.ARCHS]
        for server in servers:
            self._boot_and_grow(server, strategy)

    def test_flavor_without_a_zero_node(self):
        cloud.sandbox('reload')
        flavor = self.flavor(
            'live-no-zero-node', memhotplug__max_memory_mb='4096',
            memhotplug__zero_node='false')
        self._boot_and_grow(self.create(flavor=flavor), 'existing')

    def _boot_and_grow(self, server, strategy):
        node = 0 if strategy == 'existing' else 1
        server.wait()
        before = server.wait_guest('first report', bool)
        memory = server.memory()
        self.assertEqual(
            (strategy, None if strategy == 'existing' else 1, 512),
            (memory['strategy'], memory['zero_node'], memory['boot_mb']))
        # A tiny cell is a node of less than 1 MiB, or none.
        self.assertLess(before['nodes'].get(1, 0), base.MIB_KB)
        self.grow(server, 1024)
        after = server.wait_guest(
            '512 MiB more on node %d' % node, lambda guest: (
                guest['nodes'].get(node, 0) >=
                before['nodes'].get(node, 0) + 512 * base.MIB_KB))
        self.assert_grown(before, after, node, 512)
        self.assert_total(server, 1024)


class ShimTest(base.LiveTest):
    """What a host's operator is told of the shim."""

    def setUp(self):
        super().setUp()
        self.path = hosts.shim()
        self.addCleanup(self._status, 'shim', 'install')

    def _status(self, *arguments, host='lv1'):
        return hosts.run(
            'nova-memhotplug-status', *arguments, config=host + '.conf')

    def _assert_check(self, code, words):
        done = self._status('check')
        text = ' '.join(done.stdout.replace('|', ' ').split())
        self.assertEqual(code, done.returncode, text + done.stderr)
        self.assertIn(words, text)

    def test_what_is_wrong(self):
        self._assert_check(0, 'qemu-system-x86_64 starts /usr/bin/qemu')
        self.path.chmod(0o757)
        self._assert_check(2, 'is writable by everyone')
        self.path.chmod(0o644)
        self._assert_check(2, 'cannot be read and run by all users')
        self.path.chmod(0o755)
        self.path.write_text('#!/bin/sh\nexit 1\n')
        self._assert_check(2, 'libvirt cannot use')
        self.path.unlink()
        self._assert_check(1, 'libvirt finds no shim for qemu-system-')
        self._status('shim', 'install')
        self._assert_check(0, 'qemu-system-x86_64 starts /usr/bin/qemu')

    def _host(self):
        """Have the host looked at; return what was found, by the check."""
        done = self._status('host', '--format', 'json')
        self.assertIn(done.returncode, (0, 1, 2), done.stderr)
        return {line['check']: line for line in json.loads(done.stdout)}

    def _assert_strategies(self, lines, shim):
        """Those work that servers have grown with (StrategyTest)."""
        for arch in cloud.ARCHS:
            works = {strategy: lines['%s strategy %s' % (
                arch, strategy)]['found'] == 'works'
                for strategy in ('native', 'shim', 'tiny', 'existing')}
            self.assertEqual({'native': False, 'shim': shim, 'tiny': True,
                              'existing': True}, works)

    def _assert_shim(self, level, words):
        lines = self._host()
        for arch in cloud.ARCHS:
            line = lines['%s emulator shim' % arch]
            self.assertEqual(level, line['level'], line)
            self.assertIn(words, line['found'])
        return lines

    def test_table_of_the_host(self):
        """It names exactly what is wrong."""
        self._assert_strategies(
            self._assert_shim('success', ' starts /usr/bin/qemu'), True)
        self.path.chmod(0o757)
        self._assert_shim('failure', 'is writable by everyone')
        self.path.chmod(0o644)
        self._assert_strategies(self._assert_shim(
            'failure', 'cannot be read and run by all users'), False)
        self.path.unlink()
        lines = self._assert_shim('warning', 'is not there')
        self._assert_strategies(lines, False)
        self.assertIn("get 'tiny'", lines['x86_64 empty node']['found'])

    def test_a_shim_in_use_is_not_removed(self):
        server = self.boot()
        done = self._status('shim', 'remove', host=hosts.host_of(server))
        self.assertEqual(2, done.returncode)
        self.assertIn('the shim is in use', done.stderr)
        self.assertTrue(self.path.exists())
        server.wait()
