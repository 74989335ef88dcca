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

"""The emulator shim, run for real in front of a fake emulator."""

import os
import re
import shutil
import subprocess

import testtools

from tests.unit.shim import runner

RAM = '{"qom-type":"memory-backend-ram","id":"ram-node1","size":0}'
NODE = ['-numa', 'node,nodeid=1']
WITH_MEMDEV = ['-numa', 'node,nodeid=1,memdev=ram-node1']
EMPTY = ['-object', RAM, *WITH_MEMDEV]

# What libvirt 11.3 and 9.0 write for a cell of 1 GiB and an empty one.
LIBVIRT = [
    '-name', 'guest=g,debug-threads=on', '-S',
    '-machine', 'pc-q35-10.0,usb=off,dump-guest-core=off,acpi=on',
    '-m', 'size=1048576k,slots=8,maxmem=4194304k',
    '-object', '{"qom-type":"memory-backend-ram","id":"ram-node0",'
               '"size":1073741824}',
    '-numa', 'node,nodeid=0,cpus=0-1,memdev=ram-node0',
    '-object', RAM, *WITH_MEMDEV, '-msg', 'timestamp=on']
LIBVIRT_AFTER = LIBVIRT[:11] + NODE + LIBVIRT[15:]

# Name of the case -> the -object argument that is dropped.
DROPPED = {
    'memfd': RAM.replace('-ram"', '-memfd"', 1),
    'file': RAM.replace('-ram"', '-file"', 1),
    'size before the id': '{"qom-type":"memory-backend-ram","size":0,'
                          '"id":"ram-node1"}',
    'binding': RAM[:-1] + ',"host-nodes":[0,1],"policy":"bind"}',
    'prealloc': RAM[:-1] + ',"prealloc":true,"prealloc-context":"tc"}',
    'escaped quotes': RAM[:-1] + ',"mem-path":"/a\\",\\"size\\":1,\\"/"}',
    'escaped backslash': RAM[:-1] + ',"mem-path":"/a\\\\"}',
}

# Name of the case -> the -object argument that stays.
KEPT = {
    'has a size': RAM.replace(':0}', ':2097152}'),
    'no memory': RAM.replace('memory-backend-ram', 'rng-random'),
    'no id': '{"qom-type":"memory-backend-ram","size":0}',
    'no size': '{"qom-type":"memory-backend-ram","id":"ram-node1"}',
    'size is text': RAM.replace(':0}', ':"0"}'),
    'size is real': RAM.replace(':0}', ':0.0}'),
    'size below': '{"qom-type":"memory-backend-ram","id":"ram-node1",'
                  '"x":{"y":1,"size":0}}',
    'size in a list': '{"qom-type":"memory-backend-ram","id":"ram-node1",'
                      '"x":["size",0]}',
    'size in a string': '{"qom-type":"memory-backend-ram",'
                        '"id":"ram-node1","x":",\\"size\\":0"}',
    'size at the end of a name': '{"qom-type":"memory-backend-ram",'
                                 '"id":"ram-node1","x,\\"size":0}',
    'an id that QEMU refuses': RAM.replace('ram-node1', 'ram node1'),
    'escapes': RAM.replace('ram-node1', 'ram\\u002dnode1'),
    'blanks': RAM.replace(',', ', '),
    'another order': '{"size":0,"id":"ram-node1",'
                     '"qom-type":"memory-backend-ram"}',
    'options': 'memory-backend-ram,id=ram-node1,size=0',
    'list': '[' + RAM + ']',
    'nothing': '',
    'brace': '{',
}

# Name of the case -> -numa argument before and after.
NUMA = {
    'processors': ('node,nodeid=1,cpus=2-3,cpus=6,memdev=ram-node1',
                   'node,nodeid=1,cpus=2-3,cpus=6'),
    'initiator': ('node,nodeid=1,initiator=0,memdev=ram-node1',
                  'node,nodeid=1,initiator=0'),
    'middle': ('node,memdev=ram-node1,nodeid=1',) * 2,
    'other backend': ('node,nodeid=0,memdev=ram-node0',) * 2,
    'longer id': ('node,nodeid=1,memdev=ram-node11',) * 2,
    'shorter id': ('node,nodeid=1,memdev=ram-node',) * 2,
    'two ids': ('node,nodeid=1,memdev=ram-node1 m',) * 2,
    'distance': ('dist,src=0,dst=1,val=20',) * 2,
    'heterogeneous': ('hmat-lb,initiator=0,target=1,hierarchy=memory,'
                      'data-type=access-latency,latency=5',) * 2,
    'no node': ('dist,nodeid=1,memdev=ram-node1',) * 2,
    'other name': ('node,nodeid=1,xmemdev=ram-node1',) * 2,
    'twice': ('node,memdev=ram-node0,nodeid=1,memdev=ram-node1',) * 2,
    'doubled comma': ('node,nodeid=1,,memdev=ram-node1',) * 2,
}

# Command lines that pass as they are, whatever they hold.
UNTOUCHED = [
    [], [''], ['', ''], ['-version'], ['-M', 'help'], ['a b', '*', '?', '~'],
    ['\n', 'x\n', 'x\n\n', '\t '], ['"', "'", '\\', '\\n', '$HOME', '`id`'],
    ['$(id)', '${1}', '%s', '%', '--', '-'],
    ['\x01\x7f\x80\x81\x82\x83\x84\x85\x86\x87\x88\xff'],
    ['\udc80\udc81\udc82\udc88\udcff'],
    ['-name', RAM, *WITH_MEMDEV], ['-append', '-object', RAM],
    ['-device', RAM], [RAM], ['-object'], ['-numa'], ['-numa', RAM],
    ['---object', RAM], ['-objects', RAM], ['-object=' + RAM],
    ['-S', '-no-user-config', '-nodefaults', '-nographic',
     '-machine', 'none,accel=kvm:tcg',
     '-qmp', 'unix:/var/lib/libvirt/qemu/capabilities.monitor.sock,'
             'server=on,wait=off',
     '-pidfile', '/var/lib/libvirt/qemu/capabilities.pidfile', '-daemonize'],
]

# Surroundings that have to come through the script with the dropping, too.
SURROUNDINGS = [words for words in UNTOUCHED
                if not {'-object', '-numa', '-append', '-name'} & set(words)]


class ShimTestCase(testtools.TestCase):
    """What becomes of the arguments, in every shell of this machine."""

    def setUp(self):
        super().setUp()
        self.shim = self.useFixture(runner.ShimFixture())

    def _assert_becomes(self, expected, arguments, name=None):
        for shell in runner.shells():
            self.assertEqual(expected, self.shim.run(arguments, shell=shell),
                             '%s in %s' % (name, shell))

    def test_libvirt(self):
        self._assert_becomes(LIBVIRT_AFTER, LIBVIRT)

    def test_dropped(self):
        for name, text in DROPPED.items():
            self._assert_becomes(
                NODE, ['-object', text, *WITH_MEMDEV], name)

    def test_kept(self):
        for name, text in KEPT.items():
            arguments = ['-object', text, *WITH_MEMDEV]
            self._assert_becomes(arguments, arguments, name)

    def test_numa(self):
        for name, (before, after) in NUMA.items():
            self._assert_becomes(
                [*NODE, '-numa', after],
                ['-object', RAM, *WITH_MEMDEV, '-numa', before], name)

    def test_untouched(self):
        for arguments in UNTOUCHED:
            self._assert_becomes(arguments, arguments)

    def test_untouched_around(self):
        for words in SURROUNDINGS:
            self._assert_becomes([*words, *NODE, *words[::-1]],
                                 [*words, '-object', RAM, *WITH_MEMDEV,
                                  *words[::-1]])

    def test_a_backend_that_no_node_names_is_left_to_qemu(self):
        for words in ([], ['-machine', 'q35,memory-backend=ram-node1'],
                      ['-device', 'pc-dimm,memdev=ram-node1'],
                      ['-numa', 'node,nodeid=1,memdev=ram-node2']):
            arguments = ['-object', RAM, *words]
            self._assert_becomes(arguments, arguments)

    def test_numa_first(self):
        self._assert_becomes(NODE, [*WITH_MEMDEV, '-object', RAM])

    def test_several(self):
        second = [word.replace('1', '2') for word in WITH_MEMDEV]
        self._assert_becomes(
            [*NODE, '-numa', 'node,nodeid=2'],
            ['-object', RAM, *WITH_MEMDEV,
             '-object', RAM.replace('1', '2'), *second])

    def test_more_than_nine_and_many(self):
        many = ['argument %d' % number for number in range(1200)]
        self._assert_becomes([*many, *NODE, *many], [
            *many, '-object', RAM, *WITH_MEMDEV, *many])

    def test_long_arguments(self):
        long = 'x' * 100000
        quotes = RAM[:-1] + ',"x":"%s"}' % ('\\"' * 20000)
        self._assert_becomes(
            [long, *NODE], [long, '-object', quotes, *WITH_MEMDEV])


class ShimProcessTestCase(testtools.TestCase):
    """What else the emulator inherits."""

    def setUp(self):
        super().setUp()
        self.shim = self.useFixture(runner.ShimFixture())

    def test_same_process(self):
        with subprocess.Popen([self.shim.link, *EMPTY],
                              stdout=subprocess.PIPE) as process:
            pid = process.stdout.read().split(b'\0')[0]
        self.assertEqual(process.pid, int(pid))

    def test_exit_status(self):
        self.shim.emulator.write_text('#!/bin/sh\nexit 42\n')
        self.assertEqual(42, self.shim.start(EMPTY).returncode)
        self.assertEqual(42, self.shim.start([]).returncode)

    def test_standard_input(self):
        self.shim.emulator.write_text('#!/bin/sh\nexec cat\n')
        for arguments in ([], EMPTY):
            done = self.shim.start(arguments, input=b'text\n')
            self.assertEqual(b'text\n', done.stdout)

    def test_file_descriptors(self):
        """libvirt hands sockets over by number, -chardev socket,fd=23."""
        self.shim.emulator.write_text(
            '#!/bin/sh\nfor fd in 3 9 10 11 23; do\n'
            '[ -p /dev/fd/$fd ] && printf "$fd "\ndone\n')
        pipe = os.pipe()
        numbers = (3, 9, 10, 11, 23)
        for fd in pipe:
            self.addCleanup(os.close, fd)

        def place():
            held = os.dup2(pipe[0], 200)
            for number in numbers:
                os.dup2(held, number)
        done = self.shim.start(EMPTY, preexec_fn=place,
                               close_fds=False)
        self.assertEqual(b'3 9 10 11 23 ', done.stdout)

    def test_environment(self):
        """Only what every shell adds is added."""
        self.shim.emulator.write_text('#!/bin/sh\nexec env -0\n')
        done = self.shim.start(
            EMPTY, env={
                'PATH': os.environ['PATH'], 'LC_ALL': 'C', 'IFS': 'o',
                'emulator': '/bin/false', 'empty': ' x ', 'plan': 'id',
                'odd': 'a\n"$'})
        lines = dict(line.split(b'=', 1)
                     for line in done.stdout.split(b'\0')[:-1])
        self.assertEqual(b'a\n"$', lines[b'odd'])
        self.assertEqual(b'C', lines[b'LC_ALL'])
        self.assertEqual(set(), set(lines) - {
            b'PATH', b'LC_ALL', b'IFS', b'emulator', b'empty', b'plan',
            b'odd', b'PWD', b'OLDPWD', b'SHLVL', b'_'})


class ShimEmulatorTestCase(testtools.TestCase):
    """Which emulator is started."""

    def setUp(self):
        super().setUp()
        self.shim = self.useFixture(runner.ShimFixture())

    def _rename(self, name):
        link = self.shim.link.with_name(name)
        self.shim.link.rename(link)
        self.shim.link = link

    def _assert_refuses(self, message):
        done = self.shim.start(['-version'])
        self.assertEqual(127, done.returncode)
        self.assertEqual(b'', done.stdout)
        self.assertIn(message, done.stderr.decode())
        self.assertEqual(1, done.stderr.count(b'\n'))

    def test_the_one_beside_the_link(self):
        self.assertEqual(
            str(self.shim.real),
            self.shim.start([]).stdout.split(b'\0')[1].decode())

    def test_none(self):
        self._rename('qemu-system-none')
        self._assert_refuses('no qemu-system-none in /usr/local/bin, /usr/bin')

    def test_not_executable(self):
        self._rename('qemu-system-none')
        real = self.shim.link.with_name('qemu-system-none.real')
        shutil.copyfile(self.shim.emulator, real)
        real.chmod(0o644)
        self._assert_refuses('no qemu-system-none in')

    def test_folder(self):
        self._rename('qemu-system-none')
        self.shim.link.with_name('qemu-system-none.real').mkdir()
        self._assert_refuses('no qemu-system-none in')

    def test_itself(self):
        self._rename('qemu-system-none')
        self.shim.link.with_name('qemu-system-none.real').symlink_to(
            self.shim.link)
        self._assert_refuses('no qemu-system-none in')

    def test_not_by_a_link(self):
        self.shim.link = runner.SHIM
        self._assert_refuses('no qemu-memhotplug-shim in /usr/local/bin')

    def test_the_environment_has_no_say(self):
        """A PATH or variable of the caller finds no other emulator."""
        other = self.shim.emulator.with_name('qemu-system-none')
        shutil.copyfile(self.shim.emulator, other)
        other.chmod(0o755)
        folder = self.shim.link.with_name('folder')
        folder.mkdir()
        self.shim.link = folder / 'qemu-system-none'
        self.shim.link.symlink_to(runner.SHIM)
        path = '%s:%s' % (other.parent, os.environ['PATH'])
        done = self.shim.start([], env={
            'PATH': path, 'emulator': str(other)})
        self.assertEqual(127, done.returncode)


class ShimDirectoriesTestCase(testtools.TestCase):
    """The search in the fixed directories, with others in their place.

    Only root can write to the real ones, so that a copy of the script is run
    that differs in the one line that names them.
    """

    def setUp(self):
        super().setUp()
        self.shim = self.useFixture(runner.ShimFixture())
        self.shim.real.unlink()
        self.folders = [self.shim.link.with_name(name) for name in 'abc']
        text = runner.SHIM.read_text()
        line = 'for directory in /usr/local/bin /usr/bin /usr/libexec;'
        self.assertIn(line, text)
        self.script = self.shim.link.with_name('script')
        self.script.write_text(text.replace(line, 'for directory in %s;' % (
            ' '.join(map(str, self.folders)))))
        self.script.chmod(0o755)
        self.shim.link.unlink()
        self.shim.link.symlink_to(self.script)
        for folder in self.folders:
            folder.mkdir()

    def _emulator(self, folder):
        path = self.folders[folder] / runner.NAME
        path.symlink_to(self.shim.emulator)
        return path

    def _started(self):
        done = self.shim.start(['-version'])
        return done.returncode or done.stdout.split(b'\0')[1].decode()

    def test_first_one(self):
        self._emulator(2)
        middle = self._emulator(1)
        self.assertEqual(str(middle), self._started())

    def test_a_link_to_itself_is_passed_over(self):
        for folder in (0, 1):
            (self.folders[folder] / runner.NAME).symlink_to(self.shim.link)
        self.assertEqual(str(self._emulator(2)), self._started())

    def test_copies_hand_over_to_later_folders_only(self):
        for folder in (0, 1):
            shutil.copy(self.script, self.folders[folder] / runner.NAME)
        self.assertEqual(str(self._emulator(2)), self._started())

    def test_copies_do_not_go_round(self):
        for folder in self.folders:
            shutil.copy(self.script, folder / runner.NAME)
        self.assertEqual(127, self._started())

    def test_beside_the_link_comes_first(self):
        self._emulator(0)
        self.shim.real.symlink_to(self.shim.emulator)
        self.assertEqual(str(self.shim.real), self._started())


class ShimScriptTestCase(testtools.TestCase):
    """The script as a file."""

    def test_executable(self):
        self.assertTrue(os.access(runner.SHIM, os.X_OK))
        self.assertEqual(0, runner.SHIM.stat().st_mode & 0o022)

    def test_starts_no_process(self):
        code = re.sub(r'(?m)^\s*#.*$', '', runner.SHIM.read_text())
        self.assertEqual([], re.findall(r'`|\$\((?!\()|<<|&\n', code))

    def test_every_shell_parses_it(self):
        for shell in runner.shells():
            subprocess.run([shell, '-n', runner.SHIM], check=True)
