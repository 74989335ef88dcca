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
"""Taking devices back, in front of a guest that does as it likes."""

from unittest import mock

import fixtures
import testtools

from nova_memhotplug.core import errors
from nova_memhotplug.virt import guest

DEVICE = """
<memory model='dimm'>
  <target><size>131072</size><node>1</node></target><alias name='%s'/>
</memory>"""
DOMAIN = """
<domain><os><type arch='x86_64'>hvm</type></os><memory>524288</memory>
<cpu><numa><cell id='0' cpus='0' memory='524288'/></numa></cpu>
<devices>%s</devices></domain>"""
FIRST, SECOND, THIRD = ['ua-memhotplug-%d' % number for number in range(3)]


class LibvirtError(Exception):

    def get_error_domain(self):
        return 10


class TakeBackTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        libvirt = mock.Mock(libvirtError=LibvirtError)
        self.live_flag = libvirt.VIR_DOMAIN_AFFECT_LIVE
        self.useFixture(fixtures.MockPatchObject(guest, 'libvirt', libvirt))
        self.useFixture(fixtures.MockPatchObject(guest, 'DETACH_TIMEOUT', 0))
        self.live = [FIRST, SECOND, THIRD]
        self.stored = list(self.live)
        #: What a guest does with a device instead of letting go of it.
        self.instead = {}
        handle = mock.Mock()
        handle.get_xml_desc.side_effect = self.dump
        handle._domain.detachDeviceAlias.side_effect = self.detach
        self.guest = guest.LiveGuest(mock.Mock(), handle)

    def dump(self, dump_inactive=False):
        return DOMAIN % ''.join(
            DEVICE % alias
            for alias in (self.stored if dump_inactive else self.live))

    def detach(self, alias, flags):
        if flags is self.live_flag:
            self.instead.get(alias, self.live.remove)(alias)
        else:
            self.stored.remove(alias)

    def gone(self, alias):
        self.live.remove(alias)
        raise LibvirtError('no device found with alias %s' % alias)

    def rejected(self, alias):
        raise LibvirtError('unplug of device was rejected by the guest')

    def test_taken(self):
        self.guest.take_back({FIRST, THIRD})
        self.assertEqual([[SECOND]] * 2, [self.live, self.stored])

    def test_gone_by_itself(self):
        """That is what was wanted, and the others are asked for, too."""
        self.instead[FIRST] = self.gone
        self.guest.take_back({FIRST, SECOND})
        self.assertEqual([[THIRD]] * 2, [self.live, self.stored])

    def test_kept(self):
        self.instead[FIRST] = self.rejected
        exc = self.assertRaises(
            errors.HypervisorRefused, self.guest.take_back, {FIRST, SECOND})
        self.assertEqual([[FIRST, THIRD]] * 2, [self.live, self.stored])
        self.assertIn(FIRST, str(exc))
        self.assertNotIn(SECOND, str(exc))
