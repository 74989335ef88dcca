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

"""A ticker in the guest: does it stand still while its memory grows?

The agent starts a shell in the guest that prints a dot on the console each
10 ms. When the dots come is seen from outside, on the file that QEMU writes:
a guest that stands still has a clock that may stand still, too.
"""

import json
import os
import threading
import time

from tests.bench import growth
from tests.bench import stage
from tests.bench import stats

#: Seconds between two looks at the console.
INTERVAL = 0.002
#: Seconds that are looked at before, for comparison.
QUIET = 2.0
#: One shell and no other process: a new one each time would take longer than
#: what is measured. A read with a time-out sleeps.
SCRIPT = ('mkfifo /run/ticker; exec 3<>/run/ticker >/dev/console; '
          'while :; do printf .; read -t 0.01 x <&3; done')


class Console:
    """Sees when a console grows.

    :param path: the file
    """

    def __init__(self, path):
        self._path = path
        self.times = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exc):
        self._stop.set()
        self._thread.join()

    def _look(self):
        size = None
        with open(self._path, 'rb') as console:
            while not self._stop.is_set():
                now = os.fstat(console.fileno()).st_size
                if now != size:
                    self.times.append(time.monotonic_ns())
                    size = now
                time.sleep(INTERVAL)


def start(bed, server):
    """Start the ticker in a guest."""
    answer = bed.machine.virsh(
        'qemu-agent-command', '--timeout', '30', server.id, json.dumps({
            'execute': 'guest-exec', 'arguments': {
                'path': '/bin/busybox', 'arg': ['sh', '-c', SCRIPT]}}))
    if answer is None:
        raise RuntimeError('the agent of %s does not answer' % server.id)


def measure(bed, arch):
    """Measure the longest gaps of a ticker.

    :param bed: the ``bed.Bed``
    :param arch: of the guest
    :returns: [{'idle': ms, 'growth': ms}]: the longest gap in the two seconds
        before a growth, and while it went on
    """
    flavor = bed.stage.flavor('ticker', slots=bed.plan.ticks)
    (server,) = bed.stage.boot('ticker', flavor=flavor, arch=arch)
    try:
        start(bed, server)
        return [_measure_one(bed, server,
                             stage.BOOT_MB + number * growth.STEP_MB)
                for number in range(1, bed.plan.ticks + 1)]
    finally:
        bed.stage.delete(server)


def _measure_one(bed, server, total_mb):
    path = bed.machine.settings.instances / server.id / 'console.log'
    with Console(path) as console:
        time.sleep(QUIET + 0.5)
        start_ns = time.monotonic_ns()
        bed.grow(server.id, total_mb)
        end_ns = time.monotonic_ns()
        time.sleep(0.5)
    gaps = {
        'idle': stats.longest_gap(
            console.times, start_ns - int(QUIET * 1e9), start_ns),
        'growth': stats.longest_gap(console.times, start_ns, end_ns),
    }
    if None in gaps.values():
        raise RuntimeError('the ticker of %s does not tick' % server.id)
    return {name: gap / 1e6 for name, gap in gaps.items()}
