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

"""The commands of openstackclient, as a tenant types them."""

import json
import os
import subprocess
import sys

from tests.live import base
from tests.live import cloud

OPENSTACK = 'from openstackclient import shell; import sys; ' \
    'sys.exit(shell.main())'


def openstack(user, *arguments):
    """Run ``openstack`` as a user of the sandbox.

    :returns: the finished process
    """
    environ = {name: value for name, value in os.environ.items()
               if not name.startswith('OS_')}
    return subprocess.run(
        [sys.executable, '-c', OPENSTACK, *arguments], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environ | cloud.credentials(user))


class CommandTest(base.LiveTest):

    def run_command(self, *arguments, user='member', status=0):
        done = openstack(user, 'server', 'memory', *arguments)
        self.assertEqual(status, done.returncode, done.stderr)
        return done

    def show(self, server):
        return json.loads(
            self.run_command('show', server.id, '-f', 'json').stdout)

    def test_show_plan_set(self):
        server = self.boot()
        before = server.guest()
        self.assertEqual(512, self.show(server)['current_mb'])
        plan = json.loads(self.run_command(
            'plan', server.id, '--size', '1024', '-f', 'json').stdout)
        self.assertTrue(plan['possible'])

        self.run_command('set', server.id, '--size', '1024', '--wait')
        self.run_command('set', server.id, '--size', '+512', '--wait')
        shown = self.show(server)
        self.assertEqual(1536, shown['current_mb'])
        self.assertEqual(
            [(0, 1, 512), (1, 1, 512)],
            [(dev['slot'], dev['node'], dev['size_mb'])
             for dev in shown['devices']])
        after = server.wait_guest(
            '1024 MiB on node 1',
            lambda guest: guest['nodes'].get(1, 0) == 1024 * base.MIB_KB)
        self.assert_grown(before, after, 1, 1024)
        self.assert_total(server, 1536)

        again = self.run_command('set', server.id, '--size', '1536')
        self.assertIn('nothing was changed', again.stdout + again.stderr)
        refused = self.run_command(
            'set', server.id, '--size', '2000', status=1)
        self.assertIn('128 MiB', refused.stderr)
        refused = self.run_command(
            'set', server.id, '--size', '2048', user='reader', status=1)
        self.assertIn('policy does not allow you', refused.stderr)
        self.assert_total(server, 1536)
