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

"""The name Nova needs to load the driver.

Nova prefixes ``compute_driver`` with ``nova.virt.`` (nova/virt/driver.py,
``load_compute_driver``), so the driver needs a name below it:
``compute_driver = memhotplug.MemHotplugLibvirtDriver``.
"""

from nova_memhotplug.common import contract

# First of all: what is gone may be what the driver is made of.
contract.require_for_compute()

from nova_memhotplug.virt import driver  # noqa: E402

MemHotplugLibvirtDriver = driver.MemHotplugLibvirtDriver
