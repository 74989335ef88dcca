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

"""Tables, as text for a terminal and as reStructuredText for the page."""

import csv
import dataclasses
import io


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    :param title: one line
    :param header: names of the columns
    :param rows: tuples of text, as long as the header
    """

    title: str
    header: tuple
    rows: list

    def text(self):
        """Lay it out for a terminal; all columns but the first to the right.

        :returns: lines, the title first
        """
        rows = [self.header, *self.rows]
        widths = [max(len(row[column]) for row in rows)
                  for column in range(len(self.header))]
        return '\n'.join([self.title, '-' * len(self.title)] + [
            '  '.join([row[0].ljust(widths[0])] + [
                cell.rjust(width)
                for cell, width in zip(row[1:], widths[1:])]).rstrip()
            for row in rows]) + '\n'

    def rst(self):
        """Write it as a csv-table directive."""
        lines = io.StringIO()
        writer = csv.writer(lines, quoting=csv.QUOTE_ALL,
                            lineterminator='\n')
        writer.writerows([self.header, *self.rows])
        return '.. csv-table:: %s\n   :header-rows: 1\n\n%s' % (
            self.title, ''.join(
                '   %s\n' % line for line in lines.getvalue().splitlines()))


def number(value, digits=0):
    """Write a number; one that is not known as a dash."""
    return '-' if value is None else '%.*f' % (digits, value)
