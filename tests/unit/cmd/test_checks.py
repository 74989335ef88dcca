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

"""The checks of an installation."""

import os
import pathlib
from unittest import mock

import fixtures
import testtools

from nova_memhotplug.cmd import checks
from nova_memhotplug.cmd import shim

Code = checks.Code


class InstallationTestCase(testtools.TestCase):

    def _patch(self, target, name, **kwargs):
        patch = mock.patch.object(target, name, **kwargs)
        self.addCleanup(patch.stop)
        return patch.start()

    def test_nova_versions(self):
        for version, code in (
                ('31.0.0', Code.SUCCESS), ('34.0.0', Code.SUCCESS),
                ('34.1.0.dev7', Code.SUCCESS), ('30.2.1', Code.FAILURE),
                ('35.0.0', Code.FAILURE), ('odd', Code.FAILURE)):
            self._patch(checks.metadata, 'version', return_value=version)
            result = checks.nova_version()
            self.assertEqual(code, result.code, version)
            self.assertIn(version, result.details)
            self.assertIn('31 to 34', result.details)

    def test_no_nova(self):
        self._patch(checks.metadata, 'version',
                    side_effect=checks.metadata.PackageNotFoundError)
        self.assertEqual(Code.FAILURE, checks.nova_version().code)

    def test_driver_is_found(self):
        self._patch(checks.importlib.util, 'find_spec',
                    return_value=mock.Mock(origin='/x/memhotplug.py'))
        result = checks.driver()
        self.assertEqual((Code.SUCCESS, 'in /x/memhotplug.py'),
                         (result.code, result.details))

    def test_driver_is_elsewhere(self):
        self._patch(checks.importlib.util, 'find_spec', return_value=None)
        self._patch(checks.importlib, 'import_module',
                    return_value=mock.Mock(__file__='/x/nova/__init__.py'))
        result = checks.driver()
        self.assertEqual(Code.FAILURE, result.code)
        self.assertIn('Nova is in /x/nova and does not see', result.details)

    def test_nova_cannot_be_imported(self):
        self._patch(checks.importlib.util, 'find_spec',
                    side_effect=ModuleNotFoundError('no nova'))
        result = checks.driver()
        self.assertEqual(Code.FAILURE, result.code)
        self.assertIn('no nova', result.details)

    def test_extra_specs(self):
        entry = mock.Mock(value='nova_memhotplug.api.extra_specs')
        points = self._patch(checks.metadata, 'entry_points',
                             return_value=[entry])
        self.assertEqual(Code.SUCCESS, checks.extra_specs().code)
        points.assert_called_once_with(
            group='nova.api.extra_spec_validators', name='memhotplug')
        entry.load.side_effect = ImportError('broken')
        result = checks.extra_specs()
        self.assertEqual(Code.FAILURE, result.code)
        self.assertIn('broken', result.details)

    def test_no_extra_specs(self):
        self._patch(checks.metadata, 'entry_points', return_value=[])
        self.assertEqual(Code.FAILURE, checks.extra_specs().code)


class ApiPasteTestCase(testtools.TestCase):

    def _check(self, text):
        path = os.path.join(
            self.useFixture(fixtures.TempDir()).path, 'api-paste.ini')
        with open(path, 'w', encoding='utf-8') as stream:
            stream.write(text)
        return checks.api_paste(path)

    def test_ours(self):
        result = self._check(
            '[app:osapi_compute_app_v21]\npaste.app_factory = '
            'nova_memhotplug.api.router:APIRouter.factory\n')
        self.assertEqual(Code.SUCCESS, result.code)

    def test_stock(self):
        result = self._check(
            '[app:osapi_compute_app_v21]\npaste.app_factory = '
            'nova.api.openstack.compute:APIRouterV21.factory\n')
        self.assertEqual(Code.FAILURE, result.code)
        self.assertIn('resizeMemory', result.details)

    def test_unreadable(self):
        for text in ('', 'x', '[app:osapi_compute_app_v21]\n'):
            self.assertEqual(Code.FAILURE, self._check(text).code)
        self.assertEqual(Code.FAILURE, checks.api_paste('/nowhere').code)


class ShimLinksTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.root.chmod(0o755)
        self.bin = self.root / 'bin'
        self.bin.mkdir(0o755)
        self.emulator = self._executable(self.bin / 'qemu-system-x86_64')
        self.shim = self._executable(self.root / shim.SHIM)
        self.links = self.root / 'links'
        patch = mock.patch.object(shim, 'EMULATOR_DIRECTORIES', (self.bin,))
        patch.start()
        self.addCleanup(patch.stop)

    def _executable(self, path):
        path.write_text('#!/bin/sh\n')
        path.chmod(0o755)
        return path

    def _reachable(self):
        """Leave aside the directories above that of the test."""
        return mock.patch.object(checks, '_closed', return_value=None)

    def _only(self):
        results = checks.shim_links(self.links)
        self.assertEqual(1, len(results))
        return results[0]

    def test_linked(self):
        shim.link(self.links, self.shim)
        with self._reachable():
            result = self._only()
        self.assertEqual('Shim qemu-system-x86_64', result.name)
        self.assertEqual(Code.SUCCESS, result.code, result.details)

    def test_missing(self):
        result = self._only()
        self.assertEqual(Code.WARNING, result.code)
        self.assertIn('no link for qemu-system-x86_64', result.details)
        self.assertIn('shim link --directory %s' % self.links, result.details)

    def test_stale(self):
        shim.link(self.links, self.shim)
        stale = mock.patch.object(shim, 'is_stale', return_value=True)
        with stale, self._reachable():
            result = self._only()
        self.assertEqual(Code.WARNING, result.code)
        self.assertIn('is newer than the shim', result.details)

    def test_not_the_shim(self):
        self.links.mkdir()
        (self.links / 'qemu-system-x86_64').symlink_to(self.emulator)
        self.assertEqual(Code.FAILURE, self._only().code)

    def test_not_executable(self):
        shim.link(self.links, self.shim)
        self.shim.chmod(0o644)
        self.assertEqual(Code.FAILURE, self._only().code)

    def test_out_of_reach_of_others(self):
        shim.link(self.links, self.shim)
        self.shim.chmod(0o750)
        result = self._only()
        self.assertEqual(Code.WARNING, result.code)
        self.assertIn('%s can be reached' % self.shim, result.details)
        self.shim.chmod(0o755)
        self.root.chmod(0o700)
        self.assertIn('%s can be reached' % self.root, self._only().details)

    def test_unsafe_directory(self):
        shim.link(self.links, self.shim)
        self.links.chmod(0o777)
        self.assertEqual(Code.FAILURE, self._only().code)

    def test_no_qemu(self):
        self.emulator.unlink()
        self.assertEqual(Code.SUCCESS, self._only().code)
