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

"""What is imported is declared, and what is declared is imported."""

import ast
from importlib import metadata
import pathlib
import sys
import tomllib

from packaging import requirements
from packaging import utils
import testtools

ROOT = pathlib.Path(__file__).resolve().parents[2]
OURS = {'nova_memhotplug', 'nova_memhotplug_tempest_plugin'}


def _imports(paths):
    """List the distributions that modules import, by their names."""
    names = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module)
            elif isinstance(node, ast.Call) and getattr(
                    node.func, 'attr', '') == 'try_import':
                names.add(node.args[0].value)
    tops = {name.split('.')[0] for name in names}
    tops -= sys.stdlib_module_names | OURS
    known = metadata.packages_distributions() | {
        'libvirt': ['libvirt-python'], 'libvirt_qemu': ['libvirt-python'],
        'nova': ['nova'], 'tempest': ['tempest']}
    return {utils.canonicalize_name(known[top][0]) for top in tops}


class DependenciesTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        with open(ROOT / 'pyproject.toml', 'rb') as stream:
            project = tomllib.load(stream)['project']
        self.always = self._names(project['dependencies'])
        self.extras = {
            extra: self._names(listed) for extra, listed
            in project['optional-dependencies'].items()}
        self.modules = {ROOT / 'nova/virt/memhotplug/__init__.py',
                        *(ROOT / 'nova_memhotplug').rglob('*.py')}
        self.cli = set((ROOT / 'nova_memhotplug' / 'cli').rglob('*.py'))

    @staticmethod
    def _names(listed):
        return {utils.canonicalize_name(requirements.Requirement(one).name)
                for one in listed}

    def test_services(self):
        declared = (
            self.always | self.extras['nova'] | self.extras['libvirt'])
        self.assertEqual(declared, _imports(self.modules - self.cli))

    def test_tempest(self):
        imported = _imports(
            (ROOT / 'nova_memhotplug_tempest_plugin').rglob('*.py'))
        extra = self.extras['tempest']
        self.assertEqual(set(), imported - self.always - extra)
        self.assertEqual(set(), extra - imported)

    def test_commands(self):
        """Nova's client starts the plugin: it is not imported."""
        imported = _imports(self.cli) | {'python-openstackclient'}
        self.assertEqual(set(), imported - self.always - self.extras['cli'])
        self.assertEqual(set(), self.extras['cli'] - imported)
