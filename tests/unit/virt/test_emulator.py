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

"""What libvirt says of the shim, and what is made of it."""

import errno
from unittest import mock

import fixtures
import testtools

from nova_memhotplug.core import strategies
from nova_memhotplug.virt import emulator

PATH = '/usr/libexec/nova-memhotplug/qemu-system-x86_64'


class LibvirtError(Exception):

    def get_error_code(self):
        return self.args[1]

    def get_int1(self):
        return self.args[2]


class FakeLibvirt:
    """Also the connection: it knows what it says of the shim."""

    VIR_ERR_SYSTEM_ERROR = 38
    libvirtError = LibvirtError

    def __init__(self, error=None):
        self.error = error
        self.asked = []

    def getDomainCapabilities(self, *args):
        self.asked.append(args)
        if self.error:
            raise LibvirtError(*self.error)
        return '<domainCapabilities/>'


# What libvirt says where there is no such file, in German.
ABSENT = ('QEMU-Binary kann nicht überprüft werden', 38, errno.ENOENT)
# There is one: it is not executable, or AppArmor forbids to start it.
CLOSED = ('QEMU binary %s is not executable' % PATH, 38, errno.EACCES)
FORBIDDEN = ('Failed to start QEMU binary %s for probing' % PATH, 1, -1)


class UsersTestCase(testtools.TestCase):
    """The other states are in test_status and, in functional, test_audit."""

    def test_gone_meanwhile(self):
        library = self.useFixture(fixtures.MockPatchObject(
            emulator, 'libvirt', mock.Mock(
                libvirtError=LibvirtError, VIR_ERR_NO_DOMAIN=42,
                VIR_CONNECT_LIST_DOMAINS_ACTIVE=1,
                VIR_CONNECT_LIST_DOMAINS_INACTIVE=2))).mock
        guest, connection = mock.Mock(), mock.Mock()
        connection.listAllDomains.return_value = [guest]
        guest.XMLDesc.side_effect = LibvirtError('gone', 42)
        self.assertEqual({'running': [], 'stored': [], 'saved': []},
                         emulator.users(connection, '/shim'))
        library.VIR_ERR_NO_DOMAIN = 1
        self.assertRaises(LibvirtError, emulator.users, connection, '/shim')


class EmulatorTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MockPatchObject(
            emulator, 'libvirt', FakeLibvirt))
        self.log = self.useFixture(fixtures.FakeLogger())

    def test_refusal(self):
        for error, expected in ((None, None), (ABSENT, ''),
                                (CLOSED, CLOSED), (FORBIDDEN, FORBIDDEN)):
            connection = FakeLibvirt(error)
            found = emulator.refusal(connection, PATH, 'x86_64')
            if expected in (CLOSED, FORBIDDEN):
                self.assertIn(expected[0], found)
            else:
                self.assertEqual(expected, found)
            self.assertEqual([(PATH, 'x86_64', None, None, 0)],
                             connection.asked)

    def _look(self, error, usable=('tiny', 'existing'), configured='auto'):
        self.connection = FakeLibvirt(error)
        support = strategies.ArchSupport(
            'x86_64', '/usr/bin/qemu-system-x86_64', usable,
            {'shim': 'Permission denied'})
        return emulator.look(
            self.connection, support, configured,
            '/usr/libexec/nova-memhotplug')

    def test_absent(self):
        self.assertFalse(self._look(ABSENT).has_shim)
        self.assertEqual('', self.log.output)

    def test_there_but_refused(self):
        """Guests may be what AppArmor or SELinux forbids to start it."""
        for error in (None, CLOSED, FORBIDDEN):
            self.assertTrue(self._look(error).has_shim)
        lines = self.log.output.splitlines()
        self.assertEqual(3, len(lines))
        for words in (PATH, 'no x86_64 guest starts', 'Permission denied',
                      'nova-memhotplug-status check', 'AppArmor or SELinux'):
            self.assertIn(words, lines[0])

    def test_not_needed(self):
        """Nothing is asked where an empty cell can be started."""
        for strategy in ('native', 'shim'):
            self._look(FORBIDDEN, (strategy, 'tiny', 'existing'))
            self.assertEqual([], self.connection.asked)
        self.assertEqual('', self.log.output)

    def test_not_wanted(self):
        for configured in ('native', 'tiny', 'existing'):
            self._look(FORBIDDEN, configured=configured)
        self.assertEqual('', self.log.output)
