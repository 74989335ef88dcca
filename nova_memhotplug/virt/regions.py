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

"""How many regions of memory this host's kernel lets a guest have.

The kernel is the same in whatever container libvirt runs.
"""

import fcntl
import functools
import pathlib

from nova_memhotplug.common import options
from nova_memhotplug.core import limits

CONF = options.CONF

#: Absent until the first guest with such a port has loaded the module.
VHOST = pathlib.Path('/sys/module/vhost/parameters/max_mem_regions')
KVM = pathlib.Path('/dev/kvm')
#: Linux, include/uapi/linux/kvm.h.
_KVM_CHECK_EXTENSION, _KVM_CAP_NR_MEMSLOTS = 0xAE03, 10


def read() -> limits.Regions:
    """Read what the host's kernel allows, and what the operator says."""
    try:
        vhost = int(VHOST.read_text())
    except (OSError, ValueError):
        vhost = limits.Regions.vhost
    return limits.Regions(
        vhost=vhost, vhost_user=CONF.memhotplug.vhost_user_regions,
        kvm=_kvm_slots(KVM))


@functools.cache
def _kvm_slots(device: pathlib.Path) -> int | None:
    """Ask KVM, once: it does not change while the kernel runs.

    :returns: None if it is not there, or this user may not ask
    """
    try:
        with open(device, 'rb', buffering=0) as kvm:
            slots = fcntl.ioctl(
                kvm, _KVM_CHECK_EXTENSION, _KVM_CAP_NR_MEMSLOTS)
    except OSError:
        return None
    return slots if slots > 0 else None
