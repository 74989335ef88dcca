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

"""What a result says, as text, as the page's tables and as pictures."""

import copy
import json
import pathlib
from xml.etree import ElementTree

import ddt
import fixtures
import testtools

from tests.bench import __main__ as command
from tests.bench import draw
from tests.bench import fleet
from tests.bench import points
from tests.bench import report
from tests.bench import svg
from tests.bench import table


def _sample(slot=0, ours=300, **more):
    return {'slot': slot, 'ours': ours, 'floor': 100, 'pause': 200,
            'post': 50, 'online': 250, 'booked': ours,
            'phases': dict.fromkeys(points.PHASES, ours / 7),
            'counts': {'rpc': 0, 'dumps': 2, 'agent': 3, 'placement': 5,
                       'conductor': 7, 'sql': 40}, **more}


def result(**more):
    """Make a whole result."""
    growths = {kind: [_sample(slot) for slot in range(8)]
               for kind in points.KINDS}
    return {
        'date': '2026-11-27 12:00 UTC', 'quick': True, 'problems': [],
        'machine': {'cores': 2, 'memory_gib': 24, 'processor': 'A & B',
                    'load': 0.1},
        'versions': {'nova': '34.0.0', 'commit': '0123456789'},
        'growth': {arch: copy.deepcopy(growths)
                   for arch in ('x86_64', 'aarch64')},
        'ticker': {'x86_64': [{'idle': 20, 'growth': 90},
                              {'idle': 30, 'growth': 40}]},
        'cold': {'x86_64': [{'resized': 6000, 'confirmed': 7000}]},
        'sizes': {'x86_64': [{'size': 128, 'ours': 300, 'floor': 70},
                             {'size': 512, 'ours': 320, 'floor': 90}]},
        'reads': [{'server': 40, 'show': 44, 'plan': 60}],
        'clients': [{'clients': 1, 'ms': [300, 310], 'per_second': 3.0},
                    {'clients': 8, 'ms': [900, 990], 'per_second': 8.0}],
        'crowd': [
            {'servers': 1, 'ms': [300], 'placement': [5], 'conductor': [7]},
            {'servers': 50, 'ms': [450], 'placement': [5],
             'conductor': [7]}],
        'fleet': [{'what': 'calls', 'value': 4, 'limit': 10.0}],
        **more}


@ddt.ddt
class TestRatios(testtools.TestCase):

    def find(self, what, found=None, before=None):
        (one,) = [one for one in report.ratios(found or result(), before)
                  if one.what == what]
        return one

    @ddt.data(
        ('x86_64: (ours - floor) / pause', 1.0, True),
        ('x86_64: cold resize / ours', 7000 / 300, True),
        ('aarch64: cold resize / ours', None, None),
        ('x86_64: POST answered, ms', 50, None),
        ('x86_64: longest gap of the ticker, ms', 90, True),
        ('x86_64: last slot / first slot', 1.0, True),
        ('GET os-memory / GET server', 1.1, True),
        ('GET os-memory?memory_mb / GET server', 1.5, False),
        ('50 servers on the host / 1', 1.5, False),
        ('XML dumps of one growth', 2, True),
        ('conductor calls of nova-compute of one growth', 7, True),
        ('SQL statements of one growth', 40, None),
        ('calls', 4, True),
    )
    @ddt.unpack
    def test_one(self, what, value, holds):
        one = self.find(what)
        self.assertEqual((value, holds), (one.value, one.holds))

    def test_slots(self):
        found = result()
        found['growth']['x86_64'][points.WITH_AGENT] = [
            _sample(slot, 300 + 100 * slot) for slot in range(8)]
        one = self.find('x86_64: last slot / first slot', found)
        self.assertAlmostEqual(1000 / 300, one.value)
        self.assertFalse(one.holds)

    def test_before(self):
        before = result()
        for one in before['growth']['x86_64'][points.WITH_AGENT]:
            one['post'] = 100
        self.assertEqual(0.5, self.find(
            'x86_64: POST answered / before', before=before).value)

    def test_part_of_it(self):
        """Parts that were not measured say nothing."""
        found = {name: result()[name] for name in (
            'date', 'quick', 'problems', 'machine', 'versions', 'reads')}
        self.assertEqual(
            ['GET os-memory / GET server',
             'GET os-memory?memory_mb / GET server'],
            [one.what for one in report.ratios(found)])
        self.assertIn('GET server', report.text(found))

    def test_at_least(self):
        self.assertEqual(
            ('x', '19.0', '>= 20', 'NO', ''),
            report.Ratio('x', 19, 20.0, at_least=True, digits=1).row())


class TestTables(testtools.TestCase):

    def test_text(self):
        self.assertEqual(
            'Title\n-----\nwhat  ms\na      1\nbcd   22\n',
            table.Table('Title', ('what', 'ms'), [
                ('a', '1'), ('bcd', '22')]).text())

    def test_rst(self):
        self.assertEqual(
            '.. csv-table:: Title\n   :header-rows: 1\n\n'
            '   "what","ms"\n   "a ""b""","1"\n',
            table.Table('Title', ('what', 'ms'), [('a "b"', '1')]).rst())

    def test_whole(self):
        text = report.text(result(), result())
        for words in ('2 cores', 'nova 34.0.0', 'quick run', 'no agent',
                      'growths a second', 'servers on the host'):
            self.assertIn(words, text)
        # The ratios come first.
        self.assertLess(text.index('What must hold'), text.index('Times'))


class TestFleet(testtools.TestCase):

    def test_rows(self):
        counts = {'conductor': 3005, 'placement': 9, 'dumps': 1001,
                  'seconds': 12.5}
        rows = fleet.rows({
            'servers': 1000, 'ours': counts,
            'stock': {**counts, 'conductor': 3000, 'seconds': 10.0},
            'audits': [{'hosts': 1, 'compared': 1000, 'seconds': 2.0,
                        'placement': 1, 'calls': 1, 'differences': 0},
                       {'hosts': 100, 'compared': 100000, 'seconds': None,
                        'expected': 9000.0}]})
        self.assertEqual(
            [('service start with 1000 servers: conductor calls beyond '
              'stock Nova', 5), ('audit of 1000 servers on 1 hosts: '
                                 'seconds', 2.0)],
            [(row['what'], row['value']) for row in (rows[0], rows[-2])])
        self.assertEqual(
            ('audit of 100000 servers on 100 hosts: seconds', None,
             'not made: it would take about 9000 s'),
            (rows[-1]['what'], rows[-1]['value'], rows[-1]['more']))
        self.assertEqual(10.0, rows[0]['limit'])


@ddt.ddt
class TestPictures(testtools.TestCase):

    @ddt.data(
        (0, [0, 1]), (1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (950, [0, 200, 400, 600, 800, 1000]), (8, [0, 2, 4, 6, 8]),
        (1001, [0, 250, 500, 750, 1000, 1250]),
    )
    @ddt.unpack
    def test_nice(self, largest, expected):
        self.assertEqual(expected, svg.nice(largest))

    def test_escapes(self):
        picture = svg.Picture(10, 10, 'a < b')
        picture.text(1, 1, 'c & d')
        root = ElementTree.fromstring(str(picture))
        self.assertEqual(['a < b', 'c & d'], [
            text for text in root.itertext() if text.strip()])

    def read(self, picture):
        return ElementTree.fromstring(str(picture))

    def test_growths(self):
        root = self.read(draw.growths(result()))
        words = [text for text in root.itertext()]
        for name in ('x86_64', 'aarch64', 'floor', 'growth, agent',
                     'pause', 'cold resize', '7000 ms', *points.PHASES):
            self.assertIn(name, words)
        # Nothing is drawn outside of it.
        width = float(root.get('width'))
        for one in root.iter('{http://www.w3.org/2000/svg}rect'):
            self.assertLessEqual(
                float(one.get('x')) + float(one.get('width')), width)

    def test_scale(self):
        words = [text for text in self.read(
            draw.scale(result())).itertext()]
        for name in ('by size, MiB', 'by slots used before',
                     'by clients at once', 'x86_64, floor'):
            self.assertIn(name, words)

    def test_publish(self):
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        stored = folder / 'result.json'
        stored.write_text(json.dumps(result()))
        command.publish(json.loads(stored.read_text()), folder=folder)
        self.assertEqual(
            {'result.json', 'performance.inc', 'performance-growth.svg',
             'performance-scale.svg'},
            {path.name for path in folder.iterdir()})
