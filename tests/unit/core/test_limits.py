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

import ddt
import testtools

from nova_memhotplug.core import errors
from nova_memhotplug.core import limits

KVM, VHOST, VHOST_USER = limits.KVM, limits.VHOST, limits.VHOST_USER
DEFAULT = limits.Regions()


@ddt.ddt
class DevicesTest(testtools.TestCase):

    @ddt.data(
        # regions, server, NUMA nodes with boot memory, devices
        (DEFAULT, VHOST, 1, 61),
        (DEFAULT, VHOST, 4, 58),
        (limits.Regions(vhost=509), VHOST, 1, 506),
        # What QEMU 10.0 took at the least with a backend of 8 regions.
        (DEFAULT, VHOST_USER, 1, 5),
        (DEFAULT, VHOST_USER, 2, 4),
        (DEFAULT, VHOST_USER, 9, 0),
        # A guest without NUMA nodes has its memory in one piece.
        (DEFAULT, VHOST_USER, 0, 5),
        (DEFAULT, KVM, 1, None),
        (limits.Regions(kvm=509), KVM, 1, 474))
    @ddt.unpack
    def test_of_a_server(self, regions, server, cells, expected):
        self.assertEqual(expected, regions.devices(server, cells))

    @ddt.data(
        # servers, wanted, most
        ((), 255, None),
        ((KVM,), 255, None),
        ((KVM, VHOST), 61, None),
        ((KVM, VHOST), 62, 61),
        ((VHOST, VHOST_USER), 8, 5))
    @ddt.unpack
    def test_most(self, servers, wanted, expected):
        self.assertEqual(expected, limits.most_devices(
            DEFAULT, servers, cells=1, wanted=wanted))

    @ddt.data((None, 200, [True] * 50), (3, 2, [True]), (3, 3, [False]),
              (3, 4, []))
    @ddt.unpack
    def test_allowed(self, most, present, are_new):
        limits.check_devices(most, present, are_new)

    def test_refused(self):
        error = self.assertRaises(
            errors.NoFreeRegion, limits.check_devices, 3, 2,
            [True, False, True])
        self.assertEqual('no_free_region', error.code)
        self.assertIn('can have 3 memory devices', str(error))
        self.assertIn('it has 2, and 2 more', str(error))
