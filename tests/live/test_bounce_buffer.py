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

"""What Linux on x86_64 keeps for itself once memory may be added."""

from tests.live import base
from tests.live import cloud

MIB_KB = 1024
#: Linux, include/linux/swiotlb.h: IO_TLB_DEFAULT_SIZE.
BUFFER_MB = 64
#: Servers that differ in their flavor alone differ by less.
NOISE_MB = 4


class BounceBufferTest(base.LiveTest):

    def total_mb(self, **more):
        """Boot a server, and say what its guest can use."""
        server = self.boot(**more)
        return server, server.guest()['total_kb'] // MIB_KB

    def test_option_of_the_kernel_avoids_it(self):
        image = 'live-no-bounce-buffer'
        self.addCleanup(cloud.delete_image, image)
        cloud.copy_image('x86_64', image, 'swiotlb=noforce')
        _server, plain_mb = self.total_mb(flavor='fixed')
        _server, elastic_mb = self.total_mb()
        server, without_mb = self.total_mb(image=image)
        self.assertAlmostEqual(
            BUFFER_MB, plain_mb - elastic_mb, delta=NOISE_MB)
        self.assertAlmostEqual(plain_mb, without_mb, delta=NOISE_MB)
        self.assertEqual(BUFFER_MB, server.memory()['bounce_buffer_mb'])
        before = server.guest()
        self.grow(server, 640)
        after = server.wait_guest(
            'more memory', lambda report: report['nodes'].get(1))
        self.assert_grown(before, after, 1, 128)
