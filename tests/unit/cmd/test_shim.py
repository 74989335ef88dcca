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

"""The shim and its links, in real directories."""

import os
import pathlib
from unittest import mock

import fixtures
import testtools

from nova_memhotplug.cmd import shim

EMULATOR_DIRECTORIES = shim.EMULATOR_DIRECTORIES


class ShimTestCase(testtools.TestCase):
    """Directories of emulators and of the shim, which belong to who tests."""

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.root.chmod(0o755)
        self.bin, self.local = self.root / 'bin', self.root / 'local'
        for folder in (self.bin, self.local):
            folder.mkdir()
        self._patch(shim, 'EMULATOR_DIRECTORIES', (self.local, self.bin))
        self._patch(shim, 'OWNERS', (0, os.geteuid()))
        self.directory = self.root / 'shim'
        self.shim = self.directory / shim.SHIM

    def _patch(self, target, name, value):
        self.useFixture(fixtures.MockPatchObject(target, name, value))

    def _executable(self, path, mode=0o755):
        path.write_text('#!/bin/sh\n')
        path.chmod(mode)
        return path

    def _install(self, *names):
        return shim.install(self.directory, names)


class InstallTestCase(ShimTestCase):

    def _age(self, path, seconds):
        """Make a file's ctime look older than it is."""
        real = pathlib.Path.stat

        def stat(self, **kwargs):
            seen = real(self, **kwargs)
            if real(path).st_ino != seen.st_ino:
                return seen
            return mock.Mock(
                wraps=seen, st_ino=seen.st_ino, st_mode=seen.st_mode,
                st_uid=seen.st_uid, st_gid=seen.st_gid,
                st_ctime_ns=seen.st_ctime_ns - seconds * 10 ** 9,
                st_mtime_ns=seen.st_mtime_ns, st_atime_ns=seen.st_atime_ns)
        self._patch(pathlib.Path, 'stat', stat)

    def test_emulators(self):
        self._install()
        self._executable(self.bin / 'qemu-system-x86_64')
        self._executable(self.bin / 'qemu-kvm')
        self._executable(self.bin / 'qemu-img')
        self._executable(self.bin / 'qemu-system-old', 0o644)
        (self.bin / 'qemu-system-folder').mkdir()
        (self.bin / 'qemu-system-loop').symlink_to(self.shim)
        (self.bin / 'qemu-system-gone').symlink_to(self.bin / 'none')
        self.assertEqual({
            'qemu-kvm': self.bin / 'qemu-kvm',
            'qemu-system-x86_64': self.bin / 'qemu-system-x86_64',
        }, shim.emulators())

    def test_first_directory_wins(self):
        for folder in (self.bin, self.local):
            self._executable(folder / 'qemu-system-x86_64')
        self.assertEqual(self.local / 'qemu-system-x86_64',
                         shim.emulators()['qemu-system-x86_64'])

    def test_a_copy_and_relative_links(self):
        """They are right in any root file system."""
        self._executable(self.bin / 'qemu-system-x86_64')
        link = self.directory / 'qemu-system-x86_64'
        self.assertEqual(
            ['created %s' % self.directory, 'created %s' % self.shim,
             'created %s' % link], self._install())
        self.assertEqual(shim.SHIM, str(link.readlink()))
        self.assertFalse(self.shim.is_symlink())
        self.assertTrue(shim.is_current(link))
        self.assertEqual(['kept %s' % self.shim, 'kept %s' % link],
                         self._install())

    def test_modes_do_not_depend_on_umask(self):
        self.addCleanup(os.umask, os.umask(0o077))
        self._install()
        for path in (self.directory, self.shim):
            self.assertEqual(0o755, path.stat().st_mode & 0o7777)

    def test_an_older_shim_is_replaced_whole(self):
        self._install()
        before = self.shim.stat().st_ino
        self.shim.write_text('older')
        self.assertIn('replaced %s' % self.shim, self._install())
        self.assertTrue(shim.is_current(self.shim))
        self.assertNotEqual(before, self.shim.stat().st_ino)
        self.assertEqual([shim.SHIM], os.listdir(self.directory))

    def test_other_modes_are_not_kept(self):
        self._install()
        for mode in (0o777, 0o700, 0o4755):
            self.shim.chmod(mode)
            self.assertIn('replaced %s' % self.shim, self._install())
            self.assertEqual(0o755, self.shim.stat().st_mode & 0o7777)

    def test_links_of_earlier_releases_are_replaced(self):
        """They led into a Python environment."""
        self._executable(self.bin / 'qemu-system-x86_64')
        self.directory.mkdir()
        link = self.directory / 'qemu-system-x86_64'
        for path in (link, self.shim):
            path.symlink_to('/venv/libexec/' + shim.SHIM)
        self.assertEqual(
            ['created %s' % self.shim, 'replaced %s' % link],
            self._install())
        self.assertTrue(shim.is_current(link))
        self.assertFalse(self.shim.is_symlink())

    def test_leftovers_are_removed(self):
        self._install('qemu-system-arm')
        link = self.directory / 'qemu-system-arm'
        other = self.directory / 'other'
        other.symlink_to('/etc')
        self.assertIn('removed %s' % link, self._install())
        self.assertTrue(other.is_symlink())

    def test_named_emulators(self):
        """Where libvirt has another root file system, say."""
        self._executable(self.bin / 'qemu-system-arm')
        self._install('qemu-kvm', 'qemu-system-x86_64')
        self.assertEqual(
            {shim.SHIM, 'qemu-kvm', 'qemu-system-x86_64'},
            set(os.listdir(self.directory)))

    def test_names_with_a_directory_are_refused(self):
        for name in ('/etc/x', '../x', '..', '', shim.SHIM):
            error = self.assertRaises(shim.ShimError, self._install, name)
            self.assertIn('is not the name of an emulator', str(error))
        self.assertEqual([], os.listdir(self.directory))

    def test_emulators_elsewhere(self):
        self.directory.mkdir()
        elsewhere = self._executable(self.root / 'my-qemu')
        (self.directory / 'qemu-system-x86_64.real').symlink_to(elsewhere)
        self._install()
        self.assertTrue(
            (self.directory / 'qemu-system-x86_64').is_symlink())

    def test_files_are_not_replaced(self):
        self._executable(self.bin / 'qemu-system-x86_64')
        self.directory.mkdir()
        (self.directory / 'qemu-system-x86_64').write_text('mine')
        error = self.assertRaises(shim.ShimError, self._install)
        self.assertIn('is not a link', str(error))

    def test_unsafe_directories_are_refused(self):
        self.directory.mkdir()
        for mode in (0o777, 0o1777, 0o757):
            self.directory.chmod(mode)
            error = self.assertRaises(shim.ShimError, self._install)
            self.assertIn('writable by everyone', str(error))
        self.assertEqual([], os.listdir(self.directory))

    def test_an_older_shim_is_refreshed(self):
        self._executable(self.bin / 'qemu-system-x86_64')
        self._install()
        before = self.shim.stat()
        self._age(self.shim, 60)
        self.assertIn('refreshed %s: an emulator is newer' % self.shim,
                      self._install())
        after = os.stat(self.shim)
        self.assertGreater(after.st_ctime_ns, before.st_ctime_ns)
        self.assertEqual(before.st_mtime_ns, after.st_mtime_ns)

    def test_a_newer_shim_is_left_alone(self):
        emulator = self._executable(self.bin / 'qemu-system-x86_64')
        self._install()
        self._age(emulator, 60)
        self.assertFalse(shim.is_stale(self.shim, emulator))
        self.assertFalse(any('refreshed' in line for line in self._install()))

    def test_remove(self):
        self._install('qemu-kvm')
        self.assertEqual(
            ['removed %s' % (self.directory / 'qemu-kvm'),
             'removed %s' % self.shim, 'removed %s' % self.directory],
            shim.remove(self.directory))

    def test_remove_leaves_what_is_not_ours(self):
        self._install('qemu-kvm')
        mine = self.directory / 'qemu-kvm.real'
        mine.symlink_to('/opt/qemu-kvm')
        shim.remove(self.directory)
        self.assertEqual([mine.name], os.listdir(self.directory))

    def test_packaged(self):
        self.assertEqual(shim.SHIM, shim.PACKAGED.name)
        self.assertEqual(b'#!/bin/sh\n', shim.PACKAGED.read_bytes()[:10])

    def test_packaged_shim_looks_in_the_same_places(self):
        self.assertIn('for directory in %s; do' % ' '.join(
            map(str, EMULATOR_DIRECTORIES)), shim.PACKAGED.read_text())


class UnsafeTestCase(ShimTestCase):
    """Who can change the shim."""

    def setUp(self):
        super().setUp()
        self._install('qemu-kvm')
        self.link = self.directory / 'qemu-kvm'

    def _assert_unsafe(self, path, words):
        for seen in (self.link, self.shim):
            self.assertEqual('%s %s' % (path, words), shim.unsafe(seen))

    def _pretend(self, path, **values):
        """Let a file look as if it belonged to others."""
        real = pathlib.Path.stat
        seen = real(path)
        other = mock.Mock(wraps=seen, **{
            'st_mode': seen.st_mode, 'st_uid': seen.st_uid,
            'st_gid': seen.st_gid, **values})
        self._patch(pathlib.Path, 'stat', lambda self, **kwargs: (
            other if self == path else real(self, **kwargs)))

    def test_safe(self):
        self.assertIsNone(shim.unsafe(self.link))
        self.assertIsNone(shim.unsafe(self.directory))

    def test_the_file(self):
        self.shim.chmod(0o757)
        self._assert_unsafe(self.shim, 'is writable by everyone')

    def test_its_directory(self):
        """Also a sticky one: others can put QEMU.real into it."""
        for mode in (0o777, 0o1777):
            self.directory.chmod(mode)
            self._assert_unsafe(self.directory, 'is writable by everyone')

    def test_a_directory_above(self):
        self.root.chmod(0o777)
        self._assert_unsafe(self.root, 'is writable by everyone')
        self.root.chmod(0o1777)
        self.assertIsNone(shim.unsafe(self.link))

    def test_group(self):
        self._pretend(self.directory, st_mode=0o40775, st_gid=54321)
        self._assert_unsafe(self.directory, 'is writable by group 54321')

    def test_group_of_root(self):
        self._pretend(self.directory, st_mode=0o40775, st_gid=0)
        self.assertIsNone(shim.unsafe(self.link))

    def test_owners(self):
        """The user of nova-compute, for example."""
        for path in (self.root, self.directory, self.shim):
            self._pretend(path, st_uid=54321)
            self._assert_unsafe(path, 'belongs to user 54321')

    def test_the_end_of_a_link_and_the_way_to_it(self):
        elsewhere = self.root / 'elsewhere'
        elsewhere.mkdir()
        other = self._executable(elsewhere / 'other', 0o777)
        self.link.unlink()
        self.link.symlink_to(other)
        self.assertEqual('%s is writable by everyone' % other,
                         shim.unsafe(self.link))
        other.chmod(0o755)
        elsewhere.chmod(0o777)
        self.assertEqual('%s is writable by everyone' % elsewhere,
                         shim.unsafe(self.link))
