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

"""Grow one running guest per architecture twice, through the public API.

What the guest itself reports is printed before and after; the exit code is
not 0 when anything differs from what was asked for.
"""

import sys
import time

import guest
import openstack
from openstack import exceptions

ARCHITECTURES = ('x86_64', 'aarch64')
FLAVOR = 'elastic'
SIZES_MB = (1024, 1536)
BOOT_TIMEOUT = 180
RESIZE_TIMEOUT = 90
KB = 1024


class DemoError(Exception):
    """Something is not as it was asked for."""


def check(condition, message, *args):
    if not condition:
        raise DemoError(message % args)


class Server:
    """A server of the cloud, by the public API alone."""

    def __init__(self, cloud, architecture):
        self.compute = cloud.compute
        flavor = cloud.compute.find_flavor(FLAVOR, ignore_missing=False)
        image = cloud.image.find_image('memhotplug-%s' % architecture,
                                       ignore_missing=False)
        self.id = cloud.compute.create_server(
            name='demo-%s' % architecture, flavor_id=flavor.id,
            image_id=image.id, networks='none').id

    def delete(self):
        self.compute.delete_server(self.id, ignore_missing=True)

    def wait(self, condition, timeout, what):
        """Return the first true result of a condition."""
        deadline = time.monotonic() + timeout
        while True:
            result = condition()
            if result:
                return result
            check(time.monotonic() < deadline, 'not within %d s: %s%s',
                  timeout, what, self._last_failure())
            time.sleep(0.5)

    def _last_failure(self):
        for action in self.compute.server_actions(self.id):
            if action.message:
                return ' (%s: %s)' % (action.action, action.message)
        return ''

    def is_active(self):
        server = self.compute.get_server(self.id)
        check(server.status != 'ERROR', 'the server is in ERROR: %s',
              (server.fault or {}).get('message'))
        return server.status == 'ACTIVE' and server.task_state is None

    def guest(self):
        """Return what the guest said last, None before it said anything."""
        answer = self.compute.get_server_console_output(self.id)
        said = guest.parse(answer['output'] or '')
        return said[-1] if said else None

    def memory(self):
        response = self.compute.get('/servers/%s/os-memory' % self.id)
        exceptions.raise_from_response(response)
        return response.json()['memory']

    def resize(self, memory_mb):
        response = self.compute.post(
            '/servers/%s/action' % self.id,
            json={'resizeMemory': {'memory_mb': memory_mb}})
        exceptions.raise_from_response(response)


def grow(server, memory_mb):
    """Grow a server to a total and check what came of it."""
    guest_before, before = server.guest(), server.memory()
    started = time.monotonic()
    server.resize(memory_mb)

    def has_grown():
        memory = server.memory()
        return (memory if memory['current_mb'] == memory_mb and
                server.is_active() else None)

    memory = server.wait(has_grown, RESIZE_TIMEOUT,
                         'os-memory says %d MB' % memory_mb)
    added_kb = (memory_mb - before['current_mb']) * KB
    wanted_kb = guest_before.total_kb + added_kb

    def guest_has_grown():
        said = server.guest()
        return said if said.total_kb >= wanted_kb else None

    said = server.wait(guest_has_grown, RESIZE_TIMEOUT,
                       'the guest says %d kB' % wanted_kb)
    print('  asked for %d MB, there after %.1f s'
          % (memory_mb, time.monotonic() - started))
    known = {device['alias'] for device in before['devices']}
    new = [device for device in memory['devices']
           if device['alias'] not in known]
    for device in new:
        print('    + %(model)s of %(size_mb)d MB in slot %(slot)s, '
              'node %(node)d, at %(address)s' % device)
    print('    the guest says %s' % said)
    verify(guest_before, said, memory, new, added_kb)


def verify(guest_before, said, memory, new, added_kb):
    """Compare what was asked for, what Nova says, and what the guest says."""
    check(said.total_kb == guest_before.total_kb + added_kb,
          'the guest has %d kB more, not %d',
          said.total_kb - guest_before.total_kb, added_kb)
    check(sum(device['size_mb'] for device in new) * KB == added_kb,
          'the new devices are not %d kB together', added_kb)
    check(said.blocks_offline == 0, '%d memory blocks are offline',
          said.blocks_offline)
    devices = memory['devices']
    check(memory['boot_mb'] + sum(device['size_mb'] for device in devices) ==
          memory['current_mb'], 'boot memory and devices are not the total')
    slots = [device['slot'] for device in devices]
    check(len(set(slots)) == len(slots) == memory['slots']['used'],
          'slots in use are %s, but %d are counted', slots,
          memory['slots']['used'])
    for node in {device['node'] for device in new}:
        plugged = KB * sum(device['size_mb'] for device in new
                           if device['node'] == node)
        grown = said.nodes.get(node, 0) - guest_before.nodes.get(node, 0)
        check(grown == plugged, 'node %d has %d kB more, not %d', node, grown,
              plugged)


def demonstrate(cloud, architecture):
    print('%s:' % architecture)
    server = Server(cloud, architecture)
    try:
        server.wait(server.is_active, BOOT_TIMEOUT, 'the server is active')
        said = server.wait(server.guest, BOOT_TIMEOUT, 'the guest has booted')
        print('  booted, the guest says %s' % said)
        for size in SIZES_MB:
            grow(server, size)
    finally:
        server.delete()
    print('  deleted')


def main():
    failed = False
    with openstack.connect() as cloud:
        for architecture in ARCHITECTURES:
            try:
                demonstrate(cloud, architecture)
            except (DemoError, exceptions.SDKException) as exc:
                print('  FAILED: %s' % exc)
                failed = True
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
