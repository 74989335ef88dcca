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
"""What ``sandbox down --purge`` removes."""

import importlib
import pathlib

import fixtures

from tests.unit.sandbox import test_down


class ReleaseTestCase(test_down.SandboxTestCase):
    """Which release of Nova a sandbox has."""

    def setUp(self):
        super().setUp()
        self.settings_ = importlib.import_module('stack.settings')
        self.venv = importlib.import_module('stack.venv')

    def test_pinned(self):
        """Each release has its constraints."""
        for nova in self.settings_.NOVAS:
            state = self.useFixture(fixtures.TempDir()).path
            settings = self.settings_.Settings({'SANDBOX_STATE': state})
            settings.prepare([12], nova)
            self.assertEqual(nova, settings.nova)
            self.assertIn('nova==%d.' % nova,
                          self.venv.release(settings, 'nova'))

    def test_decided_once(self):
        self.settings.prepare([12], 31)
        self.settings.prepare(None)
        self.settings.prepare(None, 31)
        error = self.assertRaises(
            self.main.report.SandboxError, self.settings.prepare, None, 33)
        self.assertIn('has Nova 31', str(error))
        self.assertEqual(31, self.settings.nova)

    def test_newest_at_first(self):
        self.settings.prepare([12])
        self.assertEqual(self.settings_.NEWEST_NOVA, self.settings.nova)

    def test_cache_of_another(self):
        """What several sandboxes use is not removed with one of them."""
        cache = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        settings = self.settings_.Settings({
            'SANDBOX_STATE': str(self.state), 'SANDBOX_CACHE': str(cache)})
        settings.prepare([12])
        self.main.down(settings, test_down.PURGE)
        self.assertFalse(self.state.exists())
        self.assertTrue(cache.exists())
