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

"""The shim and its reference agree on whatever is thrown at them."""

import json

import hypothesis
from hypothesis import strategies as st
import testtools

from tests.unit.shim import reference
from tests.unit.shim import runner

SETTINGS = hypothesis.settings(
    max_examples=200, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(hypothesis.HealthCheck))

BLANKS = st.sampled_from(['', '', '', ' ', '\t', '\n', '\r', ' \r\n '])
IDS = st.sampled_from(['ram-node0', 'ram-node1', 'm', 'a.b_c'] * 3 +
                      ['1x', 'a b', 'é', ''])
TYPES = st.sampled_from(reference.BACKENDS * 5 + (
    'memory-backend-epc', 'memory-backend-ramx', 'rng-random', ''))
ZEROS = ['0', '00', '0M', '0k', '0x0', '0X00', '0.0', '0.0G']
SIZES = st.sampled_from(ZEROS * 4 + [
    '0.', '.0', '0x', '0x0K', '0Q', '-0', '+0', ' 0', '', '1', '10', '0,,',
    '0M5', '0.5', '0G0', '0.0.0'])
JSON_SIZES = st.sampled_from([0] * 9 + [0.0, '0', 1, None, [0], {'size': 0}])
VALUES = st.sampled_from([
    None, True, -7, 1.5e-9, [], {}, [0, [1, 'a'], {}], 'size', '"', '\\',
    '\\"', '","size":0,"', '{', '}', 'memory-backend-ram', 'é\n\x7f',
    {'size': 1, 'id': 'm', 'x': {'"': [{'size': 0}]}},
    ['id', 'm', ',', '\\\\"']])
EXTRAS = st.lists(
    st.tuples(st.sampled_from(['policy', 'host-nodes', 'x', '"\\', '\\']),
              VALUES), max_size=3, unique_by=lambda pair: pair[0])


@st.composite
def json_objects(draw):
    """Draw an object in JSON with blanks wherever JSON allows them."""
    pairs = [('qom-type', draw(TYPES)), ('id', draw(IDS)),
             ('size', draw(JSON_SIZES))]
    pairs += draw(EXTRAS)
    if draw(st.integers(0, 9)) == 0:
        pairs.append(draw(st.sampled_from(pairs)))
    pairs = draw(st.permutations(pairs))
    ascii_only = draw(st.booleans())
    text = '{' + draw(BLANKS)
    for number, (key, value) in enumerate(pairs):
        text += ',' + draw(BLANKS) if number else ''
        text += json.dumps(key) + draw(BLANKS) + ':' + draw(BLANKS)
        text += json.dumps(value, ensure_ascii=ascii_only) + draw(BLANKS)
    return text + '}'


@st.composite
def key_values(draw):
    """Draw an object in the form key=value."""
    words = ['id=' + draw(IDS), 'size=' + draw(SIZES)]
    words += draw(st.lists(st.sampled_from(
        ['share=on', 'share', 'mem-path=/a,,b', 'host-nodes=0-1', '', 'x=,,',
         'size=0', 'xsize=0', 'p,', '=', 'x=a,,,,size=0']), max_size=3))
    words = draw(st.permutations(words))
    name = draw(TYPES)
    if draw(st.booleans()):
        return ','.join([name] + words)
    words.insert(draw(st.integers(0, len(words))), 'qom-type=' + name)
    return ','.join(words)


@st.composite
def mutated(draw, objects):
    """Draw an object and break it, perhaps."""
    text = draw(objects)
    if draw(st.integers(0, 3)):
        return text
    at = draw(st.integers(0, len(text) - 1))
    new = draw(st.sampled_from(['', *'{}[]:,"0 \n']))
    return text[:at] + new + text[at + draw(st.integers(0, 1)):]


@st.composite
def numas(draw):
    """Draw a -numa argument."""
    words = draw(st.permutations(
        ['nodeid=1', 'memdev=' + draw(IDS)] + draw(st.lists(
            st.sampled_from(['cpus=0-1', 'xmemdev=m', 'memdev=m', '']),
            max_size=2))))
    kind = draw(st.sampled_from(['node', 'type=node', 'node', 'dist', '']))
    at = 0 if kind == 'node' else draw(st.integers(0, 1))
    return ','.join(words[:at] + [kind] + words[at:])


OPTIONS = st.sampled_from(['-object'] * 3 + ['--object', '-numa', '--numa'])
NOISE = st.one_of(
    st.binary(max_size=9).map(
        lambda data: data.replace(b'\0', b'').decode(
            'utf-8', 'surrogateescape')),
    st.sampled_from(['-append', '-name', '-S', '-object', '-numa', '', '\n']))
OBJECTS = mutated(st.one_of(json_objects(), key_values()))
PAIRS = st.one_of(
    st.tuples(OPTIONS, OBJECTS), st.tuples(st.just('-object'), OBJECTS),
    st.tuples(OPTIONS, numas()), st.tuples(st.just('-numa'), numas()),
    st.tuples(NOISE), st.tuples(NOISE, OBJECTS))
COMMAND_LINES = st.lists(PAIRS, min_size=1, max_size=8).map(
    lambda pairs: [word for pair in pairs for word in pair])


class ShimPropertyTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.shim = self.useFixture(runner.ShimFixture())

    def _check(self, shell):
        @SETTINGS
        @hypothesis.given(COMMAND_LINES)
        def agree(arguments):
            self.assertEqual(reference.command_line(arguments),
                             self.shim.run(arguments, shell=shell))
        agree()

    def test_agrees_with_the_reference_in_every_shell(self):
        for shell in runner.shells():
            self._check(shell)

    def test_the_reference_drops_something(self):
        """Guard the generator: both outcomes are frequent."""
        dropped = []

        @hypothesis.settings(SETTINGS, phases=[hypothesis.Phase.generate])
        @hypothesis.given(COMMAND_LINES)
        def count(arguments):
            dropped.append(reference.command_line(arguments) != arguments)
        count()
        self.assertGreater(sum(dropped), len(dropped) // 10)
        self.assertLess(sum(dropped), len(dropped))
