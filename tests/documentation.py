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
"""Read the tables of the documentation, to compare them with the code."""

import pathlib

from docutils import core
from docutils import nodes

SOURCE = pathlib.Path(__file__).parents[1] / 'doc' / 'source'
#: Sphinx's own roles are unknown to docutils: say nothing, stop at nothing.
_SILENT = 5


def tables(name: str) -> list[list[list[str]]]:
    """Read the tables of a page.

    :param name: the page below ``doc/source``, without ``.rst``
    :returns: of each, the text of its cells, row by row, without the header
    """
    path = SOURCE / (name + '.rst')
    document = core.publish_doctree(path.read_text(), settings_overrides={
        'report_level': _SILENT, 'halt_level': _SILENT})
    return [[[' '.join(entry.astext().split())
              for entry in row.findall(nodes.entry)]
             for row in table.next_node(nodes.tbody).findall(nodes.row)]
            for table in document.findall(nodes.table)]
