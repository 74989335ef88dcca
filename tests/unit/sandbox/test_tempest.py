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


"""What ``sandbox tempest`` writes."""

import configparser
import importlib
import json
import pathlib
import sys

import fixtures
import testtools

SANDBOX = pathlib.Path(__file__).resolve().parents[3] / 'sandbox'


class TempestTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.PythonPathEntry(str(SANDBOX)))
        self.addCleanup(self._forget)
        self.tempest = importlib.import_module('stack.tempest')
        self.cloud = self.useFixture(
            fixtures.MockPatch('stack.venv.cloud')).mock
        root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.folder = root / 'tempest'
        self.settings = importlib.import_module('stack.settings').Settings(
            {'SANDBOX_STATE': str(root / 'state')})
        self.settings.prepare([12, 12])

    @staticmethod
    def _forget():
        for name in [one for one in sys.modules
                     if one.partition('.')[0] == 'stack']:
            del sys.modules[name]

    def _accounts(self, with_admin):
        self.tempest.configure(
            self.settings, self.folder, with_admin, dynamic=False)
        for path in (self.folder / 'tempest.conf',
                     self.folder / 'accounts.yaml'):
            self.assertEqual(0o600, path.stat().st_mode & 0o777)
        return {one['username']: (one['project_name'], one['types'])
                for one in json.loads(path.read_text())}

    def test_accounts(self):
        members = {'member': ('demo', []), 'member2': ('other', []),
                   'reader': ('demo', [])}
        self.assertEqual(members, self._accounts(False))
        password = self.settings.password('admin')
        self.assertNotIn(
            password, (self.folder / 'tempest.conf').read_text())
        self.assertEqual({**members, 'admin': ('admin', ['admin'])},
                         self._accounts(True))

    def test_configuration(self):
        self._accounts(True)
        config = configparser.ConfigParser()
        config.read(self.folder / 'tempest.conf')
        self.assertEqual('2', config['compute']['min_compute_nodes'])
        self.assertEqual(str(self.folder / 'accounts.yaml'),
                         config['auth']['test_accounts_file'])
        self.assertEqual('@flavor:elastic@',
                         config['memhotplug']['flavor_ref'])
        self.assertEqual(
            str(self.folder / 'tempest.conf'),
            self.cloud.call_args.args[-1]['target'])
