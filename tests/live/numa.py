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

"""What domains and Nova's database say of memory bound to the host."""

import collections
import dataclasses
import json

from nova_memhotplug.core import device as device_mod
from nova_memhotplug.core import domain

#: What is counted by the MiB, beside the pages of each size.
MEMORY = 'memory'
#: Where Nova counts a server that asks for no size of page, in KiB.
SMALL_PAGE = 4


@dataclasses.dataclass(frozen=True)
class Device:
    """A memory device of a domain.

    :param alias: its name
    :param slot: its slot
    :param base: its address in the guest
    :param node: the guest's node
    :param size_kib: its size, in KiB
    :param nodemask: the nodes of the host that it may be on; None for any
    :param page_kib: pages of the host that it is made of, in KiB; None if the
        device says nothing
    """

    alias: str
    slot: str
    base: str
    node: int
    size_kib: int
    nodemask: str | None
    page_kib: int | None


def devices(xml):
    """Read the memory devices of a domain.

    :param xml: the domain
    :returns: a list of ``Device``, in the order of their slots
    """
    found = domain.parse(xml).iterfind('devices/memory')
    return sorted(map(_device, found), key=lambda device: int(device.slot))


def _device(element):
    address = element.find('address')
    page = element.find('source/pagesize')
    return Device(
        alias=element.find('alias').get('name'),
        slot=address.get('slot'), base=address.get('base'),
        node=int(element.findtext('target/node')),
        size_kib=device_mod.size_kib(element.find('target/size')),
        nodemask=element.findtext('source/nodemask'),
        page_kib=None if page is None else device_mod.size_kib(page))


class Topologies:
    """Reads the NUMA topologies in Nova's database.

    :param query: a function that runs a SELECT and returns its rows, one a
        line
    """

    def __init__(self, query):
        self._query = query

    def server_mb(self, server_id):
        """Read the cells of a server.

        :returns: the memory of each, in MiB; an empty list if it has none
        """
        return _sizes_mb(_cells(self._query(
            'SELECT numa_topology FROM nova_cell1.instance_extra '
            "WHERE instance_uuid='%s'" % server_id)))

    def request_spec_mb(self, server_id):
        """Read the cells of a server's RequestSpec.

        :returns: as ``server_mb``
        """
        spec = json.loads(self._query(
            'SELECT spec FROM nova_api.request_specs '
            "WHERE instance_uuid='%s'" % server_id))
        return _sizes_mb(_cells_of(
            spec['nova_object.data'].get('numa_topology')))

    def used(self, host):
        """Read what a host has in use.

        :returns: a Counter of MiB by (cell of the host, MEMORY or size of a
            page in KiB)
        """
        used = collections.Counter()
        for cell in self._host_cells(host):
            used[cell['id'], MEMORY] += cell['memory_usage']
            for page in _pages(cell):
                used[cell['id'], page['size_kb']] += (
                    page['used'] * page['size_kb'] // 1024)
        return used

    def free_mb(self, host, page_kib):
        """Read what a host has free in pages of a size, in MiB."""
        return sum((page['total'] - page['used']) * page_kib // 1024
                   for cell in self._host_cells(host)
                   for page in _pages(cell) if page['size_kb'] == page_kib)

    def _host_cells(self, host):
        return _cells(self._query(
            'SELECT numa_topology FROM nova_cell1.compute_nodes '
            "WHERE deleted = 0 AND host='%s'" % host))

    def claimed(self, host):
        """Add up what the cells of a host's servers have.

        :returns: as ``used``
        """
        rows = self._query(
            'SELECT extra.numa_topology FROM nova_cell1.instances AS server '
            'JOIN nova_cell1.instance_extra AS extra '
            'ON extra.instance_uuid = server.uuid '
            "WHERE server.deleted = 0 AND server.host='%s'" % host)
        claimed = collections.Counter()
        for row in rows.splitlines():
            for cell in _cells(row):
                claimed[cell['id'], MEMORY] += cell['memory']
                page = cell['pagesize'] or SMALL_PAGE
                claimed[cell['id'], page] += cell['memory']
        return claimed


def _sizes_mb(cells):
    return [cell['memory'] for cell in cells]


def _cells(text):
    return [] if text == 'NULL' else _cells_of(json.loads(text))


def _cells_of(topology):
    """Take the cells out of a serialized object, which may be None."""
    cells = topology['nova_object.data']['cells'] if topology else []
    return [cell['nova_object.data'] for cell in cells]


def _pages(cell):
    """List what a cell of a host says of its pages, by size."""
    return [pages['nova_object.data'] for pages in cell['mempages']]
