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

"""In what a new flavor may differ from the one a running server has."""

from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses

from nova_memhotplug.core import errors
from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import numa

#: Sizes that only a cold resize can change, with their units.
_FIXED = ('vcpus', 'root_gb', 'ephemeral_gb', 'swap')
_PREFIX = memory_spec.NAMESPACE + ':'


@dataclasses.dataclass(frozen=True)
class Flavor:
    """A flavor, as far as a resize of memory is concerned.

    :param name: its name
    :param memory_mb: RAM, in MiB
    :param vcpus: number of vCPUs
    :param root_gb: root disk, in GiB
    :param ephemeral_gb: ephemeral disk, in GiB
    :param swap: swap disk, in MiB
    :param extra_specs: its extra specs
    """

    name: str
    memory_mb: int
    vcpus: int
    root_gb: int
    ephemeral_gb: int
    swap: int
    extra_specs: Mapping[str, str]


def check_change(old: Flavor, new: Flavor) -> None:
    """Check that a running server can change from one flavor to another.

    The sizes of NUMA cells that flavors name must differ by the same amount,
    for that is how added memory is divided (``core.planner.shares``).

    :param old: the flavor it has
    :param new: the flavor it is to have
    :raises FlavorDiffers: if more than memory differs
    """
    differences = list(_differences(old, new))
    if differences:
        raise errors.FlavorDiffers(
            name=new.name, differences='; '.join(differences))


def _differences(old: Flavor, new: Flavor) -> Iterator[str]:
    for field in _FIXED:
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            yield '%s is %s instead of %s' % (field, after, before)
    expected = _grown_specs(old, new.memory_mb)
    keys = {key for key in (*expected, *new.extra_specs)
            if not key.startswith(_PREFIX)}
    # Not their values: Nova has a policy for who may read those.
    different = [key for key in sorted(keys)
                 if expected.get(key) != new.extra_specs.get(key)]
    # A guest is started for one memory model.
    if _model(old) != _model(new):
        different.append(memory_spec.MODEL)
    if different:
        yield 'extra specs ' + ', '.join(different)


def _model(flavor: Flavor) -> str:
    return flavor.extra_specs.get(
        memory_spec.MODEL, memory_spec.DEFAULT_MODEL)


def _grown_specs(old: Flavor, memory_mb: int) -> Mapping[str, str]:
    """Say what the extra specs of a flavor are with another total."""
    cells_mb = numa.explicit_cells(old.extra_specs)
    if not cells_mb:
        return old.extra_specs
    return numa.with_cells(
        old.extra_specs, numa.grown(cells_mb, memory_mb))
