# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Wait until Nova takes requests: ready.py WANTED.json.

That a service is "up" is not enough, it stays so for a minute after it was
stopped: its queue must have a reader, and nova-compute reads only after it
has put its own house in order.
"""

import json
import pathlib
import sys
import time

import amqp
import openstack


def read_queues(wanted):
    """Return those of the wanted queues that have a reader."""
    found = set()
    for queue in wanted['queues']:
        # A queue that does not exist ends the connection.
        with amqp.Connection(**wanted['broker']) as connection:
            try:
                answer = connection.channel().queue_declare(
                    queue, passive=True)
            except amqp.NotFound:
                continue
            if answer.consumer_count:
                found.add(queue)
    return found


def missing(wanted, compute):
    """Return the names of what is not there yet."""
    names = set(wanted['queues']) - read_queues(wanted)
    if names:
        return names
    up = {service.host for service in
          compute.services(binary='nova-compute') if service.state == 'up'}
    return set(wanted['hosts']) - up


def main():
    wanted = json.loads(pathlib.Path(sys.argv[1]).read_text())
    compute = openstack.connect().compute
    deadline = time.monotonic() + wanted['timeout']
    while names := missing(wanted, compute):
        if time.monotonic() > deadline:
            sys.exit('not ready: %s' % ', '.join(sorted(names)))
        time.sleep(0.2)


if __name__ == '__main__':
    main()
