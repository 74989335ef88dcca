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

"""What a growth has written stays, whoever else writes (design T11).

``MEMHOTPLUG_GROWTHS`` says how many growths there are.
"""

import itertools
import os
import sys

from nova_memhotplug.core import domain
from tests.faults import machine
from tests.live import base
from tests.live import cloud
from tests.live import hosts
from tests.live import neighbours

GROWTHS = int(os.environ.get('MEMHOTPLUG_GROWTHS') or 8)
SERVERS = 4
BOOT_MB, STEP_MB, CEILING_MB = 512, 128, 4096
#: Clients share the processors with the guests and with Nova.
TIMEOUT = 300
#: Seconds until the books must agree. What is noticed late is left to Nova's
#: periodic task, which comes once a minute.
AGREE_TIMEOUT = 100


class CommitsTest(base.LiveTest):

    #: The neighbours rename servers: by this they are found.
    name = neighbours.NAME

    def setUp(self):
        super().setUp()
        neighbours.sweep()
        self.query = machine.Machine().query
        self.quota_base_mb = self._quota_mb()
        self.totals_mb = {}
        self.late = []

    @staticmethod
    def _quota_mb():
        return cloud.connect('member').compute.get(
            '/limits').json()['limits']['absolute']['totalRAMUsed']

    def add(self, number=1):
        """Boot servers, of those that grow.

        :param number: how many, at the same time
        :returns: a list of them
        """
        servers = [self.create() for _ in range(number)]
        for server in servers:
            server.wait(seconds=TIMEOUT)
            server.wait_guest('first report', bool, TIMEOUT)
            self.totals_mb[server] = BOOT_MB
        return servers

    def replace(self, server):
        """Delete a server that is at its ceiling, and boot another one."""
        self.clients.leave(server)
        cloud.delete_server(server)
        del self.totals_mb[server]
        (new,) = self.add()
        self.clients.meet(new)
        return new

    def read(self, server):
        """Read what each book says, in MiB.

        :returns: {book: MiB}
        """
        memory = server.memory()
        flavor_mb, allocated_mb = server.books()
        return {
            'flavor': flavor_mb,
            'requested': memory['requested_mb'],
            'current': memory['current_mb'],
            'instance': int(self.query(
                'SELECT memory_mb FROM nova_cell1.instances '
                "WHERE uuid='%s'" % server.id)),
            'allocation': allocated_mb,
            'live domain': hosts.domain_mb(server),
            'persistent domain': self._persistent_mb(server),
            'quota': (self._quota_mb() - self.quota_base_mb -
                      sum(self.totals_mb.values()) + self.totals_mb[server]),
        }

    @staticmethod
    def _persistent_mb(server):
        return domain.read(hosts.virsh(
            hosts.host_of(server), 'dumpxml', server.id,
            '--inactive')).present_mb

    def assert_agree(self, server, when):
        """All books have the total of a server, if not at once then soon."""
        def look():
            read = self.read(server)
            wrong = {book: size_mb for book, size_mb in read.items()
                     if size_mb != self.totals_mb[server]}
            if wrong:
                seen.append('%s has %d MiB, but %s' % (
                    when, self.totals_mb[server], wrong))
            return not wrong

        seen = []
        cloud.until(AGREE_TIMEOUT, 'the books agree', look,
                    lambda: '%s, until %s' % (seen[0], seen[-1]))
        self.late += seen[:1]

    def grow_by_a_step(self, server):
        """Grow a server, as often as somebody else keeps it busy."""
        wanted_mb = self.totals_mb[server] + STEP_MB
        self.until_accepted(lambda: server.resize(wanted_mb))
        self.assertEqual(
            ('done', None), self._end_of(server),
            'from %d MiB' % self.totals_mb[server])
        self.totals_mb[server] = wanted_mb

    @staticmethod
    def _end_of(server):
        last = server.wait_resized(TIMEOUT)
        return last['status'], last['message']

    def until_accepted(self, request, is_lost_race=lambda answer: False):
        """Send a request until nobody else keeps the server busy.

        :param request: sends it
        :param is_lost_race: tells by the answer whether Nova means that,
            where it does not answer 409
        """
        def look():
            answer = request()
            if answer.status_code == 409 or is_lost_race(answer):
                refused.append(answer.text)
                return False
            self.assertEqual(202, answer.status_code, answer.text)
            return True

        refused = ['']
        cloud.until(TIMEOUT, 'the request is taken', look,
                    lambda: refused[-1])

    def hard_reboot(self, server):
        """Write the domain afresh: it is made from the books."""
        self.until_accepted(lambda: server.compute.post(
            server.path + '/action', json={'reboot': {'type': 'HARD'}}),
            neighbours.is_lost_race)
        server.wait(seconds=TIMEOUT)
        self.assert_agree(server, 'after a hard reboot it')
        # A kernel that is still booting does not hear of new memory.
        server.wait_guest('report after reboot', bool, TIMEOUT)

    def make_room(self, server):
        """Have a server that can grow by another step."""
        if self.totals_mb[server] + STEP_MB > CEILING_MB:
            return self.replace(server)
        if not server.memory()['slots']['free']:
            self.hard_reboot(server)
        return server

    def test_growths_among_neighbours(self):
        servers = self.add(SERVERS)
        self.clients = neighbours.Clients(servers)
        self.addCleanup(neighbours.delete_snapshots)
        with self.clients:
            for turn in itertools.islice(
                    itertools.cycle(range(SERVERS)), GROWTHS):
                servers[turn] = self.make_room(servers[turn])
                # A write that was slow may have come since the last turn.
                self.assert_agree(servers[turn], 'before its turn it')
                self.grow_by_a_step(servers[turn])
                self.assert_agree(servers[turn], 'after its turn it')
            for server in servers:
                self.hard_reboot(server)
        print('%d growths, %d noticed late; clients: %s' % (
            GROWTHS, len(self.late), dict(self.clients.done)),
            file=sys.stderr)
