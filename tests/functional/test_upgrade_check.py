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
"""What an operator is told before an upgrade, of a cloud in this process."""

import contextlib
import io
import os

import fixtures as fixtures_lib

from nova import objects

from nova_memhotplug.cmd import upgrade
from nova_memhotplug.common import rpcapi
from tests.functional import base
from tests.functional import fixtures

Code = upgrade.Code


class TestUpgradeCheck(base.MemoryTestBase):

    def assert_result(self, result, code, words):
        self.assertEqual(code, result.code, result.details)
        self.assertIn(words, result.details)

    def test_ready(self):
        self.create_flavor(base.ELASTIC)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = upgrade.Checks().check()
        self.assertEqual(Code.SUCCESS, code, out.getvalue())
        for words in ('1 hosts can add memory to their servers, 0 cannot',
                      '1 flavors let servers grow', 'APIRouter.factory'):
            self.assertIn(words, ' '.join(out.getvalue().split()))
        self.other_computes()

    def other_computes(self):
        """An older one, and one without the extension."""
        self.flags(compute_driver=base.STOCK_DRIVER)
        self.start_compute('compute2', self.host_info())
        self.assert_result(upgrade.computes(), Code.SUCCESS, '1 cannot')
        node = objects.ComputeNode.get_first_node_by_host_for_old_compat(
            self.ctxt, 'compute1')
        node.stats = dict(node.stats, **{rpcapi.STAT: '1.0'})
        node.save()
        self.assert_result(upgrade.computes(), Code.WARNING, (
            'Upgrade this package on compute1 (1.0): the API speaks ' +
            rpcapi.VERSION))
        # A later one knows all that this API asks for.
        major, minor = map(int, rpcapi.VERSION.split('.'))
        node.stats = dict(node.stats, **{
            rpcapi.STAT: '%d.%d' % (major, minor + 1)})
        node.save()
        self.assert_result(upgrade.computes(), Code.SUCCESS, '1 hosts can')

    def test_flavors(self):
        trait = 'trait:CUSTOM_MEMORY_HOTPLUG'
        for extra_specs, words in (
                ({'memhotplug:slots': '4'}, 'memhotplug:slots without'),
                (dict(base.ELASTIC, **{'memhotplug:max_memory_mb': '512'}),
                 "the ceiling must be above the flavor's RAM of 512 MiB"),
                (dict(base.ELASTIC, **{'hw:mem_encryption': 'true'}),
                 'cannot be combined'),
                ({'memhotplug:max_memory_mb': '1024'}, trait)):
            with self.subTest(words):
                flavor_id = self.create_flavor(extra_specs)
                self.assert_result(upgrade.flavors(), Code.WARNING, words)
                self.admin_api.api_delete('flavors/%s' % flavor_id)
        self.assert_result(upgrade.flavors(), Code.SUCCESS, '0 flavors')
        for _number in range(upgrade.LISTED + 2):
            self.create_flavor({'memhotplug:slots': '4'})
        self.assert_result(upgrade.flavors(), Code.WARNING, ' and 2 more')

    def test_configuration(self):
        self.policies()
        self.paste_line()

    def policies(self):
        self.assert_result(
            upgrade.policies(), Code.SUCCESS, 'Of the policy file: none')
        for rules, code, words in (
                ({'memhotplug:server_memory:resize': 'role:admin'},
                 Code.SUCCESS, 'file: memhotplug:server_memory:resize'),
                ({'memhotplug:server_memory:resize': '!'},
                 Code.SUCCESS, 'file: memhotplug:server_memory:resize'),
                ({'memhotplug:server_memory:grow': 'role:admin'},
                 Code.WARNING, 'no effect: memhotplug:server_memory:grow'),
                ({'memhotplug:server_memory:show': 'role:reader or or'},
                 Code.FAILURE, 'Nobody passes'),
                ({'memhotplug:server_memory:show': 'rule:no_such_rule'},
                 Code.FAILURE, 'memhotplug:server_memory:show')):
            with self.subTest(words):
                self.useFixture(fixtures.PolicyFileFixture(rules))
                self.assert_result(upgrade.policies(), code, words)

    def paste_line(self):
        """Of the file that the configuration names, or another."""
        self.assert_result(upgrade.paste_line(None), Code.SUCCESS,
                           'nova_memhotplug.api.router')
        path = os.path.join(
            self.useFixture(fixtures_lib.TempDir()).path, 'api-paste.ini')
        for text, words in (
                ('[app:osapi_compute_app_v21]\npaste.app_factory = nova:a\n',
                 'is nova:a: the API does not have'),
                ('x', 'cannot be read'), ('[app:other]\n', 'cannot be read')):
            with open(path, 'w', encoding='utf-8') as stream:
                stream.write(text)
            self.assert_result(upgrade.paste_line(path), Code.FAILURE, words)
        self.assert_result(
            upgrade.paste_line('/nowhere'), Code.FAILURE, 'cannot be read')
        self.flags(api_paste_config='nowhere.ini', group='wsgi')
        self.assert_result(
            upgrade.paste_line(None), Code.FAILURE, '--api-paste')
