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

SELDOM = st.sampled_from([False] * 9 + [True])
IDS = st.sampled_from(['ram-node0', 'ram-node1', 'm', 'a.b_c'] * 3 +
                      ['a b', 'é', '"', '\\', ''])
TYPES = st.sampled_from(['memory-backend-ram', 'memory-backend-memfd',
                         'memory-backend-file'] * 5 + ['rng-random', ''])
SIZES = st.sampled_from([0] * 9 + [0.0, '0', 1, 10, None, [0], {'size': 0}])
VALUES = st.sampled_from([
    None, True, -7, 1.5e-9, [], {}, [0, [1, 'a'], {}], 'size', '"', '\\',
    '\\"', '","size":0,"', ',"size":0', ',', 'a,', '{', '}', '\\"id":"m"',
    'memory-backend-ram', 'é\n\x7f', {'size': 1, 'id': 'm'},
    ['id', 'm', ',', '\\\\"']])
NAMES = st.sampled_from(['policy', 'host-nodes', 'x', '"\\', '\\', 'xsize',
                         ',"size', 'a"size', 'a,"id', '{'])
EXTRAS = st.dictionaries(NAMES, VALUES, max_size=2)


@st.composite
def objects(draw, ids=IDS):
    """Draw an object, most of the time as libvirt writes it."""
    pairs = [('id', draw(ids)), ('size', draw(SIZES))]
    pairs += draw(EXTRAS).items()
    pairs = draw(st.permutations(pairs))
    at = draw(SELDOM) and draw(st.integers(0, len(pairs)))
    pairs.insert(at, ('qom-type', draw(TYPES)))
    separators = (', ', ': ') if draw(SELDOM) else (',', ':')
    return json.dumps(dict(pairs), separators=separators,
                      ensure_ascii=draw(st.booleans()))


@st.composite
def numas(draw, ids=IDS):
    """Draw a -numa argument, most of the time as libvirt writes it."""
    words = ['node', 'nodeid=1'] + draw(st.lists(
        st.sampled_from(['cpus=0-1', 'initiator=0', 'xmemdev=m', 'memdev=m',
                         '', 'x\n']), max_size=2))
    words.append('memdev=' + draw(ids))
    if draw(SELDOM):
        words = draw(st.permutations(words))
    return ','.join(words)


@st.composite
def cells(draw):
    """Draw the two options of a cell."""
    ids = st.just(draw(IDS))
    options = [['-object', draw(objects(ids))], ['-numa', draw(numas(ids))]]
    return [word for option in draw(st.permutations(options))
            for word in option]


OPTIONS = st.sampled_from(['-object', '-numa', '--object', '-device'])
NOISE = st.one_of(
    st.binary(max_size=9).map(
        lambda data: data.replace(b'\0', b'').decode(
            'utf-8', 'surrogateescape').lstrip('{')),
    st.sampled_from(['-append', '-name', '-S', '-object', '-numa', '', '\n',
                     'memory-backend-ram,id=m,size=0']))
PAIRS = st.one_of(
    cells(), cells(), st.tuples(OPTIONS, st.one_of(objects(), numas())),
    st.tuples(NOISE), st.tuples(NOISE, objects()))
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
