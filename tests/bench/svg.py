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

"""Just enough SVG for two pictures."""

from xml.sax import saxutils

#: Colours that can be told apart by everybody (Okabe and Ito).
COLOURS = ('#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00',
           '#999999')
INK, FAINT = '#222222', '#cccccc'
FONT_PX = 13


class Picture:
    """A picture that is made of rectangles, lines, dots and text.

    :param width: in pixels
    :param height: in pixels
    :param title: for those who cannot see it
    """

    def __init__(self, width, height, title):
        self._lines = [
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" '
            'width="%d" height="%d" role="img" font-family="sans-serif" '
            'font-size="%d">' % (width, height, width, height, FONT_PX),
            '<title>%s</title>' % saxutils.escape(title)]
        self.rectangle(0, 0, width, height, 'white')

    def _add(self, tag, content=None, **attributes):
        written = ' '.join('%s=%s' % (
            name.replace('_', '-'), saxutils.quoteattr(
                '%.1f' % value if isinstance(value, float) else str(value)))
            for name, value in attributes.items())
        self._lines.append(
            '<%s %s/>' % (tag, written) if content is None else
            '<%s %s>%s</%s>' % (
                tag, written, saxutils.escape(content), tag))

    def rectangle(self, x, y, width, height, colour):
        """Draw a filled rectangle."""
        self._add('rect', x=float(x), y=float(y), width=float(width),
                  height=float(height), fill=colour)

    def line(self, points, colour=INK, width=1, dashed=False):
        """Draw a line through points.

        :param points: pairs (x, y)
        """
        more = {'stroke_dasharray': '5 4'} if dashed else {}
        self._add('polyline', points=' '.join(
            '%.1f,%.1f' % point for point in points), fill='none',
            stroke=colour, stroke_width=width, **more)

    def dot(self, x, y, colour):
        """Draw a dot."""
        self._add('circle', cx=float(x), cy=float(y), r=3, fill=colour)

    def text(self, x, y, words, anchor='start', bold=False):
        """Write a line.

        :param anchor: start, middle or end: which of it is at ``x``
        """
        more = {'font_weight': 'bold'} if bold else {}
        self._add('text', words, x=float(x), y=float(y), fill=INK,
                  text_anchor=anchor, **more)

    def __str__(self):
        return '\n'.join([*self._lines, '</svg>', ''])


def nice(largest, steps=5):
    """Choose the marks of an axis from 0.

    :param largest: what has to be on it
    :param steps: about how many marks
    :returns: the marks; the last one is not below the largest
    """
    if largest <= 0:
        return [0, 1]
    size = 1.0
    while size * steps < largest:
        size *= 10
    while size * steps > largest * 10:
        size /= 10
    for factor in (0.1, 0.2, 0.25, 0.5, 1):
        if size * factor * steps >= largest:
            size *= factor
            break
    marks = [0]
    while marks[-1] < largest:
        marks.append(round(marks[-1] + size, 10))
    return marks
