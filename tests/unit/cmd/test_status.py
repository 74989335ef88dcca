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

"""The command, run as an operator runs it."""

import contextlib
import io
import json
import os
import pathlib
from unittest import mock

import fixtures
import testtools

from nova_memhotplug.cmd import checks
from nova_memhotplug.cmd import shim
from nova_memhotplug.cmd import status
from nova_memhotplug.core import strategies
from nova_memhotplug.core import verdicts
from nova_memhotplug.virt import emulator

Code = checks.Code


class LibvirtError(Exception):
    pass


class StatusTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.root.chmod(0o755)
        self._patch(shim, 'EMULATOR_DIRECTORIES', (self.root / 'bin',))
        self._patch(shim, 'OWNERS', (0, os.geteuid()))
        self.libvirt = mock.Mock(
            libvirtError=LibvirtError, VIR_CONNECT_LIST_DOMAINS_ACTIVE=1,
            VIR_CONNECT_LIST_DOMAINS_INACTIVE=2, VIR_DOMAIN_XML_INACTIVE=2)
        self.libvirt.open.return_value.listAllDomains.return_value = []
        for module in (status, emulator):
            self._patch(module, 'libvirt', self.libvirt)

    def _patch(self, target, name, value):
        patch = mock.patch.object(target, name, value)
        patch.start()
        self.addCleanup(patch.stop)

    def _emulator(self):
        path = self.root / 'bin' / 'qemu-system-x86_64'
        path.parent.mkdir()
        path.write_text('#!/bin/sh\n')
        path.chmod(0o755)

    def _run(self, *argv):
        out, err = io.StringIO(), io.StringIO()
        with (contextlib.redirect_stdout(out),
              contextlib.redirect_stderr(err)):
            code = status.main(list(argv))
        return code, out.getvalue(), err.getvalue()

    def _configure(self, **options):
        """Write what of Nova's configuration matters."""
        config = self.root / 'nova.conf'
        config.write_text(
            '[libvirt]\nvirt_type = qemu\n%s\n'
            '[memhotplug]\nshim_directory = %s/shim\n' % (
                '\n'.join('%s = %s' % pair for pair in options.items()),
                self.root))
        return '--config-file', str(config)

    def _check(self, *codes):
        for name, code in zip(
                ('nova_version', 'module', 'entry_points',
                 'configured_driver'), codes):
            self._patch(checks, name, mock.Mock(
                return_value=checks.Result(code, 'details')))
        return self._run(*self._configure(), 'check')

    def test_check_exits_with_the_worst(self):
        self.libvirt.open.side_effect = LibvirtError('no socket')
        good, bad = Code.SUCCESS, Code.FAILURE
        self.assertEqual(0, self._check(good, good, good, good)[0])
        self.assertEqual(
            1, self._check(good, Code.WARNING, good, good)[0])
        code, out, err = self._check(good, Code.WARNING, bad, good)
        self.assertEqual(
            (2, 'libvirt is not asked: no socket\n'), (code, err))
        for line in ('| Check: Entry points', '| Result: Failure',
                     '| Check: Compute driver', '| Details: details'):
            self.assertIn(line, out)

    def _upgrade_check(self, *codes):
        start = mock.Mock()
        self._patch(status.upgrade, 'start', start)
        names = ('paste_line', 'policies', 'computes', 'flavors')
        for name, code in zip(names, codes):
            self._patch(status.upgrade, name, mock.Mock(
                return_value=checks.Result(code, 'of ' + name)))
        result = self._run(*self._configure(), 'upgrade', 'check', '--json',
                           '--api-paste', '/x')
        start.assert_called_once_with([str(self.root / 'nova.conf')])
        status.upgrade.paste_line.assert_called_once_with('/x')
        return result

    def test_upgrade_check(self):
        good, bad = Code.SUCCESS, Code.WARNING
        code, out, err = self._upgrade_check(good, bad, good, good)
        self.assertEqual((1, ''), (code, err))
        results = {one['check']: (one['result'], one['details'])
                   for one in json.loads(out)['checks']}
        self.assertEqual((1, 'of policies'), results['Policies'])
        self.assertEqual((0, 'of flavors'), results['Flavors'])
        self.assertEqual(['Nova', 'Module', 'Entry points', 'API paste line',
                          'Policies', 'Computes', 'Flavors'], list(results))

    def test_check_asks_the_file_system(self):
        self.libvirt.open.side_effect = LibvirtError('no socket')
        self._emulator()
        code, out, _err = self._check(*[Code.SUCCESS] * 4)
        self.assertEqual(1, code)
        self.assertIn('There is no shim for qemu-system-x86_64', out)

    def test_check_asks_libvirt(self):
        asked = mock.Mock(return_value=checks.Result(Code.WARNING, 'this'))
        self._patch(checks, 'shims', asked)
        code, out, err = self._check(*[Code.SUCCESS] * 4)
        asked.assert_called_once_with(
            self.root / 'shim', self.libvirt.open.return_value)
        self.assertEqual((1, ''), (code, err))
        self.assertIn('Details: this', out)

    def _probe(self, options=None, **usable):
        supports = {
            arch: strategies.ArchSupport(arch, '/q', names, {
                name: 'no such thing' for name in strategies.ORDER
                if name not in names})
            for arch, names in usable.items()}
        probe = mock.Mock(return_value=supports)
        self._patch(status.probe, 'probe', probe)
        result = self._run(*self._configure(**options or {}), 'probe')
        probe.assert_called_once_with(
            self.libvirt.open.return_value, 'qemu', '%s/shim' % self.root)
        return result

    def test_probe(self):
        code, out, _err = self._probe(
            x86_64=('shim', 'tiny', 'existing'), aarch64=('tiny',))
        self.assertEqual(0, code)
        self.libvirt.open.assert_called_with('qemu:///system')
        self.assertIn(
            '| x86_64       | native   | no    | no such thing |', out)
        self.assertIn('| aarch64      | tiny     | yes   |', out)

    def test_probe_connects_as_nova_does(self):
        uri = 'qemu+tcp://192.0.2.1/system'
        self._probe({'connection_uri': uri}, x86_64=('native',))
        self.libvirt.open.assert_called_with(uri)

    def test_probe_without_an_empty_cell(self):
        self.assertEqual(
            1, self._probe(x86_64=('tiny',), aarch64=('existing',))[0])

    def test_probe_without_anything(self):
        self.assertEqual(2, self._probe(x86_64=())[0])

    def test_probe_without_emulators(self):
        self.assertEqual(2, self._probe()[0])

    def test_probe_without_a_connection(self):
        self.libvirt.open.side_effect = LibvirtError('no socket')
        self.assertEqual((2, '', 'Failed: no socket\n'),
                         self._run(*self._configure(), 'probe'))

    def test_probe_without_libvirt_or_nova(self):
        for name in ('libvirt', 'nova_options'):
            self._patch(status, name, None)
            code, _out, err = self._run(*self._configure(), 'probe')
            self.assertEqual(2, code)
            self.assertIn('libvirt-python or Nova is not installed', err)

    def _host(self, *arguments, levels=(0, 0)):
        lines = [verdicts.Line('check %d' % number, verdicts.Level(level),
                               'found', 'do this' if level else '')
                 for number, level in enumerate(levels)]
        look = mock.Mock(return_value=iter(lines))
        self._patch(status.host, 'look', look)
        result = self._run(*self._configure(), 'host', *arguments)
        look.assert_called_once_with(self.libvirt.open.return_value)
        return result

    def test_host(self):
        code, out, _err = self._host()
        self.assertEqual(0, code)
        self.assertIn('| check 1 | Success | found |            |', out)

    def test_host_exits_with_the_worst(self):
        self.assertEqual(1, self._host(levels=(0, 1, 0))[0])
        code, out, _err = self._host(levels=(2, 1, 0))
        self.assertEqual(2, code)
        self.assertIn('| check 0 | Failure | found | do this    |', out)

    def test_host_for_programs(self):
        code, out, _err = self._host('--format', 'json', levels=(1,))
        self.assertEqual(1, code)
        self.assertEqual([{
            'check': 'check 0', 'level': 'warning', 'found': 'found',
            'todo': 'do this'}], json.loads(out))

    def test_host_without_a_connection(self):
        self.libvirt.open.side_effect = LibvirtError('no socket')
        self.assertEqual((2, '', 'Failed: no socket\n'),
                         self._run(*self._configure(), 'host'))

    def test_shim_path(self):
        code, out, _err = self._run('shim', 'path')
        self.assertEqual((0, '%s\n' % shim.PACKAGED), (code, out))

    def _shim(self, command, *more):
        return self._run('shim', command, '--directory',
                         str(self.root / 'shim'), *more)

    def test_shim_install_and_remove(self):
        self._emulator()
        path = self.root / 'shim' / 'qemu-system-x86_64'
        code, out, err = self._shim('install')
        self.assertEqual((0, ''), (code, err))
        self.assertIn('created %s\n' % path, out)
        code, out, _err = self._shim('remove')
        self.assertEqual(0, code)
        self.assertIn('removed %s\n' % path, out)
        self.assertFalse(path.parent.exists())

    def test_shim_remove_while_it_is_in_use(self):
        """Running, saved, or by what is defined and will be started."""
        self._emulator()
        self._shim('install')
        ours = '%s/shim/qemu-system-x86_64' % self.root
        guests = []
        for name, live, stored, saved in (
                ('a', ours, '/q', None), ('b', '/q', ours, None),
                ('c', None, '/q', ours), ('d', '/q', '/q', '/q')):
            xml = {flags: '<domain><devices><emulator>%s</emulator></devices>'
                   '</domain>' % path
                   for flags, path in ((0, live), (2, stored), (1, saved))}
            guest = mock.Mock(XMLDesc=xml.__getitem__)
            guest.name.return_value = name
            guest.isActive.return_value = live is not None
            guest.hasManagedSaveImage.return_value = saved is not None
            guest.managedSaveGetXMLDesc.return_value = xml[1]
            guests.append(guest)
        list_all = self.libvirt.open.return_value.listAllDomains
        list_all.return_value = guests
        code, _out, err = self._shim('remove')
        self.assertEqual(2, code)
        self.assertIn('without it: a, b, c\n', err)
        self.assertTrue((self.root / 'shim' / shim.SHIM).exists())
        list_all.return_value = guests[3:]
        self.assertEqual(0, self._shim('remove')[0])

    def test_shim_remove_without_one(self):
        code, _out, err = self._shim('remove')
        self.assertEqual(2, code)
        self.assertIn('No such file', err)

    def test_shim_install_without_emulators(self):
        code, _out, err = self._shim('install')
        self.assertEqual(1, code)
        self.assertIn('no QEMU on this host', err)

    def test_shim_install_for_emulators_of_another_root(self):
        code, out, _err = self._shim('install', 'qemu-kvm')
        self.assertEqual(0, code)
        self.assertIn('created %s/shim/qemu-kvm\n' % self.root, out)

    def test_shim_install_below_what_others_can_change(self):
        self._emulator()
        self.root.chmod(0o777)
        code, _out, err = self._shim('install')
        self.assertEqual(
            (1, 'Warning: %s is writable by everyone\n' % self.root),
            (code, err))

    def test_shim_install_refused(self):
        self.root.chmod(0o777)
        code, _out, err = self._run(
            'shim', 'install', '--directory', str(self.root))
        self.assertEqual(2, code)
        self.assertIn('writable by everyone', err)

    def test_configured_directory(self):
        self._emulator()
        config = self.root / 'nova.conf'
        directory = self.root / 'configured'
        config.write_text('[memhotplug]\nshim_directory = %s\n' % directory)
        code, _out, _err = self._run(
            '--config-file', str(config), 'shim', 'install')
        self.assertEqual(0, code)
        self.assertTrue((directory / 'qemu-system-x86_64').is_symlink())

    def test_configuration_that_cannot_be_read(self):
        code, _out, err = self._run(
            '--config-file', str(self.root / 'none'), 'shim', 'install')
        self.assertEqual(2, code)
        self.assertIn('none', err)

    def test_wrong_use(self):
        for argv in ([], ['nonsense'], ['shim']):
            error = self.assertRaises(SystemExit, self._run, *argv)
            self.assertEqual(2, error.code)


class TableTestCase(testtools.TestCase):

    def test_long_cells_are_wrapped(self):
        lines = str(status.table(
            ('A', 'B'), [('1', 'word ' * 30)])).splitlines()
        self.assertEqual({len(lines[0])}, set(map(len, lines)))
        self.assertGreater(len(lines), 5)
