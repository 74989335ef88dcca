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

from nova_memhotplug.core import accounting


@ddt.ddt
class AllocationTest(testtools.TestCase):

    @ddt.data(
        # total MiB, override, allocation MiB
        (1024, None, 1024),
        (1024, '4096', 4096),
        (4096, '4096', 4096),
        (5120, '4096', 5120),
        (1024, '0', 0),
        (1024, 'much', 1024))
    @ddt.unpack
    def test_allocation(self, total_mb, override, expected):
        extra_specs = {'hw:cpu_policy': 'shared'}
        if override is not None:
            extra_specs[accounting.OVERRIDE] = override
        self.assertEqual(
            expected, accounting.allocation_mb(total_mb, extra_specs))

    @ddt.data(
        # total, reserved, allocation ratio, used, free MiB
        (16384, 512, 1.0, 1024, 14848),
        (16384, 512, 1.5, 1024, 22784),
        (1001, 0, 1.5, 0, 1501),
        (16384, 512, 1.0, 15872, 0),
        # The operator has lowered the ratio.
        (16384, 512, 0.5, 15872, 0))
    @ddt.unpack
    def test_free(self, total_mb, reserved_mb, ratio, used_mb, expected):
        self.assertEqual(expected, accounting.free_mb(
            total_mb, reserved_mb, ratio, used_mb))
