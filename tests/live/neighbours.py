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

"""Clients that do ordinary things to servers while these grow."""

import collections
import itertools
import threading

from tests.live import cloud

#: What every name of a server and of a snapshot begins with.
NAME = 'live-commits'
#: Each is a client, which does this to one server after the other. Many
#: rename: Nova takes that at any time, and writes the whole server.
CLIENTS = ('rename', 'rename', 'rename', 'rename',
           'set_metadata', 'set_metadata', 'lock', 'snapshot')
#: Seconds between two snapshots, and for which nobody locks: nothing else can
#: be done to the server meanwhile.
REST = 4
#: Done, or somebody else was faster: the server is busy, locked or gone.
EXPECTED = (200, 202, 404, 409)


class Clients:
    """They work as long as this context lasts.

    :param servers: the ``cloud.Server`` objects
    """

    def __init__(self, servers):
        self._servers = list(servers)
        self._compute = cloud.connect('member').compute
        self._over = threading.Event()
        self._numbers = itertools.count()
        self._problems = []
        #: How often what was done: {(client, status): times}.
        self.done = collections.Counter()

    def __enter__(self):
        self._threads = [
            threading.Thread(target=self._work, args=(kind, number))
            for number, kind in enumerate(CLIENTS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc_info):
        self._over.set()
        for thread in self._threads:
            thread.join()
        if self._problems and _exc_info[0] is None:
            raise self._problems[0]

    def meet(self, server):
        """Do to this one, too, what is done to the others."""
        self._servers = self._servers + [server]

    def leave(self, server):
        """Leave one alone."""
        self._servers = [one for one in self._servers if one is not server]

    def _work(self, kind, turn):
        try:
            while not self._over.is_set():
                servers = self._servers
                if servers:
                    getattr(self, '_' + kind)(servers[turn % len(servers)])
                turn += 1
        except Exception as exc:
            self._problems.append(exc)

    def _send(self, kind, method, path, body):
        answer = self._compute.request(
            path, method, json=body, raise_exc=False)
        self.done[kind, answer.status_code] += 1
        if answer.status_code not in EXPECTED and not (
                kind == 'snapshot' and is_lost_race(answer)):
            raise AssertionError('%s %s: %d %s' % (
                method, path, answer.status_code, answer.text))

    def _act(self, kind, server, body):
        self._send(kind, 'POST', server.path + '/action', body)

    def _rename(self, server):
        self._send('rename', 'PUT', server.path, {'server': {
            'name': '%s-%d' % (NAME, next(self._numbers))}})

    def _set_metadata(self, server):
        self._send('set metadata', 'POST', server.path + '/metadata', {
            'metadata': {'number': str(next(self._numbers))}})

    def _lock(self, server):
        self._act('lock', server, {'lock': None})
        self._act('unlock', server, {'unlock': None})
        self._over.wait(REST / 4)

    def _snapshot(self, server):
        self._act('snapshot', server, {'createImage': {
            'name': '%s-%d' % (NAME, next(self._numbers))}})
        self._over.wait(REST)


def is_lost_race(answer):
    """Tell whether Nova says that a server became busy while it looked.

    Nova itself answers so to a snapshot and to a hard reboot
    (nova/api/openstack/compute/servers.py).

    :param answer: the answer
    """
    return (answer.status_code == 500 and
            'UnexpectedTaskStateError' in answer.text)


def sweep():
    """Delete what a killed run has left behind."""
    compute = cloud.connect('admin').compute
    for server in compute.servers(all_projects=True):
        if server.name.startswith(NAME):
            cloud.delete_server(server)
    delete_snapshots()


def delete_snapshots():
    """Delete what the clients have made."""
    image = cloud.connect('admin').image
    for found in list(image.images()):
        if found.name.startswith(NAME):
            image.delete_image(found)
