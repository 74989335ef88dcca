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

"""The driver is one of Nova's, and Nova calls nothing else of it."""

from nova import test
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.virt import driver
from nova.virt import fake

from nova_memhotplug.virt import driver as memhotplug_driver


class TestDriver(test.NoDBTestCase):

    def test_public_api_signatures(self):
        """As Nova tests its own drivers."""
        self.useFixture(fakelibvirt.LibvirtFixture())
        self.assertPublicAPISignatures(
            driver.ComputeDriver(None),
            memhotplug_driver.MemHotplugLibvirtDriver(
                fake.FakeVirtAPI(), True))
