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

"""What is read of a kernel, from files as Linux writes them."""

import pathlib
from unittest import mock

import fixtures
import testtools

from nova_memhotplug.core import limits
from nova_memhotplug.virt import host_facts
from nova_memhotplug.virt import regions

STATUS = 'Name:\t%s\nCapInh:\t0\nCapEff:\t%016x\n'
LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max processes             1                    2                    processes
Max locked memory         65536                %s                   bytes
"""
ALL = (1 << 41) - 1


class ReadingTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        for module, name in ((host_facts, 'NODES'), (host_facts, 'PROC'),
                             (regions, 'VHOST'), (regions, 'KVM')):
            self.useFixture(fixtures.MockPatchObject(
                module, name, self.root / name))

    def write(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def process(self, pid, name, capabilities=ALL, limit='unlimited'):
        for file, text in (('comm', name + '\n'), ('limits', LIMITS % limit),
                           ('status', STATUS % (name, capabilities))):
            self.write('PROC/%d/%s' % (pid, file), text)

    def test_pages(self):
        for path, number in (
                ('node0/hugepages/hugepages-2048kB/nr_hugepages', 512),
                ('node0/hugepages/hugepages-2048kB/free_hugepages', 500),
                ('node11/hugepages/hugepages-1048576kB/nr_hugepages', 2)):
            self.write('NODES/' + path, '%d\n' % number)
        self.assertEqual({(2048, 0): (500, 512), (1048576, 11): (0, 2)},
                         host_facts.pages())

    def test_no_pages(self):
        self.assertEqual({}, host_facts.pages())

    def test_max_map_count(self):
        self.assertIsNone(host_facts.max_map_count())
        self.write('PROC/sys/vm/max_map_count', '65530\n')
        self.assertEqual(65530, host_facts.max_map_count())

    def test_memlock(self):
        self.process(1, 'init', 0, 1)
        self.assertEqual((None, None), host_facts.memlock())
        self.process(7, 'libvirtd', ALL & ~(1 << 24), 8 << 20)
        self.assertEqual((False, 8 << 20), host_facts.memlock())
        self.process(7, 'virtqemud', 1 << 24)
        self.assertEqual((True, None), host_facts.memlock())

    def test_daemon_that_has_just_ended(self):
        self.write('PROC/7/comm', 'libvirtd\n')
        self.assertEqual((None, None), host_facts.memlock())

    def test_file_of_another_root(self):
        path = pathlib.Path('/usr/bin/qemu-kvm')
        self.write('PROC/1/comm', 'init\n')
        self.write('PROC/1/root/usr/bin/qemu-kvm', '')
        self.assertIsNone(host_facts.seen_by_libvirt(path))
        self.write('PROC/7/comm', 'virtqemud\n')
        self.assertIsNone(host_facts.seen_by_libvirt(path))
        self.write('PROC/7/root/usr/bin/qemu-kvm', '')
        self.assertEqual(self.root / 'PROC/7/root/usr/bin/qemu-kvm',
                         host_facts.seen_by_libvirt(path))

    def test_regions(self):
        self.assertEqual(limits.Regions(64, 8, None), regions.read())
        for text, expected in (('509\n', 509), ('', 64), ('x', 64)):
            self.write('VHOST', text)
            self.assertEqual(expected, regions.read().vhost)

    def test_kvm(self):
        self.write('KVM', '')
        ask = self.useFixture(fixtures.MockPatchObject(
            regions.fcntl, 'ioctl', mock.Mock(return_value=509))).mock
        self.assertEqual(509, regions.read().kvm)
        # KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS
        self.assertEqual((0xAE03, 10), ask.call_args.args[1:])
        self.assertEqual(509, regions.read().kvm)
        self.assertEqual(1, ask.call_count)

    def test_no_kvm(self):
        """A file that is no device has no such call."""
        self.write('KVM', '')
        self.assertIsNone(regions.read().kvm)
