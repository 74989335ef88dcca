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

"""The choice of a zero-cell strategy, as a table."""

import testtools

from nova_memhotplug.core import errors
from nova_memhotplug.core import strategies

ALL = ('native', 'shim', 'tiny', 'existing')

# configured, what the host can use, zero node wanted -> the strategy
CHOSEN = [
    ('auto', ALL, True, 'native'),
    ('auto', ('shim', 'tiny', 'existing'), True, 'shim'),
    ('auto', ('tiny', 'existing'), True, 'tiny'),
    ('auto', ('existing', 'tiny', 'shim'), True, 'shim'),
    ('native', ALL, True, 'native'),
    ('shim', ALL, True, 'shim'),
    ('tiny', ALL, True, 'tiny'),
    ('existing', ALL, True, 'existing'),
    ('auto', ALL, False, 'existing'),
    ('native', ALL, False, 'existing'),
    ('shim', ('existing',), False, 'existing'),
    ('existing', ALL, False, 'existing'),
]

# The same -> the strategy and words of the reason that the refusal names
REFUSED = [
    ('auto', ('existing',), True, 'auto',
     ('native: no native', 'shim: no shim', 'tiny: no tiny')),
    ('auto', (), True, 'auto', ('native: no native',)),
    ('native', ('shim', 'tiny'), True, 'native', ('no native',)),
    ('shim', ('native', 'tiny'), True, 'shim', ('no shim',)),
    ('tiny', ('shim',), True, 'tiny', ('no tiny',)),
    ('existing', ('tiny',), True, 'existing', ('no existing',)),
]


# The same, where libvirt finds a shim -> the strategy, or None
WITH_SHIM = [
    ('auto', ALL, True, 'native'),
    ('auto', ('native', 'tiny', 'existing'), True, 'native'),
    ('auto', ('shim', 'tiny', 'existing'), True, 'shim'),
    ('auto', ('tiny', 'existing'), True, None),
    ('shim', ('tiny', 'existing'), True, None),
    ('tiny', ('tiny', 'existing'), True, 'tiny'),
    ('existing', ('tiny', 'existing'), True, 'existing'),
    ('auto', ('tiny', 'existing'), False, 'existing'),
]


def _support(usable, has_shim=False):
    return strategies.ArchSupport(
        'x86_64', '/usr/bin/qemu-system-x86_64', usable,
        {name: 'no %s' % name for name in ALL if name not in usable},
        has_shim=has_shim)


class ChooseTestCase(testtools.TestCase):

    def test_chosen(self):
        for configured, usable, zero_node, expected in CHOSEN:
            self.assertEqual(expected, strategies.choose(
                configured, _support(usable), 'x86_64', zero_node),
                (configured, usable, zero_node))

    def test_refused(self):
        for configured, usable, zero_node, named, words in REFUSED:
            error = self.assertRaises(
                errors.StrategyUnavailable, strategies.choose,
                configured, _support(usable), 'x86_64', zero_node)
            self.assertEqual((named, 'x86_64'), (error.strategy, error.arch))
            for word in words:
                self.assertIn(word, str(error))

    def test_a_shim_that_is_there(self):
        """It may not run: auto does not slip to another kind of room."""
        for configured, usable, zero_node, expected in WITH_SHIM:
            case = configured, usable, zero_node
            support = _support(usable, has_shim=True)
            if expected is not None:
                self.assertEqual(expected, strategies.choose(
                    configured, support, 'x86_64', zero_node), case)
                continue
            error = self.assertRaises(
                errors.StrategyUnavailable, strategies.choose, configured,
                support, 'x86_64', zero_node)
            self.assertIn('shim: no shim', str(error), case)
            self.assertNotIn('tiny', str(error), case)

    def test_refused_shim(self):
        for configured, usable, zero_node, expected in WITH_SHIM[:-1]:
            self.assertEqual(
                None if expected else 'no shim', strategies.refused_shim(
                    configured, _support(usable, has_shim=True)))
            self.assertIsNone(strategies.refused_shim(
                configured, _support(usable)))

    def test_a_named_strategy_mentions_no_other(self):
        error = self.assertRaises(
            errors.StrategyUnavailable, strategies.choose,
            'tiny', _support(()), 'x86_64', True)
        self.assertNotIn('native', str(error))

    def test_unknown_architecture(self):
        error = self.assertRaises(
            errors.StrategyUnavailable, strategies.choose,
            'auto', None, 'ppc64le', True)
        self.assertIn('ppc64le', str(error))

    def test_not_tried(self):
        support = strategies.ArchSupport('x86_64', '/q', ())
        error = self.assertRaises(
            errors.StrategyUnavailable, strategies.choose,
            'tiny', support, 'x86_64', True)
        self.assertIn('not tried', str(error))

    def test_order(self):
        self.assertEqual(ALL, strategies.ORDER)
