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

"""What Nova's books have to say for a server of a given size."""

from collections.abc import Mapping

from nova_memhotplug.core import memory_spec

#: An operator's override of what a flavor takes from placement (Nova,
#: doc/source/user/flavors.rst, "Custom resource classes and standard
#: resource classes to override").
OVERRIDE = 'resources:MEMORY_MB'


def allocation_mb(total_mb: int, extra_specs: Mapping[str, str]) -> int:
    """Say what a server has to have allocated in placement.

    An operator who reserves the ceiling in advance has more allocated than
    the server uses; nothing is claimed twice. One who sets the override to 0
    does not want RAM to be accounted for at all.

    :param total_mb: RAM of the server, in MiB
    :param extra_specs: its flavor's extra specs
    :returns: the allocation, in MiB
    """
    override = str(extra_specs.get(OVERRIDE, '')).strip()
    if not override.isdecimal():
        return total_mb
    reserved_mb = int(override)
    return max(reserved_mb, total_mb) if reserved_mb else 0


def with_total(
    extra_specs: Mapping[str, str], total_mb: int, boot_mb: int | None = None,
) -> dict[str, str]:
    """Raise an override to a total that is above it, and keep the floor.

    When the server moves, Nova claims the override of its flavor, and not its
    RAM (nova/scheduler/utils.py, ResourceRequest).

    :param extra_specs: the extra specs of the server's own flavor
    :param total_mb: RAM that it has, in MiB
    :param boot_mb: what of it a fresh domain boots with, in MiB; None for all
    :returns: the extra specs
    """
    specs = dict(extra_specs)
    override = str(extra_specs.get(OVERRIDE, '')).strip()
    if override.isdecimal() and 0 < int(override) < total_mb:
        specs[OVERRIDE] = str(total_mb)
    if boot_mb is not None:
        specs[memory_spec.BOOT_MEMORY_MB] = str(boot_mb)
    return specs


def free_mb(
    total_mb: int, reserved_mb: int, allocation_ratio: float, used_mb: int,
) -> int:
    """Say what of a host can still be allocated, as placement counts it.

    :param total_mb: RAM of the host, in MiB
    :param reserved_mb: what of it is kept from servers, in MiB
    :param allocation_ratio: how often the rest may be given away
    :param used_mb: what is allocated, in MiB
    :returns: the amount, in MiB; 0 on a host that has given away too much
    """
    capacity_mb = int((total_mb - reserved_mb) * allocation_ratio)
    return max(0, capacity_mb - used_mb)
