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

"""The hosts of the sandbox, from below: libvirt, processes, guest agents."""

import concurrent.futures
import functools
import os
import signal

import requests
import tenacity

from nova_memhotplug.core import domain
from tests.faults import machine
from tests.live import agent
from tests.live import cloud
from tests.live import hosts

of = hosts.host_of
force_down = hosts.force_down
migrate_live = hosts.migrate_live

#: What a guest says of itself: which boot this is, the kB of each node, and
#: for each block of memory whether it is in use.
_ASK_GUEST = """
read -r boot < /proc/sys/kernel/random/boot_id
echo "boot $boot"
for node in /sys/devices/system/node/node[0-9]*; do
    while read -r _ number key value _; do
        [ "$key" = MemTotal: ] && echo "node $number $value" && break
    done < "$node/meminfo"
done
for block in /sys/devices/system/memory/memory*/state; do
    read -r value < "$block" && echo "block $value"
done
"""


@functools.cache
def machines():
    """Name the hosts.

    :returns: {name: ``machine.Machine``}
    """
    names = machine.Machine().settings.hostnames
    return {name: machine.Machine(name) for name in names}


@functools.cache
def providers():
    """Find the placement providers of the hosts: {id: host}."""
    found = cloud.connect('admin').placement.get(
        '/resource_providers').json()['resource_providers']
    return {provider['uuid']: provider['name'] for provider in found}


def with_domain(server):
    """List the hosts that have a domain of a server, running or not."""
    return [name for name, host in machines().items()
            if host.virsh('domid', server.id) is not None]


def read_domain(host, server, *options):
    """Read what a domain says of the guest's memory."""
    return domain.read(machines()[host].virsh(
        'dumpxml', server.id, *options))


def allocations():
    """Read what placement has allocated on the hosts, in MiB.

    :returns: {host: {consumer: MiB}}
    """
    placement = cloud.connect('admin').placement
    return {
        host: {
            consumer: allocation['resources'].get('MEMORY_MB', 0)
            for consumer, allocation in placement.get(
                '/resource_providers/%s/allocations' % provider
            ).json()['allocations'].items()}
        for provider, host in providers().items()}


def ask_guest(host, server):
    """Ask the guest's agent what the guest has.

    :returns: {'boot': id of this boot, 'nodes': {node: kB}, 'online': blocks
        in use, 'offline': blocks that are not}; None if it does not answer
    """
    output = agent.run(machines()[host].virsh, server.id, _ASK_GUEST)
    if not output:
        return None
    said = [line.split() for line in output.splitlines()]
    blocks = [line[1] for line in said if line[0] == 'block']
    return {
        'boot': next(line[1] for line in said if line[0] == 'boot'),
        'nodes': {int(line[1]): int(line[2]) for line in said
                  if line[0] == 'node'},
        'online': blocks.count('online'),
        'offline': len(blocks) - blocks.count('online')}


def stop(*services):
    """Stop services on all hosts: ``nova-compute``, ``libvirtd``."""
    for service in services:
        machine.process.stop(
            _first().settings,
            *('%s-%s' % (service, name) for name in machines()))


def crash(host):
    """Let a host lose its power."""
    host = machines()[host]
    settings = host.settings
    for service in (host.compute, host.libvirtd, 'guest-' + host.host):
        for pid in machine.process.find(settings, service):
            os.kill(pid, signal.SIGKILL)
        machine.process.stop(settings, service)


def start():
    """Start what does not run, and wait until it takes requests."""
    _first().start()


def set_option(line):
    """Add a line to [DEFAULT] of every nova-compute, before ``start``.

    :param line: of the configuration file; None to take it out again
    """
    settings = _first().settings
    machine.compute.configure(settings)
    for name in machines():
        path = settings.etc / (name + '.conf')
        if line:
            path.write_text(path.read_text().replace(
                '[DEFAULT]\n', '[DEFAULT]\n%s\n' % line, 1))


def _first():
    return next(iter(machines().values()))


def tell_guest(server, what):
    """Have the guest reboot or shut down, as its own administrator would.

    :param what: ``reboot`` or ``shutdown``
    """
    host = machines()[of(server)]
    if host.virsh(what, server.id, '--mode', 'agent') is None:
        raise AssertionError('the guest does not take "%s"' % what)


def revive(host):
    """Start a host again from which servers were evacuated.

    Nova takes it for up only after it has cleaned up what was evacuated.
    """
    host = machines()[host]
    machine.process.wait_ready(
        host.settings, *machine.compute.start_hypervisors(host.settings))
    machine.compute.start(host.settings)

    def is_accepted():
        try:
            force_down(host.host, False)
        except requests.exceptions.HTTPError:
            return False
        return True

    if not wait(is_accepted, 120):
        raise AssertionError('%s stays forced down' % host.host)
    start()


def wait(function, seconds):
    """Call a function until it returns something true.

    :returns: whether it did in time
    """
    return tenacity.Retrying(
        stop=tenacity.stop_after_delay(seconds),
        wait=tenacity.wait_fixed(1),
        retry=tenacity.retry_if_result(lambda result: not result),
        retry_error_callback=lambda state: False)(function)


def at_once(function, items):
    """Call a function for each of some items at the same time.

    :returns: for each item what was returned, or the exception
    """
    def call(item):
        try:
            return function(item)
        except Exception as exc:
            return exc

    with concurrent.futures.ThreadPoolExecutor(max(1, len(items))) as pool:
        return list(pool.map(call, items))
