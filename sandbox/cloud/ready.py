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

"""Wait until servers can be created: ready.py WANTED.json.

That a service is "up" is not enough, it stays so for a minute after it was
stopped: its queue must have a reader, and nova-compute reads only after it
has put its own house in order. Nor is that enough: a nova-compute that loses
its libvirtd disables itself in Nova and in Placement, and one that comes back
takes that back a moment later. So Placement has to offer the host, too.
"""

import json
import pathlib
import sys
import time

import amqp
import openstack

#: How Nova begins the reason when it is Nova that has disabled a service.
DISABLED_BY_NOVA = 'AUTO'
DISABLED_TRAIT = 'COMPUTE_STATUS_DISABLED'
#: Provider trees and traits in lists came with it.
PLACEMENT_VERSION = 'placement 1.36'


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


def without_service(hosts, compute):
    """Name the hosts that Nova does not believe in.

    :param hosts: their names
    :param compute: the SDK's proxy of Nova
    :returns: (those that are not there yet, those that an administrator has
        disabled: no server will ever come there)
    """
    missing, closed = set(hosts), set()
    for service in compute.services(binary='nova-compute'):
        if service.status == 'disabled':
            if not (service.disabled_reason or '').startswith(
                    DISABLED_BY_NOVA):
                closed.add(service.host)
        elif service.state == 'up':
            missing.discard(service.host)
    return missing - closed, closed & set(hosts)


def unmapped(hosts, compute):
    """Name the hosts that no cell has: Nova lists no hypervisor of theirs."""
    return set(hosts) - {one.name for one in compute.hypervisors()}


class Providers:
    """The hosts as Placement has them.

    :param placement: the SDK's proxy of Placement
    :param flavor: ``resources`` (amounts by class) and ``required`` (traits)
        of servers that are to find a host
    """

    def __init__(self, placement, flavor):
        self._placement = placement
        self._resources = flavor['resources']
        self._required = flavor['required']

    def without_offer(self, hosts):
        """Name the hosts that Placement does not offer, though not full."""
        found = {one['name']: one['uuid'] for one in self._get(
            '/resource_providers')['resource_providers']}
        offered = set(self._get('/allocation_candidates', limit=1000, **{
            'resources': ','.join('%s:%d' % pair for pair in
                                  self._resources.items()),
            'required': ','.join(
                [*self._required, '!' + DISABLED_TRAIT]),
        })['provider_summaries'])
        return {host for host in hosts if host not in found or (
            found[host] not in offered and
            not self._is_only_full(found[host]))}

    def _is_only_full(self, uuid):
        """Tell whether a provider has all but room."""
        path = '/resource_providers/%s/' % uuid
        traits = set(self._get(path + 'traits')['traits'])
        inventories = self._get(path + 'inventories')['inventories']
        if (DISABLED_TRAIT in traits or not traits >= set(self._required) or
                not inventories.keys() >= self._resources.keys()):
            return False
        used = self._get(path + 'usages')['usages']
        return any(
            used[name] + amount > _capacity(inventories[name])
            for name, amount in self._resources.items())

    def _get(self, path, **query):
        answer = self._placement.get(
            path, params=query,
            headers={'OpenStack-API-Version': PLACEMENT_VERSION})
        answer.raise_for_status()
        return answer.json()


def _capacity(inventory):
    return ((inventory['total'] - inventory['reserved']) *
            inventory['allocation_ratio'])


def missing(wanted, cloud):
    """Return the names of what is not there yet.

    Each look is worth its requests only if the one before has found all.
    """
    names = set(wanted['queues']) - read_queues(wanted)
    if names:
        return {'queue ' + name for name in names}
    names, closed = without_service(wanted['hosts'], cloud.compute)
    if names:
        return {'service of ' + name for name in names}
    hosts = set(wanted['hosts']) - closed
    if not wanted['flavor']:
        return set()
    names = unmapped(hosts, cloud.compute)
    if names:
        return {'cell of ' + name for name in names}
    return {'offer of Placement for ' + name for name in Providers(
        cloud.placement, wanted['flavor']).without_offer(hosts)}


def main():
    wanted = json.loads(pathlib.Path(sys.argv[1]).read_text())
    cloud = openstack.connect()
    deadline = time.monotonic() + wanted['timeout']
    while names := missing(wanted, cloud):
        if time.monotonic() > deadline:
            sys.exit('not ready: %s' % ', '.join(sorted(names)))
        time.sleep(0.2)


if __name__ == '__main__':
    main()
