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

"""The two pictures of the page, made of a result."""

import dataclasses

from tests.bench import points
from tests.bench import report
from tests.bench import stats
from tests.bench import svg

WIDTH = 860
BAR, STEP = 22, 32
LEFT, RIGHT = 170, 90


@dataclasses.dataclass(frozen=True)
class Bar:
    """A bar of one or more parts, in ms.

    :param name: beside it
    :param parts: pairs (colour, ms)
    """

    name: str
    parts: list

    @property
    def ms(self):
        """Its whole length."""
        return sum(ms for _colour, ms in self.parts)


def growths(result):
    """Draw where the time of one growth goes.

    :param result: a result
    :returns: the ``svg.Picture``
    """
    colours = dict(zip(points.PHASES, svg.COLOURS))
    groups = [(arch, _bars(result, arch, kinds, colours))
              for arch, kinds in result['growth'].items()]
    # A cold resize is longer than all others together: it is cut off.
    largest = max(bar.ms for _arch, bars in groups
                  for bar in bars if bar.name != 'cold resize')
    marks = svg.nice(largest)
    height = sum(40 + STEP * len(bars) for _arch, bars in groups) + 100
    picture = svg.Picture(
        WIDTH, height, 'Where the time of one growth goes')
    scale = (WIDTH - LEFT - RIGHT) / marks[-1]
    y = 24
    for place, (name, colour) in enumerate(colours.items()):
        picture.rectangle(LEFT + place * 85, y - 11, 12, 12, colour)
        picture.text(LEFT + place * 85 + 17, y, name)
    for arch, bars in groups:
        y += 40
        picture.text(10, y, arch, bold=True)
        top = y + 4
        for bar in bars:
            y += STEP
            _draw_bar(picture, bar, y, scale, marks[-1])
        _draw_scale(picture, marks, scale, top, y + 12)
    picture.text(WIDTH - 10, y + 46, 'milliseconds, medians', 'end')
    return picture


def _bars(result, arch, kinds, colours):
    samples = kinds[points.WITH_AGENT]
    bars = [Bar('floor', [(svg.INK, stats.median(
        one['floor'] for one in samples))])]
    for kind, some in kinds.items():
        if some:
            bars.append(Bar('growth, ' + kind, [
                (colours[name], ms)
                for name, ms in report.phases_ms(some).items()]))
    bars.append(Bar('pause', [(svg.FAINT, stats.median(
        one['pause'] for one in samples))]))
    cold = result.get('cold', {}).get(arch)
    if cold:
        bars.append(Bar('cold resize', [(svg.FAINT, stats.median(
            one['confirmed'] for one in cold))]))
    return bars


def _draw_bar(picture, bar, y, scale, largest):
    picture.text(LEFT - 10, y + 5, bar.name, 'end')
    x = LEFT
    for colour, ms in bar.parts:
        ms = min(ms, largest)
        picture.rectangle(x, y - BAR / 2, ms * scale, BAR, colour)
        x += ms * scale
    if bar.ms > largest:
        # A gap that says: not to scale.
        picture.rectangle(x - 30, y - BAR / 2 - 1, 6, BAR + 2, 'white')
    picture.text(x + 8, y + 5, '%.0f ms' % bar.ms if bar.ms < 10000
                 else '%.1f s' % (bar.ms / 1000))


def _draw_scale(picture, marks, scale, top, bottom):
    for mark in marks:
        x = LEFT + mark * scale
        picture.line([(x, bottom), (x, bottom + 5)])
        picture.text(x, bottom + 18, '%g' % mark, 'middle')
    picture.line([(LEFT, bottom), (LEFT + marks[-1] * scale, bottom)])
    picture.line([(LEFT, top), (LEFT, bottom)])


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a chart.

    :param name: in the legend
    :param values: pairs (x, ms)
    :param dashed: how it is drawn
    """

    name: str
    values: list
    dashed: bool = False


def scale(result):
    """Draw the time by size, by slots used, and by clients.

    :param result: a result
    :returns: the ``svg.Picture``
    """
    panels = [
        ('by size, MiB', _by_size(result)),
        ('by slots used before', _by_slot(result)),
        ('by clients at once', _by_clients(result)),
    ]
    panels = [(title, lines) for title, lines in panels if lines]
    picture = svg.Picture(WIDTH, 330, 'Time of one growth')
    width = WIDTH / max(1, len(panels))
    for place, (title, lines) in enumerate(panels):
        _draw_panel(picture, place * width, width, title, lines)
    return picture


def _by_size(result):
    lines = []
    for arch, samples in result.get('sizes', {}).items():
        sizes = report.sizes_ms(samples)
        lines += [
            Line(arch, [(size, ours)
                        for size, (ours, _floor) in sizes.items()]),
            Line(arch + ', floor', [
                (size, floor) for size, (_ours, floor) in sizes.items()],
                dashed=True)]
    return lines


def _by_slot(result):
    lines = []
    for arch, kinds in result['growth'].items():
        samples = kinds[points.WITH_AGENT]
        for name, suffix in (('ours', ''), ('floor', ', floor')):
            slots = stats.by((one['slot'], one[name]) for one in samples)
            lines.append(Line(arch + suffix, [
                (slot, stats.median(some))
                for slot, some in sorted(slots.items())],
                dashed=bool(suffix)))
    return lines


def _by_clients(result):
    clients = result.get('clients') or ()
    if not clients:
        return []
    return [
        Line('x86_64, median', [
            (one['clients'], stats.median(one['ms'])) for one in clients]),
        Line('x86_64, p95', [
            (one['clients'], stats.Summary.of(one['ms']).p95)
            for one in clients], dashed=True)]


def _draw_panel(picture, left, width, title, lines):
    x0, x1, y0, y1 = left + 58, left + width - 14, 270, 100
    xs = svg.nice(max(x for line in lines for x, _y in line.values), 4)
    ys = svg.nice(max(y for line in lines for _x, y in line.values))

    def place(x, y):
        return (x0 + x / xs[-1] * (x1 - x0), y0 - y / ys[-1] * (y0 - y1))

    picture.text(left + width / 2, 20, title, 'middle', bold=True)
    for mark in ys:
        _x, y = place(0, mark)
        picture.line([(x0, y), (x1, y)], svg.FAINT)
        picture.text(x0 - 6, y + 4, '%g' % mark, 'end')
    for mark in xs:
        x, _y = place(mark, 0)
        picture.line([(x, y0), (x, y0 + 5)])
        picture.text(x, y0 + 20, '%g' % mark, 'middle')
    picture.line([(x0, y0), (x1, y0)])
    picture.text(x0 - 48, y0 + 44, 'ms')
    # Lines of one architecture have one colour.
    groups = list(dict.fromkeys(
        line.name.split(',')[0] for line in lines))
    for number, line in enumerate(lines):
        colour = svg.COLOURS[groups.index(line.name.split(',')[0])]
        at = [place(x, y) for x, y in line.values]
        picture.line(at, colour, 2, line.dashed)
        for x, y in at:
            picture.dot(x, y, colour)
        y = 36 + 14 * number
        picture.line([(x0, y), (x0 + 22, y)], colour, 2, line.dashed)
        picture.text(x0 + 28, y + 4, line.name)
