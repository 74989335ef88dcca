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
"""A line of the log about a server names it as Nova's do."""

import ast
import collections
import pathlib

import testtools

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / 'nova_memhotplug'
#: How many lines of a module are about a host or a process.
ABOUT_NO_SERVER = {
    'common/contract.py': 1, 'compute/books.py': 1, 'compute/metrics.py': 1,
    'compute/onlining.py': 1,
    'compute/reconcile.py': 1, 'models/registry.py': 1,
    'virt/abilities.py': 4, 'virt/emulator.py': 1, 'virt/probe.py': 3}


class LoggingTestCase(testtools.TestCase):

    def test_lines_name_their_server(self):
        found = collections.Counter()
        for path in PACKAGE.rglob('*.py'):
            for node in ast.walk(ast.parse(path.read_text())):
                if (isinstance(node, ast.Call) and
                        isinstance(node.func, ast.Attribute) and
                        getattr(node.func.value, 'id', '') == 'LOG' and
                        not {'instance', 'instance_uuid'} & {
                            keyword.arg for keyword in node.keywords}):
                    found[str(path.relative_to(PACKAGE))] += 1
        self.assertEqual(ABOUT_NO_SERVER, dict(found))
