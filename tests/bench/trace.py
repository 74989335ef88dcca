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

"""Read what the recorder in the services has written."""

import collections
import dataclasses
import json

from tests.bench import points

API = 'nova'
COMPUTE = 'nova-compute-'
CONDUCTOR_TOPIC = 'conductor'

#: What is counted of one growth: key -> what it is.
COUNTS = {
    'rpc': 'synchronous RPC calls of nova-api',
    'dumps': 'XML dumps',
    'agent': 'agent commands',
    'placement': 'placement requests',
    'conductor': 'conductor calls of nova-compute',
    'sql': 'SQL statements',
}


@dataclasses.dataclass(frozen=True)
class Event:
    """One thing that a service did.

    :param service: which one
    :param kind: span, call or cast (of RPC), placement, sql, dump or agent
    :param name: the phase of a span
    :param request: the ID of the request that it was done for; or None
    :param start: in ns of the monotonic clock
    :param end: in ns
    :param what: more about it
    """

    service: str
    kind: str
    name: str
    request: str | None
    start: int
    end: int
    what: str


class Reader:
    """Reads what has come since it was last asked.

    :param folder: where the services write
    """

    def __init__(self, folder):
        self._folder = folder
        self._offsets = collections.Counter()

    def read(self):
        """Return the new events, in the order of their ends."""
        found = []
        for path in self._folder.glob('*.jsonl'):
            with path.open('rb') as lines:
                lines.seek(self._offsets[path])
                for line in lines:
                    if not line.endswith(b'\n'):
                        break
                    self._offsets[path] += len(line)
                    found.append(Event(
                        path.stem.rpartition('-')[0], **json.loads(line)))
        return sorted(found, key=lambda event: event.end)


def of_request(events, request, server_id, start, end):
    """Pick what was done for one request.

    What carries no ID of a request is taken if it was done in that time, to
    this guest if to any; what carries that of another one is not: periodic
    tasks look at guests, too.

    :param events: all events
    :param request: the ID of the request
    :param server_id: the server
    :param start: in ns
    :param end: in ns
    """
    def belongs(event):
        is_of_guest = event.kind in ('dump', 'agent')
        if is_of_guest and not event.what.startswith(server_id):
            return False
        if event.request is None:
            return ((is_of_guest or event.kind == 'placement') and
                    start <= event.start <= end)
        return event.request == request

    return [event for event in events if belongs(event)]


def spans(events):
    """Pick the phases: (when nova-compute began, the others)."""
    found = [event for event in events if event.kind == 'span']
    arrivals = [event.start for event in found if event.name == points.ARRIVAL]
    return (min(arrivals) if arrivals else None,
            [event for event in found if event.name != points.ARRIVAL])


def counts(events):
    """Count what one request has cost.

    :param events: of that request
    :returns: {key of ``COUNTS``: number}
    """
    def number(is_one):
        return sum(map(is_one, events))

    return {
        'rpc': number(lambda one: one.service == API and
                      one.kind == 'call'),
        'conductor': number(
            lambda one: one.service.startswith(COMPUTE) and
            one.kind == 'call' and
            one.what.split(' ')[0] == CONDUCTOR_TOPIC),
        'sql': number(lambda one: one.kind == 'sql'),
        'placement': number(lambda one: one.kind == 'placement'),
        'dumps': number(lambda one: one.kind == 'dump'),
        'agent': number(lambda one: one.kind == 'agent'),
    }


def details(events):
    """List what was counted, each with the number of times.

    :returns: {``kind what``: number}
    """
    return dict(collections.Counter(
        '%s %s' % (one.kind, one.what)
        for one in events if one.kind != 'span'))
