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

import time

from tests.functional import base
from tests.functional import fixtures

AGENT = {'hw_qemu_guest_agent': 'yes'}
#: What the guests of this module set aside of their boot memory.
RESERVE_MB = 52


class BalloonTestBase(base.MemoryTestBase):
    """Guests without an agent, whose balloon driver has statistics."""

    def setUp(self):
        super().setUp()
        self.stub_out('nova_memhotplug.compute.follow.INTERVAL', 0.05)
        self.flags(mem_stats_period_seconds=10, group='libvirt')
        self.told = {}
        self.memory_libvirt.domain.balloon = staticmethod(
            lambda domain: self.told)

    def tell(self, in_use_mb, seconds=2):
        """Have the guest tell of so much memory, in a moment."""
        self.told = {
            'actual': 4096, 'last_update': int(time.time()) + seconds,
            'available': (in_use_mb - RESERVE_MB) * fixtures.KIB_PER_MIB}

    def follow_for(self, periods):
        self.stub_out('nova_memhotplug.compute.follow.PERIODS', periods)

    def wait_outcome(self, server, *expected):
        for _wait in range(100):
            if self.outcome(server) == expected:
                break
            time.sleep(0.05)
        self.assertEqual(expected, self.outcome(server))

    def usable(self, server):
        memory = self.show(server)[1]['memory']
        return memory['usable_mb'], memory['usable_evidence']


class TestBalloon(BalloonTestBase):

    def test_guest_that_tells(self):
        server = self.boot_elastic()
        self.tell(512, seconds=-5)
        self.grow(server, 1024)
        self.assertEqual(
            ('unconfirmed', 0, 512, 'none', False), self.outcome(server))
        self.assertEqual((None, 'none'), self.usable(server))
        self.tell(1024)
        self.wait_outcome(server, 'confirmed', 512, 512, 'balloon', True)
        self.assertEqual((1024, 'balloon'), self.usable(server))
        # The next is left offline, and so is a block of the one before.
        self.follow_for(0.2)
        self.grow(server, 1280)
        self.tell(1024 - 128, seconds=5)
        self.wait_outcome(server, 'offline', 0, 256, 'balloon', True)
        self.assertEqual((1024 - 128, 'balloon'), self.usable(server))
        # There is other memory that may be what is offline.
        self.grow(server, 1408)
        self.tell(1024, seconds=10)
        self.wait_outcome(server, 'unconfirmed', 0, 128, 'none', True)
        # After a reset there is nothing until the driver is loaded again.
        self.told = {'actual': 4096, 'last_update': 0}
        self.assertEqual((None, 'none'), self.usable(server))

    def test_guest_that_does_not_tell(self):
        self.follow_for(0)
        server = self.boot_elastic()
        self.grow(server, 1024)
        self.wait_outcome(server, 'unconfirmed', 0, 512, 'none', True)
        self.assertEqual((None, 'none'), self.usable(server))
        # It tells what was so when it was started, for ever.
        self.flags(mem_stats_period_seconds=0, group='libvirt')
        self.tell(1024, seconds=-1)
        self.grow(server, 1152)
        self.assertEqual(
            ('unconfirmed', 0, 128, 'none', True), self.outcome(server))
        self.assertEqual((None, 'none'), self.usable(server))

    def test_service_restart(self):
        server = self.boot_elastic()
        self.tell(512, seconds=-5)
        self.grow(server, 1024)
        sweep = self.computes['compute1'].driver._reconciler._sweep
        sweep._follower._requests.clear()
        self.restart_compute_service('compute1')
        self.tell(1024)
        self.wait_outcome(server, 'confirmed', 512, 512, 'balloon', True)


class TestAgent(base.MemoryTestBase):

    def setUp(self):
        super().setUp()
        self.flags(confirm_timeout=1, group='memhotplug')
        self.memory_libvirt.domain.agent = staticmethod(self.answer)
        #: How many of its blocks the guest leaves out of its answer, and
        #: shows to be offline, the last ones first.
        self.missing, self.offline = 0, 0
        self.each_time = lambda: None

    def answer(self, domain, question):
        blocks = fixtures.all_blocks_online(domain, question)
        if question['execute'] == 'guest-set-memory-blocks':
            return [dict(block, response='operation-failed') | {
                'error-code': 22} for block in question['arguments'][
                    'mem-blks']]
        if question['execute'] == 'guest-get-memory-blocks':
            self.each_time()
            blocks = blocks[:len(blocks) - self.missing]
            for block in blocks[len(blocks) - self.offline:]:
                block['online'] = False
        return blocks

    def boot_grown(self, memory_mb):
        server = self.boot(base.ELASTIC, properties=AGENT)
        self.grow(server, memory_mb)
        return server

    def test_guest_leaves_some_offline(self):
        self.offline = 1
        with self.assertLogs('nova_memhotplug.compute.look') as logged:
            server = self.boot_grown(1024)
        self.assertIn('number of blocks: {22: 1}', logged.output[-1])
        self.assert_books(server, 1024)
        self.assertEqual(
            ('offline', 384, 512, 'agent', True), self.outcome(server))

    def test_guest_is_still_taking_it(self):
        """What it does not know yet is no refusal (review V13)."""
        self.missing = 4

        def take_one():
            self.missing = max(1, self.missing - 1)

        server = self.boot_grown(512)
        self.each_time = take_one
        self.grow(server, 1024)
        self.assert_books(server, 1024)
        self.assertEqual(
            ('offline', 384, 512, 'agent', True), self.outcome(server))

    def test_memory_of_others(self):
        """It was there before, so it does not count (review V6)."""
        server = self.boot_grown(512)
        self.attach_unbooked(server, 256, foreign=True)
        blocks = fixtures.all_blocks_online

        def without_foreign(domain, question):
            answer = blocks(domain, question)
            return answer[2:] if isinstance(answer, list) else answer

        self.memory_libvirt.domain.agent = staticmethod(without_foreign)
        self.grow(server, 1280)
        self.assert_books(server, 1280)
        self.assertEqual(
            ('confirmed', 512, 512, 'agent', True), self.outcome(server))
