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


"""Many servers of one host, and many requests, at the same moment.

``MEMHOTPLUG_MANY_SERVERS`` says how many; what a server takes here is half a
second of a processor to boot, and as much to grow. The same name says it in
the live tier, where the guests are real.
"""

from concurrent import futures
import os
import threading
import time

from nova import objects

from tests.functional import base

MANY = int(os.environ.get('MEMHOTPLUG_MANY_SERVERS') or 20)
SOME, ROOM = 12, 5
FEW = 6
CLIENTS = 8
BOOT_MB, WANTED_MB = 128, 256
DELTA_MB = WANTED_MB - BOOT_MB
#: What Nova keeps for a host itself, [DEFAULT] reserved_host_memory_mb.
HOST_ITSELF_MB = 512


class ManyServersBase(base.MemoryTestBase):
    """A host with many servers, and without quotas."""

    def setUp(self):
        super().setUp()
        self.flags(instances=-1, cores=-1, ram=-1, group='quota')

    def boot_many(self, count):
        """Boot servers by one request.

        :returns: them, as the API shows them
        """
        server = self._build_server(
            networks='none', flavor_id=self.create_flavor(
                base.ELASTIC, BOOT_MB, vcpu=1))
        self.api.post_server({'server': dict(
            server, min_count=count, max_count=count)})
        self.wait_until('all are active', lambda: [
            'active'] * count == [one.vm_state for one in self.instances()])
        return self.api.get_servers()

    def instances(self):
        """Read all at once, which is cheap, unlike what the API does."""
        return objects.InstanceList.get_all(self.ctxt, expected_attrs=[])

    def wait_until(self, what, condition):
        deadline = time.monotonic() + 600
        while not condition():
            if time.monotonic() > deadline:
                self.fail('not in time: %s' % what)
            time.sleep(0.5)


class TestManyServers(ManyServersBase):

    # What is done

    def at_once(self, call, servers):
        """Call a function for each server, from several threads.

        :returns: {server ID: what the function returned}
        """
        ids = [server['id'] for server in servers]
        with futures.ThreadPoolExecutor(CLIENTS) as pool:
            return dict(zip(ids, pool.map(call, servers)))

    def grow_at_once(self, servers):
        """Ask for the same size of each.

        :returns: {server ID: status and body of the answer}
        """
        return self.at_once(
            lambda server: self.resize(server, WANTED_MB), servers)

    def hang(self, server_id):
        """Make attaching to one guest wait.

        :returns: two events: set when it waits; to be set to let it go on
        """
        waiting, go_on = threading.Event(), threading.Event()
        self.addCleanup(go_on.set)

        def wait(domain, xml):
            if domain.UUIDString() == server_id:
                waiting.set()
                go_on.wait(120)

        self.before_attach(wait)
        return waiting, go_on

    # What there is to see

    def is_idle(self, but=()):
        return not any(instance.task_state for instance in self.instances()
                       if instance.uuid not in but)

    def last_status(self, server):
        return self.show(server)[1]['memory']['last_resize']['status']

    def used_in_placement_mb(self):
        return self._get_provider_usages(
            self._get_provider_uuid_by_name('compute1'))['MEMORY_MB']

    def capacity_mb(self):
        memory = self._get_provider_inventory(
            self._get_provider_uuid_by_name('compute1'))['MEMORY_MB']
        return int((memory['total'] - memory['reserved']) *
                   memory['allocation_ratio'])

    def sums(self, servers):
        """Sum up each book, in MiB."""
        node = objects.ComputeNode.get_first_node_by_host_for_old_compat(
            self.ctxt, 'compute1')
        return {
            'flavors': sum(
                one['flavor']['ram'] for one in self.api.get_servers()),
            'instances': sum(
                instance.memory_mb for instance in self.instances()),
            'allocations': sum(map(self.allocation, servers)),
            'provider': self.used_in_placement_mb(),
            'domains': sum(
                self.guest(server).present_mb for server in servers),
            'host': node.memory_mb_used - HOST_ITSELF_MB,
            'quota': self.api.get_limits()['absolute']['totalRAMUsed'],
        }

    def assert_sums(self, servers, total_mb):
        sums = self.sums(servers)
        self.assertEqual(dict.fromkeys(sums, total_mb), sums)

    def assert_accepted(self, answers):
        for server_id, (status, body) in answers.items():
            self.assertEqual(202, status, (server_id, body))

    # Tests

    def test_all_at_once(self):
        servers = self.boot_many(MANY)
        self.assert_sums(servers, MANY * BOOT_MB)
        self.assert_accepted(self.grow_at_once(servers))
        self.wait_until('all are idle', self.is_idle)
        # The end of a resize is recorded a moment after its task state is
        # gone.
        self.wait_until('all are done', lambda: {'done'} == set(
            self.at_once(self.last_status, servers).values()))
        self.assert_sums(servers, MANY * WANTED_MB)
        # The periodic task has nothing to correct.
        self._run_periodics()
        self.assert_sums(servers, MANY * WANTED_MB)

    def test_room_for_some(self):
        """Each claim is granted or refused as a whole; none is lost."""
        servers = self.boot_many(SOME)
        self.fill_host(free_mb=ROOM * DELTA_MB + DELTA_MB // 2)
        full_mb, seen = self.capacity_mb(), []
        self.before_attach(
            lambda domain, xml: seen.append(self.used_in_placement_mb()))
        answers = self.grow_at_once(servers)
        self.wait_until('all are idle', self.is_idle)

        grown = [server for server in servers
                 if self.guest(server).present_mb == WANTED_MB]
        self.assertEqual((ROOM, ROOM), (len(grown), len(seen)))
        self.assertLessEqual(max(seen), full_mb)
        for server in servers:
            if server in grown:
                self.assertEqual(202, answers[server['id']][0])
                self.assert_books(server, WANTED_MB)
            else:
                self.assert_no_room(server, *answers[server['id']])
        sums = self.sums(servers)
        # Somebody else has the rest of the host.
        self.assertEqual(
            full_mb - DELTA_MB // 2, sums.pop('provider'))
        self.assertEqual(
            dict.fromkeys(sums, SOME * BOOT_MB + ROOM * DELTA_MB), sums)

    def assert_no_room(self, server, status, body):
        """Refused by the API, or in the instance action; nothing changed."""
        if status == 202:
            self.assert_details(
                server, '%d MiB of memory free; %d MiB more were asked for'
                % (DELTA_MB // 2, DELTA_MB))
        else:
            self.assertEqual(409, status, body)
            self.assertIn('memory free', body['conflictingRequest']['message'])
            self.assertEqual([], self.events(server))
        self.assert_books(server, BOOT_MB)
        self.assertEqual((), self.guest(server).devices)
        self.assertEqual('ACTIVE', self.api.get_server(
            server['id'])['status'])

    def test_none_waits_for_another_guest(self):
        servers = self.boot_many(FEW)
        hanging, others = servers[0], servers[1:]
        waiting, go_on = self.hang(hanging['id'])
        self.assert_accepted(self.grow_at_once([hanging]))
        self.assertTrue(waiting.wait(60))
        self.assert_accepted(self.grow_at_once(others))
        self.wait_until('the others are idle', lambda: self.is_idle(
            but=[hanging['id']]))
        for server in others:
            self.assert_books(server, WANTED_MB)
        self.assertEqual(
            'resize_prep', self.instance(hanging).task_state)
        self.assertEqual(BOOT_MB, self.guest(hanging).present_mb)
        # What it will have is claimed already (T3).
        self.assertEqual(FEW * WANTED_MB, self.used_in_placement_mb())
        go_on.set()
        self.wait_until('all are idle', self.is_idle)
        self.assert_sums(servers, FEW * WANTED_MB)

    def test_one_server(self):
        """Of requests for one server, one proceeds (T8)."""
        server = self.boot_elastic()
        _waiting, go_on = self.hang(server['id'])
        answers = []
        together = threading.Barrier(CLIENTS)

        def ask():
            together.wait(60)
            answers.append(self.resize(server, 1024))

        clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        go_on.set()
        self.wait_idle(server)
        self.assertEqual(
            [202] + [409] * (CLIENTS - 1),
            sorted(status for status, _body in answers), answers)
        self.assertEqual(1, len(self.events(server)))
        self.assertEqual(1, len(self.guest(server).devices))
        self.assert_books(server, 1024)
