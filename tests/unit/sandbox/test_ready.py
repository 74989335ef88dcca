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

"""What ``sandbox up`` waits for."""

import importlib.util
import pathlib
import types

import testtools

PATH = (pathlib.Path(__file__).resolve().parents[3] /
        'sandbox' / 'cloud' / 'ready.py')
TRAIT = 'CUSTOM_MEMORY_HOTPLUG'
FLAVOR = {'resources': {'VCPU': 1, 'MEMORY_MB': 512}, 'required': [TRAIT]}


def _load():
    spec = importlib.util.spec_from_file_location('sandbox_ready', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ready = _load()


class FakePlacement:
    """Answers for one provider, ``lv1``.

    :param traits: its traits
    :param memory_mb: of its inventory; None for no inventory at all
    :param used_mb: of that
    """

    def __init__(self, traits=(TRAIT,), memory_mb=4096, used_mb=0):
        offers = (
            memory_mb is not None and TRAIT in traits and
            ready.DISABLED_TRAIT not in traits and
            used_mb + 512 <= memory_mb)
        self._answers = {
            'resource_providers': {
                'resource_providers': [{'name': 'lv1', 'uuid': 'rp1'}]},
            'allocation_candidates': {
                'provider_summaries': {'rp1': {}} if offers else {}},
            'traits': {'traits': list(traits)},
            'inventories': {'inventories': {} if memory_mb is None else {
                'VCPU': _inventory(32), 'MEMORY_MB': _inventory(memory_mb)}},
            'usages': {'usages': {'VCPU': 1, 'MEMORY_MB': used_mb}},
        }

    def get(self, path, params, headers):
        body = self._answers[path.rsplit('/', 1)[-1]]
        return types.SimpleNamespace(
            json=lambda: body, raise_for_status=lambda: None)


def _inventory(total):
    return {'total': total, 'reserved': 0, 'allocation_ratio': 1.0}


def _service(host='lv1', state='up', status='enabled', reason=None):
    return types.SimpleNamespace(
        host=host, state=state, status=status, disabled_reason=reason)


class TestServices(testtools.TestCase):

    def check(self, expected, *services):
        self.assertEqual(expected, ready.without_service(
            ['lv1'], types.SimpleNamespace(
                services=lambda binary: services)))

    def test_up(self):
        self.check((set(), set()), _service())

    def test_down_or_not_there(self):
        self.check(({'lv1'}, set()), _service(state='down'))
        self.check(({'lv1'}, set()), _service('lv2'))

    def test_disabled_by_nova(self):
        """As after the loss of its libvirtd: it will be back."""
        self.check(({'lv1'}, set()), _service(
            status='disabled', reason='AUTO: Connection to libvirt lost: 1'))

    def test_disabled_by_an_administrator(self):
        self.check((set(), {'lv1'}), _service(
            status='disabled', reason='maintenance'))
        self.check((set(), {'lv1'}), _service(status='disabled'))


class TestProviders(testtools.TestCase):

    def check(self, expected, **provider):
        found = ready.Providers(
            FakePlacement(**provider), FLAVOR).without_offer(['lv1'])
        self.assertEqual(expected, found)

    def test_offered(self):
        self.check(set())

    def test_full(self):
        """A host that is full is as ready as it can be."""
        self.check(set(), used_mb=4000)

    def test_without_inventory(self):
        self.check({'lv1'}, memory_mb=None)

    def test_without_trait(self):
        self.check({'lv1'}, traits=())

    def test_disabled(self):
        self.check({'lv1'}, traits=(TRAIT, ready.DISABLED_TRAIT))
        self.check({'lv1'}, traits=(TRAIT, ready.DISABLED_TRAIT),
                   used_mb=4000)

    def test_without_provider(self):
        self.assertEqual({'lv2'}, ready.Providers(
            FakePlacement(), FLAVOR).without_offer(['lv2']))
