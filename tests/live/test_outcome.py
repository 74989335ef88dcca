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

"""What guests without an agent are known to make of their memory."""

from tests.live import base
from tests.live import cloud
from tests.live import test_cli

TOTAL_MB = 1024
NO_AGENT = 'memhotplug.agent=no'
NO_BALLOON = NO_AGENT + ' module_blacklist=virtio_balloon'
NOT_CONFIRMED = 3


class OutcomeTest(base.LiveTest):

    def boot_with(self, name, kernel_option):
        """Boot a server whose guest has this on its command line."""
        image = 'live-outcome-' + name
        cloud.copy_image('x86_64', image, kernel_option)
        self.addCleanup(cloud.delete_image, image)
        return self.boot(image=image)

    def outcome(self, server):
        outcome = server.memory()['last_resize']['outcome']
        return tuple(outcome[key] for key in (
            'verdict', 'mb', 'of_mb', 'evidence'))

    def grow_and_require(self, server, status):
        done = test_cli.openstack(
            'member', 'server', 'memory', 'set', server.id, '--size',
            str(TOTAL_MB), '--require-confirmed')
        self.assertEqual(status, done.returncode, done.stderr)

    def test_without_an_agent(self):
        balloon = self.boot_with('balloon', NO_AGENT)
        nothing = self.boot_with('nothing', NO_BALLOON)
        self.grow_and_require(balloon, 0)
        self.assertEqual(
            ('confirmed', 512, 512, 'balloon'), self.outcome(balloon))
        memory = balloon.memory()
        self.assertEqual((TOTAL_MB, 'balloon'), (
            memory['usable_mb'], memory['usable_evidence']))
        self.grow_and_require(nothing, NOT_CONFIRMED)
        self.assertEqual(
            ('unconfirmed', 0, 512, 'none'), self.outcome(nothing))
        self.assertIsNone(nothing.memory()['usable_mb'])
