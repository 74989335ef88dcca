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

import errno
import os
import pathlib
from unittest import mock

import fixtures
import testtools

from nova_memhotplug.cmd import checks
from nova_memhotplug.cmd import shim
from nova_memhotplug.virt import emulator

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
        return checks.paste_line(path)

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
        self.assertEqual(Code.FAILURE, checks.paste_line('/nowhere').code)


class ShimTestBase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.root.chmod(0o755)
        self.bin = self.root / 'bin'
        self.bin.mkdir(0o755)
        self.emulator = self.bin / 'qemu-system-x86_64'
        self.emulator.write_text('#!/bin/sh\n')
        self.emulator.chmod(0o755)
        self.directory = self.root / 'shim'
        self.path = self.directory / self.emulator.name
        for name, value in (('EMULATOR_DIRECTORIES', (self.bin,)),
                            ('OWNERS', (0, os.geteuid()))):
            self.useFixture(fixtures.MockPatchObject(shim, name, value))

    def _assert(self, code, words, connection=None):
        result = checks.shims(self.directory, connection)
        self.assertEqual(code, result.code, result.details)
        self.assertIn(words, result.details)


class ShimTestCase(ShimTestBase):
    """Without libvirt: what is in the file system."""

    def test_installed(self):
        shim.install(self.directory)
        self._assert(Code.SUCCESS, '%s starts %s.' % (
            self.path, self.emulator))

    def test_a_copy_named_like_the_emulator(self):
        """As a ConfigMap brings it."""
        shim.install(self.directory)
        self.path.unlink()
        (self.directory / shim.SHIM).rename(self.path)
        self._assert(Code.SUCCESS, 'qemu-system-x86_64 starts')

    def test_missing(self):
        self._assert(Code.WARNING, 'There is no shim for qemu-system-x86_64')
        self._assert(Code.WARNING, 'shim install --directory %s' % (
            self.directory))

    def test_the_worst_counts(self):
        shim.install(self.directory)
        (self.bin / 'qemu-system-arm').symlink_to(self.emulator)
        self._assert(Code.WARNING, 'There is no shim for qemu-system-arm in')
        self._assert(Code.WARNING, 'qemu-system-x86_64 starts')

    def test_stale(self):
        shim.install(self.directory)
        self.useFixture(fixtures.MockPatchObject(
            shim, 'is_stale', return_value=True))
        self._assert(Code.WARNING, 'is newer than the shim')

    def test_not_the_shim(self):
        self.directory.mkdir()
        self.path.symlink_to(self.emulator)
        self._assert(Code.WARNING, 'is not the shim of this package')

    def test_out_of_reach_of_others(self):
        shim.install(self.directory)
        file = self.directory / shim.SHIM
        for mode in (0o644, 0o750, 0o711):
            file.chmod(mode)
            self._assert(Code.FAILURE, '%s cannot be read and run' % file)
        file.chmod(0o755)
        self.root.chmod(0o700)
        self._assert(Code.FAILURE, '%s cannot be read and run' % self.root)

    def test_writable_by_others(self):
        shim.install(self.directory)
        for path in (self.directory / shim.SHIM, self.directory, self.root):
            path.chmod(0o777)
            self._assert(Code.FAILURE, '%s is writable by everyone' % path)
            path.chmod(0o755)

    def test_no_qemu(self):
        self.emulator.unlink()
        self._assert(Code.SUCCESS, 'No QEMU on this host')


class LibvirtError(Exception):

    def get_error_code(self):
        return 38

    def get_int1(self):
        return self.args[1]


class FakeLibvirt:
    """Also the connection."""

    VIR_ERR_SYSTEM_ERROR = 38
    libvirtError = LibvirtError

    def __init__(self, path, number=0):
        self.path = path
        self.number = number

    def getCapabilities(self):
        return """<capabilities>%s</capabilities>""" % ''.join(
            '<guest><os_type>hvm</os_type><arch name="%s">'
            '<emulator>%s</emulator></arch></guest>' % pair
            for pair in (('x86_64', self.path), ('s390x', '/none')))

    def getDomainCapabilities(self, *args):
        if self.number:
            raise LibvirtError(os.strerror(self.number), self.number)


class ShimOfLibvirtTestCase(ShimTestBase):
    """With libvirt, which may have another root file system."""

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MockPatchObject(
            emulator, 'libvirt', FakeLibvirt))

    def _ask(self, code, words, number=0, path=None):
        self._assert(code, words, FakeLibvirt(path or self.emulator, number))

    def test_here_and_there(self):
        shim.install(self.directory)
        self._ask(Code.SUCCESS, 'qemu-system-x86_64 starts')

    def test_the_emulators_are_those_of_libvirt(self):
        """There may be others here, by accident."""
        self._ask(Code.SUCCESS, 'libvirt has %s/qemu-kvm in another root' % (
            self.directory), path='/usr/libexec/qemu-kvm')

    def test_neither_here_nor_there(self):
        self._ask(Code.WARNING, 'libvirt finds no shim for %s in %s' % (
            self.path.name, self.directory), errno.ENOENT)

    def test_here_only(self):
        shim.install(self.directory)
        self._ask(Code.FAILURE, 'so it has another root file system',
                  errno.ENOENT)

    def test_refused(self):
        """Here or there, by AppArmor or SELinux."""
        for _where in range(2):
            self._ask(Code.FAILURE, 'libvirt cannot use %s: %s. See whether '
                      'AppArmor' % (self.path, LibvirtError(
                          'Permission denied', errno.EACCES)), errno.EACCES)
            shim.install(self.directory)

    def test_what_is_wrong_with_the_file_comes_first(self):
        shim.install(self.directory)
        (self.directory / shim.SHIM).chmod(0o644)
        self._ask(Code.FAILURE, 'cannot be read and run', errno.EACCES)
        (self.directory / shim.SHIM).chmod(0o757)
        self._ask(Code.FAILURE, 'writable by everyone')
