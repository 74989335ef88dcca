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

"""The core decides and touches nothing: it imports no edge."""

import ast
import pathlib

import testtools

from nova_memhotplug import core

ALLOWED = {'lxml', 'nova_memhotplug.core'}
FORBIDDEN = ('nova', 'libvirt', 'oslo', 'stevedore', 'nova_memhotplug')


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or '.'


class PurityTest(testtools.TestCase):

    def test_imports(self):
        paths = list(pathlib.Path(core.__file__).parent.glob('*.py'))
        self.assertGreater(len(paths), 10)
        for path in paths:
            for name in set(_imports(path)) - ALLOWED:
                self.assertFalse(
                    name.startswith(FORBIDDEN) or name.startswith('.'),
                    '%s imports %s' % (path.name, name))
