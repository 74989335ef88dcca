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

"""What a guest says of its own memory on its console."""

import dataclasses
import re

LINE = re.compile(
    r'^GUEST mem_total_kb=(?P<total>\d+) nodes=(?P<nodes>[\d:,]+) '
    r'blocks_online=(?P<online>\d+) blocks_offline=(?P<offline>\d+)\r?$',
    re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class GuestMemory:
    """One GUEST line.

    :ivar total_kb: MemTotal
    :ivar nodes: {node: its MemTotal in kB}
    :ivar blocks_online: number of memory blocks in use
    :ivar blocks_offline: number of memory blocks that are not
    """

    total_kb: int
    nodes: dict
    blocks_online: int
    blocks_offline: int

    def __str__(self):
        nodes = ', '.join('node %d %d kB' % node
                          for node in sorted(self.nodes.items()))
        return '%d kB (%s), blocks: %d online, %d offline' % (
            self.total_kb, nodes, self.blocks_online, self.blocks_offline)


def parse(console):
    """Return every GuestMemory that a console shows, oldest first."""
    return [
        GuestMemory(
            int(match['total']),
            {int(node): int(size) for node, size in
             (item.split(':') for item in match['nodes'].split(','))},
            int(match['online']), int(match['offline']))
        for match in LINE.finditer(console)]
