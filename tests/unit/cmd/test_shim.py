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

"""The links to the shim, in real directories."""

import os
import pathlib
from unittest import mock

import fixtures
import testtools

from nova_memhotplug.cmd import shim

EMULATOR_DIRECTORIES = shim.EMULATOR_DIRECTORIES


class ShimLinkTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.bin, self.local = self.root / 'bin', self.root / 'local'
        for folder in (self.bin, self.local):
            folder.mkdir()
        patch = mock.patch.object(
            shim, 'EMULATOR_DIRECTORIES', (self.local, self.bin))
        patch.start()
        self.addCleanup(patch.stop)
        self.shim = self.root / shim.SHIM
        self._executable(self.shim)
        self.links = self.root / 'links'

    def _executable(self, path, mode=0o755):
        path.write_text('#!/bin/sh\n')
        path.chmod(mode)
        shim.refresh(self.shim)
        return path

    def _link(self):
        return shim.link(self.links, self.shim)

    def _age(self, path, seconds):
        """Make a file's ctime look older than it is."""
        real = pathlib.Path.stat

        def stat(self, **kwargs):
            seen = real(self, **kwargs)
            if real(path).st_ino != seen.st_ino:
                return seen
            return mock.Mock(
                wraps=seen, st_ino=seen.st_ino, st_mode=seen.st_mode,
                st_ctime_ns=seen.st_ctime_ns - seconds * 10 ** 9,
                st_mtime_ns=seen.st_mtime_ns, st_atime_ns=seen.st_atime_ns)
        patch = mock.patch.object(pathlib.Path, 'stat', stat)
        patch.start()
        self.addCleanup(patch.stop)

    def test_emulators(self):
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

    def test_links_are_made_and_kept(self):
        self._executable(self.bin / 'qemu-system-x86_64')
        link = self.links / 'qemu-system-x86_64'
        self.assertEqual(
            ['created %s' % self.links,
             'created %s -> %s' % (link, self.shim)], self._link())
        self.assertEqual(self.shim, link.readlink())
        self.assertEqual(0o755, self.links.stat().st_mode & 0o7777)
        self.assertEqual(['kept %s' % link], self._link())

    def test_mode_does_not_depend_on_umask(self):
        self.addCleanup(os.umask, os.umask(0o077))
        self._link()
        self.assertEqual(0o755, self.links.stat().st_mode & 0o7777)

    def test_other_links_are_replaced(self):
        self._executable(self.bin / 'qemu-system-x86_64')
        self.links.mkdir()
        link = self.links / 'qemu-system-x86_64'
        link.symlink_to('/old/' + shim.SHIM)
        self.assertEqual(['replaced %s -> %s' % (link, self.shim)],
                         self._link())
        self.assertEqual([link.name], os.listdir(self.links))

    def test_leftovers_are_removed(self):
        self.links.mkdir()
        link = self.links / 'qemu-system-arm'
        link.symlink_to(self.shim)
        other = self.links / 'other'
        other.symlink_to('/etc')
        self.assertEqual(['removed %s: no such emulator' % link],
                         self._link())
        self.assertTrue(other.is_symlink())

    def test_emulators_elsewhere(self):
        self.links.mkdir()
        elsewhere = self._executable(self.root / 'my-qemu')
        (self.links / 'qemu-system-x86_64.real').symlink_to(elsewhere)
        self._link()
        self.assertEqual(self.shim,
                         (self.links / 'qemu-system-x86_64').readlink())

    def test_files_are_not_replaced(self):
        self._executable(self.bin / 'qemu-system-x86_64')
        self.links.mkdir()
        (self.links / 'qemu-system-x86_64').write_text('mine')
        error = self.assertRaises(shim.ShimError, self._link)
        self.assertIn('is not a link', str(error))

    def test_unsafe_directories_are_refused(self):
        self._executable(self.bin / 'qemu-system-x86_64')
        self.links.mkdir()
        for mode in (0o777, 0o1777, 0o757):
            self.links.chmod(mode)
            error = self.assertRaises(shim.ShimError, self._link)
            self.assertIn('writable by everyone', str(error))
        self.assertEqual([], os.listdir(self.links))

    def test_directories_of_others_are_refused(self):
        seen = self.root.stat()
        for mode, uid, gid, words in (
                (0o775, os.geteuid(), 54321, 'writable by group 54321'),
                (0o755, 54321, 0, 'belongs to user 54321')):
            other = mock.Mock(wraps=seen, st_mode=mode, st_uid=uid,
                              st_gid=gid)
            with mock.patch.object(pathlib.Path, 'stat', return_value=other):
                self.assertIn(words, shim.writable_by_others(self.root))

    def test_an_older_shim_is_refreshed(self):
        self._executable(self.bin / 'qemu-system-x86_64')
        self._link()
        before = self.shim.stat()
        self._age(self.shim, 60)
        self.assertIn('refreshed %s: an emulator is newer' % self.shim,
                      self._link())
        after = os.stat(self.shim)
        self.assertGreater(after.st_ctime_ns, before.st_ctime_ns)
        self.assertEqual(before.st_mtime_ns, after.st_mtime_ns)

    def test_a_newer_shim_is_left_alone(self):
        emulator = self._executable(self.bin / 'qemu-system-x86_64')
        self._age(emulator, 60)
        self._link()
        self.assertFalse(shim.is_stale(self.shim, emulator))
        self.assertFalse(any('refreshed' in line for line in self._link()))

    def test_packaged(self):
        self.assertEqual(shim.SHIM, shim.packaged().name)
        self.assertTrue(os.access(shim.packaged(), os.X_OK))

    def test_packaged_shim_looks_in_the_same_places(self):
        self.assertIn("\ndirectories='%s'\n" % ' '.join(
            map(str, EMULATOR_DIRECTORIES)), shim.packaged().read_text())
