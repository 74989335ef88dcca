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
from importlib import metadata
import os
import pathlib
from unittest import mock

import fixtures
from oslo_config import cfg
import testtools

from nova_memhotplug.cmd import checks
from nova_memhotplug.cmd import shim
from nova_memhotplug.virt import emulator
from nova_memhotplug.virt import host_facts

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

    def test_module_is_found(self):
        self._patch(checks.importlib.util, 'find_spec',
                    return_value=mock.Mock(origin='/x/memhotplug.py'))
        result = checks.module()
        self.assertEqual((Code.SUCCESS, 'in /x/memhotplug.py'),
                         (result.code, result.details))

    def test_module_is_elsewhere(self):
        self._patch(checks.importlib.util, 'find_spec', return_value=None)
        self._patch(checks.importlib, 'import_module',
                    return_value=mock.Mock(__file__='/x/nova/__init__.py'))
        result = checks.module()
        self.assertEqual(Code.FAILURE, result.code)
        self.assertIn('Nova is in /x/nova and does not see', result.details)

    def test_nova_cannot_be_imported(self):
        self._patch(checks.importlib.util, 'find_spec',
                    side_effect=ModuleNotFoundError('no nova'))
        result = checks.module()
        self.assertEqual(Code.FAILURE, result.code)
        self.assertIn('no nova', result.details)

    def test_entry_points(self):
        result = checks.entry_points()
        self.assertEqual(Code.SUCCESS, result.code, result.details)
        self.assertEqual({'memhotplug', 'dimm'} - set(
            result.details.split(', ')), set())

    def test_no_entry_points(self):
        self._patch(checks.metadata, 'entry_points',
                    return_value=metadata.EntryPoints())
        result = checks.entry_points()
        self.assertEqual(Code.FAILURE, result.code)
        self.assertIn('No entry point memhotplug in nova.api.', result.details)

    def test_entry_points_that_cannot_be_loaded(self):
        """Those of others are not tried."""
        def entry_points(group):
            return metadata.EntryPoints([
                metadata.EntryPoint(name, 'no_such_module', group)
                for name in dict(checks.ENTRY_POINTS)[group] + ('other',)
            ] if group == broken else real(group=group))

        real = metadata.entry_points
        self._patch(checks.metadata, 'entry_points', new=entry_points)
        for broken, _names in checks.ENTRY_POINTS:
            result = checks.entry_points()
            self.assertEqual(Code.FAILURE, result.code)
            self.assertIn('no_such_module of %s cannot be loaded' % broken,
                          result.details)


class ConfiguredDriverTestCase(testtools.TestCase):
    """Files as distributions have them, read in the order of their units."""

    OURS, STOCK = checks.DRIVER_NAME, 'libvirt.LibvirtDriver'

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.debian = self.root / 'nova-compute.conf'
        self.useFixture(fixtures.MockPatchObject(
            checks, 'DEBIAN_CONFIG', self.debian))

    def _write(self, name, driver):
        path = self.root / name
        path.write_text(
            '[DEFAULT]\n%s' % (driver and 'compute_driver = %s\n' % driver))
        return str(path)

    def _check(self, code, words, *files):
        conf = cfg.ConfigOpts()
        conf.register_opt(cfg.StrOpt('compute_driver'))
        conf([], default_config_files=files, default_config_dirs=[])
        result = checks.configured_driver(conf)
        self.assertEqual(code, result.code, result.details)
        self.assertIn(words, result.details)

    def test_one_file(self):
        self._check(Code.SUCCESS, self.OURS,
                    self._write('nova.conf', self.OURS))
        self._check(Code.FAILURE, 'compute_driver is None, so nova-compute '
                    'does not start', self._write('nova.conf', ''))

    def test_the_file_of_debian_is_forgotten(self):
        """Nova has it as a conffile, with the stock driver in it."""
        config = self._write('nova.conf', self.OURS)
        self._write('nova-compute.conf', self.STOCK)
        self._check(Code.WARNING, '%s names %s. Where' % (
            self.debian, self.STOCK), config)
        self._write('nova-compute.conf', '')
        self._check(Code.SUCCESS, self.OURS, config)

    def test_as_debian_starts_it(self):
        files = (self._write('nova.conf', self.OURS),
                 self._write('nova-compute.conf', self.STOCK))
        self._check(Code.FAILURE, 'compute_driver is %s' % self.STOCK, *files)
        self._write('nova-compute.conf', self.OURS)
        self._check(Code.SUCCESS, self.OURS, *files)


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
        self.useFixture(fixtures.MockPatchObject(
            host_facts, 'PROC', self.root / 'proc'))

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

    def _daemon(self):
        """Have libvirt run in a root file system of its own, as in kolla."""
        process = self.root / 'proc' / '7'
        seen = process / 'root' / self.emulator.relative_to('/')
        seen.parent.mkdir(parents=True)
        seen.write_text('#!/bin/sh\n')
        (process / 'comm').write_text('libvirtd\n')
        return seen

    def test_whether_it_is_stale_is_told_by_the_emulator_of_libvirt(self):
        """There may be another here, of the same name."""
        shim.install(self.directory)
        is_stale = self.useFixture(fixtures.MockPatchObject(
            shim, 'is_stale', return_value=True)).mock
        self._ask(Code.SUCCESS, 'qemu-system-x86_64 starts')
        is_stale.assert_not_called()
        seen = self._daemon()
        self._ask(Code.WARNING, '%s is newer than the shim' % self.emulator)
        is_stale.assert_called_once_with(self.path, seen)

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
