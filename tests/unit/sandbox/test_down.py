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
import sys
import types
from unittest import mock

import fixtures
import testtools

SANDBOX = pathlib.Path(__file__).resolve().parents[3] / 'sandbox'
PURGE = types.SimpleNamespace(purge=True)


class SandboxTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.PythonPathEntry(str(SANDBOX)))
        self.addCleanup(self._forget)
        self.main = importlib.import_module('stack.main')
        self.stop = self.useFixture(fixtures.MockPatchObject(
            self.main, '_stop')).mock
        self.useFixture(fixtures.MockPatch('stack.report.step'))
        self.state = pathlib.Path(
            self.useFixture(fixtures.TempDir()).path) / 'state'
        self.settings = importlib.import_module('stack.settings').Settings(
            {'SANDBOX_STATE': str(self.state)})

    @staticmethod
    def _forget():
        for name in [one for one in sys.modules
                     if one.partition('.')[0] == 'stack']:
            del sys.modules[name]


class DownTestCase(SandboxTestCase):

    def test_sandbox(self):
        self.settings.prepare([12])
        (self.settings.venv / 'bin').mkdir(parents=True)
        self.main.down(self.settings, PURGE)
        self.stop.assert_called_once_with(self.settings)
        self.assertFalse(self.state.exists())

    def test_other_folder(self):
        """A folder that is no sandbox is left alone, with all in it."""
        for name in ('data', 'home', 'precious'):
            (self.state / name).mkdir(parents=True)
        error = self.assertRaises(
            self.main.report.SandboxError, self.main.down, self.settings,
            PURGE)
        self.assertIn('no sandbox in %s' % self.state, str(error))
        self.assertEqual({'data', 'home', 'precious'}, {
            path.name for path in self.state.iterdir()})
        self.assertEqual([], self.stop.mock_calls)

    def test_more_in_the_folder(self):
        self.settings.prepare([12])
        (self.state / 'precious').mkdir()
        self.main.down(self.settings, PURGE)
        self.assertEqual(['precious'], [
            path.name for path in self.state.iterdir()])

    def test_what_cannot_be_removed(self):
        """It is said, and the next attempt goes on."""
        self.settings.prepare([12])
        with mock.patch('shutil.rmtree', side_effect=OSError('busy')):
            self.assertRaises(
                OSError, self.main.down, self.settings, PURGE)
        self.assertTrue(self.settings.exists)
        self.main.down(self.settings, PURGE)
        self.assertFalse(self.state.exists())
