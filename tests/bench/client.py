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

"""A client of Nova that costs as little as a client can.

One connection that is kept alive, a token that is there already, and nothing
between the socket and the clock.
"""

import dataclasses
import http.client
import json
import time
import urllib.parse

from tests.live import cloud

MICROVERSION = '2.96'
#: Seconds after which the sandbox may have closed a connection: it does that
#: after 120.
IDLE = 30


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer of Nova.

    :param status: its HTTP status
    :param body: decoded; None if there is none
    :param request: the ID that Nova has given to the request
    :param sent: when the request was sent, in ns of the monotonic clock
    :param answered: when the whole answer was there
    """

    status: int
    body: dict | None
    request: str
    sent: int
    answered: int

    @property
    def ms(self):
        """How long it took, in milliseconds."""
        return (self.answered - self.sent) / 1e6


class Unexpected(Exception):
    """Nova has answered something else than was expected."""


class Client:
    """One connection to Nova. It must not be used by two threads.

    :param user: a user of the sandbox
    """

    def __init__(self, user='member'):
        connection = cloud.connect(user)
        url = urllib.parse.urlparse(connection.compute.get_endpoint())
        self._base = url.path.rstrip('/')
        self._headers = {
            'X-Auth-Token': connection.session.get_token(),
            'OpenStack-API-Version': 'compute ' + MICROVERSION,
            'Content-Type': 'application/json',
            'Accept': 'application/json'}
        self._http = http.client.HTTPConnection(url.hostname, url.port)
        self._used = 0

    def get(self, path):
        """Get something below the endpoint; expect 200."""
        return self._ask('GET', path, None, 200)

    def act(self, server_id, action):
        """Post an action of a server; expect 202, or 204 of some."""
        return self._ask('POST', '/servers/%s/action' % server_id,
                         json.dumps(action), 202, 204)

    def grow(self, server_id, total_mb):
        """Post ``resizeMemory``.

        :param server_id: the server
        :param total_mb: RAM it is to have, in MiB
        """
        return self.act(server_id, {'resizeMemory': {'memory_mb': total_mb}})

    def _ask(self, method, path, body, *expected):
        if time.monotonic() - self._used > IDLE:
            self._http.close()
            self._http.connect()
        sent = time.monotonic_ns()
        self._http.request(method, self._base + path, body, self._headers)
        response = self._http.getresponse()
        raw = response.read()
        answered = time.monotonic_ns()
        self._used = time.monotonic()
        if response.status not in expected:
            raise Unexpected('%s %s: %d %s' % (
                method, path, response.status, raw.decode()[:500]))
        return Answer(
            response.status, json.loads(raw) if raw else None,
            response.headers['x-openstack-request-id'], sent, answered)
