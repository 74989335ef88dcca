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

"""What a guest says of its memory on its console."""

import dataclasses
import re

#: The sizes of the guest and of each of its nodes, in kB, as the kernel has
#: them in MemTotal. It comes at boot and when anything of it has changed.
REPORT = re.compile(
    r'GUEST mem_total_kb=(?P<total>\d+) nodes=(?P<nodes>\d+:\d+(,\d+:\d+)*)')
#: This comes once at each boot.
BOOT = 'GUEST boot '


@dataclasses.dataclass(frozen=True)
class Report:
    """What a guest has.

    :ivar total_kb: all memory that it uses
    :ivar nodes: the same of each NUMA node that has any
    """

    total_kb: int
    nodes: dict[int, int]

    def growth(self, earlier: 'Report') -> dict[int, int]:
        """Tell what came to each node since an earlier report, in kB."""
        growth = {
            node: self.nodes.get(node, 0) - earlier.nodes.get(node, 0)
            for node in self.nodes.keys() | earlier.nodes.keys()}
        return {node: kb for node, kb in growth.items() if kb}


def last_report(output: str) -> Report | None:
    """Find the last report.

    :param output: what was printed on the console
    :returns: None if the guest has said nothing yet
    """
    found = list(REPORT.finditer(output))
    if not found:
        return None
    nodes = (pair.split(':') for pair in found[-1]['nodes'].split(','))
    return Report(
        int(found[-1]['total']),
        {int(node): int(kb) for node, kb in nodes if int(kb)})


def boots(output: str) -> int:
    """Count how often the guest has booted."""
    return output.count(BOOT)
