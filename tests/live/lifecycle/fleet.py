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

"""The servers that the matrix is run on: made when needed, used again."""

import dataclasses

from nova_memhotplug.core import domain
from tests.live import cloud
from tests.live.lifecycle import hosts
from tests.live.lifecycle import table

#: RAM and ceiling of the flavors, in MiB.
FLAVORS = {
    'elastic': (512, 1024),
    'larger': (1280, 2048),
    'smaller': (384, 1024),
    'plain': (640, None),
}
SLOTS = 8
#: Extra specs of a memory model, beside those of growth.
MODELS = {
    table.DIMM: {'trait:CUSTOM_MEMORY_HOTPLUG': 'required'},
    table.VIRTIO_MEM: {
        'memhotplug:model': 'virtio-mem',
        'trait:CUSTOM_MEMORY_HOTPLUG_VIRTIO_MEM': 'required'},
}
#: What a server grows by, in MiB.
GROWTH_MB = 256

#: What growing once makes of a state.
_NEXT = {table.NEVER: table.GROWN, table.GROWN: table.CEILING}


@dataclasses.dataclass(frozen=True)
class Seen:
    """What everybody says of a running server at one moment.

    :param host: where Nova has it
    :param live: its live domain
    :param persistent: the domain that a start from libvirt would use
    :param guest: what the guest says, as ``hosts.ask_guest`` returns it
    """

    host: str
    live: domain.GuestMemory
    persistent: domain.GuestMemory
    guest: dict


class Member:
    """A server of the fleet.

    :param fleet: the ``Fleet``
    :param server: a ``cloud.Server``
    :param arch: its architecture
    :param model: its memory model
    """

    def __init__(self, fleet, server, arch, model):
        self.fleet = fleet
        self.server = server
        self.arch = arch
        self.model = model
        self.state = table.NEVER
        self.resized_to('elastic')

    def resized_to(self, size):
        """Remember that it gets another flavor."""
        self.flavor = self.fleet.flavor(size, self.model)
        self.total_mb, self.max_mb = FLAVORS[size]
        #: What it first boots with.
        self.first_mb = self.total_mb

    @property
    def slots(self):
        """How many slots its guest gets."""
        return SLOTS if self.model == table.DIMM else 1

    def grow(self):
        """Grow once: from never to grown, or from grown to the ceiling."""
        wanted_mb = (self.total_mb + GROWTH_MB
                     if self.state == table.NEVER else self.max_mb)
        answer = self.server.resize(wanted_mb)
        if answer.status_code != 202:
            raise AssertionError(answer.text)
        self.server.wait()
        self.total_mb = wanted_mb
        self.state = _NEXT[self.state]

    def look(self, is_settled):
        """See what the guest and its domain have.

        :param is_settled: a function of a ``Seen``: a guest needs a moment
            to start, and to bring memory online
        :returns: a ``Seen``, the last one if it never settled
        """
        host = hosts.of(self.server)
        last = []

        def settled():
            guest = hosts.ask_guest(host, self.server)
            if guest is None:
                return False
            last[:] = [Seen(
                host, hosts.read_domain(host, self.server),
                hosts.read_domain(host, self.server, '--inactive'), guest)]
            return is_settled(last[0])

        if not hosts.wait(settled, 90) and not last:
            raise AssertionError(
                'the guest does not answer: %s' % self.server.console()[-500:])
        return last[0]

    def check_fresh(self, when):
        """Check that it has what its model gives a domain that Nova has
        written afresh: folded, or asked for the rest.
        """
        memory = hosts.read_domain(hosts.of(self.server), self.server)
        folds = self.model == table.DIMM
        if (memory.boot_mb, len(memory.devices), memory.present_mb) != (
                self.total_mb if folds else self.first_mb,
                0 if folds else 1, self.total_mb):
            raise AssertionError('%s: %s' % (when, memory))


class Fleet:
    """All servers of the matrix."""

    def __init__(self):
        self.members = []
        self._flavors = {}
        #: Every server that ever was one of it.
        self.known = set()

    def flavor(self, size, model):
        """Get a flavor of FLAVORS."""
        return self._flavors[size, model]

    def make_flavors(self):
        """Make the flavors, and delete what a killed run has left behind."""
        for model, extra_specs in MODELS.items():
            for size, (ram, maximum) in FLAVORS.items():
                self._flavors[size, model] = self._make_flavor(
                    'live-lifecycle-%s-%s' % (size, model), ram, maximum,
                    extra_specs)

    @staticmethod
    def _make_flavor(name, ram, maximum, extra_specs):
        compute = cloud.connect('admin').compute
        left_behind = compute.find_flavor(name)
        if left_behind:
            compute.delete_flavor(left_behind)
        flavor = compute.create_flavor(name=name, ram=ram, vcpus=1, disk=1)
        if maximum:
            compute.create_flavor_extra_specs(flavor, dict(
                extra_specs, **{
                    'memhotplug:max_memory_mb': str(maximum),
                    'memhotplug:slots': str(SLOTS)}))
        return flavor

    def muster(self, cells):
        """Have a server for each cell, and delete what is not needed.

        :param cells: a list of ``table.Cell``
        :returns: {cell: ``Member`` or the exception that was in the way}
        """
        chosen = {}
        free = list(self.members)
        for cell in cells:
            for member in free:
                if (member.arch, member.state, member.model) == (
                        cell.arch, cell.state, cell.model):
                    chosen[cell] = member
                    free.remove(member)
                    break
        hosts.at_once(self.retire, free)
        missing = [cell for cell in cells if cell not in chosen]
        chosen.update(zip(missing, hosts.at_once(self._make, missing)))
        return chosen

    def _make(self, cell):
        server = cloud.create_server(
            cell.arch, self.flavor('elastic', cell.model).id,
            'live-lifecycle')
        member = Member(self, server, cell.arch, cell.model)
        self.members.append(member)
        self.known.add(server.id)
        server.wait()
        if member.state != cell.state:
            server.wait_guest('first report', bool)
        while member.state != cell.state:
            member.grow()
        return member

    def retire(self, member):
        """Delete a server."""
        cloud.delete_server(member.server)
        self.members.remove(member)

    def close(self):
        """Delete all."""
        for member in list(self.members):
            self.retire(member)
        compute = cloud.connect('admin').compute
        for flavor in self._flavors.values():
            compute.delete_flavor(flavor)
