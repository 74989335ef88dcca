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

"""What a result means: ratios first, then the times that they are made of.

A result is the document that ``run.measure`` returns and ``--json`` writes.
Nothing here measures anything.
"""

import dataclasses

from tests.bench import points
from tests.bench import stats
from tests.bench import table
from tests.bench import trace

FLAT = 1.2
#: A machine that has more to do than this is not idle. The sandbox itself has
#: just been started then.
IDLE_LOAD = 1.5
#: At most so many of each, for one growth with an agent.
COUNT_LIMITS = {'rpc': 0, 'dumps': 2, 'agent': 3, 'placement': 5,
                'conductor': 7}


@dataclasses.dataclass(frozen=True)
class Ratio:
    """A figure that has to keep to a limit.

    :param what: it is
    :param value: what was measured; None if it was not
    :param limit: of it; None if there is none
    :param at_least: whether the limit is a floor and no ceiling
    :param digits: behind the decimal point
    :param more: to be said of it
    """

    what: str
    value: float | None
    limit: float | None
    at_least: bool = False
    digits: int = 2
    more: str = ''

    @property
    def holds(self):
        """Whether it keeps to the limit; None if that cannot be said."""
        if self.value is None or self.limit is None:
            return None
        if self.at_least:
            return self.value >= self.limit
        return self.value <= self.limit

    def row(self):
        """Make a row of a table of it."""
        limit = '' if self.limit is None else '%s %g' % (
            '>=' if self.at_least else '<=', self.limit)
        verdict = {None: '', True: 'yes', False: 'NO'}[self.holds]
        return (self.what, table.number(self.value, self.digits), limit,
                verdict, self.more)


def _growths(result, kind=points.WITH_AGENT):
    """Go through the samples: pairs (architecture, its samples)."""
    for arch, kinds in result.get('growth', {}).items():
        if kinds.get(kind):
            yield arch, kinds[kind]


def _median(samples, name):
    return stats.median(sample[name] for sample in samples)


def ratios(result, before=None):
    """List everything that has to hold.

    :param result: a result
    :param before: an earlier one to compare with; or None
    """
    found = []
    for arch, samples in _growths(result):
        found += _of_growth(result, before, arch, samples)
    found += _of_counts(result)
    found += _of_reads(result)
    for arch, samples in _growths(result):
        found.append(Ratio(
            '%s: last slot / first slot' % arch, stats.drift(
                (one['slot'], one['ours']) for one in samples), FLAT,
            more='straight line through %d growths' % len(samples)))
    return [*found, *_of_crowd(result), *_of_fleet(result)]


def _of_growth(result, before, arch, samples):
    ours, floor = _median(samples, 'ours'), _median(samples, 'floor')
    pause, post = _median(samples, 'pause'), _median(samples, 'post')
    cold = result.get('cold', {}).get(arch, ())
    yield Ratio('%s: (ours - floor) / pause' % arch,
                stats.ratio(ours - floor, pause), 1.0,
                more='(%.0f - %.0f) / %.0f ms' % (ours, floor, pause))
    yield Ratio('%s: cold resize / ours' % arch,
                stats.ratio(_median(cold, 'confirmed'), ours), 20.0,
                at_least=True, digits=1)
    yield Ratio('%s: POST answered, ms' % arch, post, None, digits=0)
    older = dict(_growths(before or {})).get(arch)
    if older:
        yield Ratio('%s: POST answered / before' % arch,
                    stats.ratio(post, _median(older, 'post')), 0.6)
    ticks = result.get('ticker', {}).get(arch)
    if ticks:
        yield Ratio(
            '%s: longest gap of the ticker, ms' % arch,
            max(one['growth'] for one in ticks), 100, digits=0,
            more='median %.0f; idle: longest %.0f, median %.0f' % (
                _median(ticks, 'growth'), max(one['idle'] for one in ticks),
                _median(ticks, 'idle')))


def _of_counts(result):
    samples = [one['counts'] for _arch, some in _growths(result)
               for one in some]
    for name, what in trace.COUNTS.items():
        numbers = [one[name] for one in samples]
        if numbers:
            yield Ratio(
                '%s of one growth' % what, stats.median(numbers),
                COUNT_LIMITS.get(name), digits=0,
                more='%d to %d' % (min(numbers), max(numbers)))


def _of_reads(result):
    reads = result.get('reads') or ()
    for name, what in (('show', 'GET os-memory'),
                       ('plan', 'GET os-memory?memory_mb')):
        if reads:
            yield Ratio('%s / GET server' % what, stats.ratio(
                _median(reads, name), _median(reads, 'server')), 1.3)


def _of_crowd(result):
    crowd = result.get('crowd') or ()
    if len(crowd) > 1:
        few, many = crowd[0], crowd[-1]
        yield Ratio(
            '%d servers on the host / %d' % (
                many['servers'], few['servers']),
            stats.ratio(stats.median(many['ms']), stats.median(few['ms'])),
            FLAT)


def _of_fleet(result):
    for entry in result.get('fleet') or ():
        yield Ratio(entry['what'], entry['value'], entry.get('limit'),
                    digits=entry.get('digits', 0),
                    more=entry.get('more', ''))


def tables(result, before=None):
    """Make all tables of a result, the ratios first."""
    return [one for one in (
        table.Table(
            'What must hold', ('figure', 'measured', 'limit', 'holds', ''),
            [ratio.row() for ratio in ratios(result, before)]),
        _times(result), _phases(result), _sizes(result), _clients(result),
        _crowd(result)) if one.rows]


def _row(what, samples):
    if not samples:
        return (what, '-', '-', '0')
    summary = stats.Summary.of(samples)
    return (what, table.number(summary.median), table.number(summary.p95),
            str(summary.n))


def _times(result):
    rows = []
    for arch, samples in _growths(result):
        silent = dict(_growths(result, points.WITHOUT_AGENT)).get(arch, ())
        cold = result.get('cold', {}).get(arch, ())
        for what, some, name in (
            ('growth, with agent', samples, 'ours'),
            ('growth, without agent', silent, 'ours'),
            ('floor: libvirt alone', samples, 'floor'),
            ('POST answered', samples, 'post'),
            ('online in the guest', samples, 'online'),
            ('pause', samples, 'pause'),
            ('cold resize, to VERIFY_RESIZE', cold, 'resized'),
            ('cold resize, confirmed', cold, 'confirmed'),
        ):
            rows.append(_row('%s: %s' % (arch, what),
                             [one[name] for one in some]))
    reads = result.get('reads') or ()
    for what, name in (('GET server', 'server'), ('GET os-memory', 'show'),
                       ('GET os-memory?memory_mb', 'plan')):
        if reads:
            rows.append(_row(what, [one[name] for one in reads]))
    return table.Table('Times, ms', ('what', 'median', 'p95', 'n'), rows)


def phases_ms(samples):
    """Take the median of each phase: {phase: ms}."""
    return {name: stats.median(one['phases'][name] for one in samples)
            for name in points.PHASES}


def _phases(result):
    rows = []
    for kind in (points.WITH_AGENT, points.WITHOUT_AGENT):
        for arch, samples in _growths(result, kind):
            rows.append(('%s, %s' % (arch, kind), *(
                table.number(ms) for ms in phases_ms(samples).values())))
    return table.Table(
        'Where the time of one growth goes, medians in ms',
        ('guest', *points.PHASES), rows)


def sizes_ms(samples):
    """Take medians by size: {size in MiB: (ours, floor)} in ms."""
    return {size: (stats.median(one['ours'] for one in some),
                   stats.median(one['floor'] for one in some))
            for size, some in stats.by(
                (one['size'], one) for one in samples).items()}


def _sizes(result):
    return table.Table(
        'Growths of several sizes, medians in ms',
        ('size', 'ours', 'floor'),
        [('%s: %d MiB' % (arch, size), table.number(ours),
          table.number(floor))
         for arch, samples in result.get('sizes', {}).items()
         for size, (ours, floor) in sizes_ms(samples).items()])


def _clients(result):
    return table.Table(
        'Several clients at once, ms', (
            'clients', 'median', 'p95', 'n', 'growths a second'),
        [(*_row(str(one['clients']), one['ms']),
          table.number(one['per_second'], 2))
         for one in result.get('clients') or ()])


def _crowd(result):
    return table.Table(
        'One growth beside other servers of the host, ms', (
            'servers on the host', 'median', 'p95', 'n',
            'placement requests', 'conductor calls'),
        [(*_row(str(one['servers']), one['ms']),
          table.number(stats.median(one['placement'])),
          table.number(stats.median(one['conductor'])))
         for one in result.get('crowd') or ()])


def about(result):
    """Say where and when a result was measured, in one sentence."""
    machine = result['machine']
    versions = ', '.join('%s %s' % pair
                         for pair in result['versions'].items())
    busy = '' if machine['load'] <= IDLE_LOAD else (
        ' The machine was busy: these times are not worth quoting.')
    return ('%s, on %d cores and %d GiB of memory (%s, load before %s), %s; '
            '%s run.%s' % (
                result['date'], machine['cores'], machine['memory_gib'],
                machine['processor'], machine['load'], versions,
                'quick' if result['quick'] else 'full', busy))


def text(result, before=None):
    """Lay out a whole result for a terminal."""
    return '\n'.join([about(result) + '\n', *(
        one.text() for one in tables(result, before))])


def rst(result, before=None):
    """Write a whole result for the page."""
    return '\n'.join([
        '.. Written by tools/bench.sh --publish. Do not edit.', '',
        'Measured ' + about(result), '', *(
            one.rst() for one in tables(result, before))])
