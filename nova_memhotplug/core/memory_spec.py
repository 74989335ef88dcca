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

"""Flavor extra specs in, an immutable spec or None out."""

from collections.abc import Collection
from collections.abc import Mapping
import dataclasses
import re

from nova_memhotplug.core import addresses
from nova_memhotplug.core import errors

NAMESPACE = 'memhotplug'
MAX_MEMORY_MB = 'memhotplug:max_memory_mb'
SLOTS = 'memhotplug:slots'
ZERO_NODE = 'memhotplug:zero_node'
MODEL = 'memhotplug:model'
BLOCK_MB = 'memhotplug:block_mb'
#: Kept by this package in the flavor of a server whose memory does not fold.
BOOT_MEMORY_MB = 'memhotplug:boot_memory_mb'
#: The property of an image that says the same; the larger of both counts.
IMAGE_BLOCK_MB = 'memhotplug_block_mb'

DEFAULT_SLOTS = 8
DEFAULT_MODEL = 'dimm'
#: QEMU has 256 slots for memory (include/hw/acpi/memory_hotplug.h,
#: ACPI_MAX_RAM_SLOTS); design.md keeps one back.
MIN_SLOTS = 1
MAX_SLOTS = 255
#: Nova keeps the RAM of a server as a signed integer of 32 bits
#: (nova/db/main/models.py, Instance.memory_mb).
MAX_TOTAL_MB = 2 ** 31 - 1

#: int() takes signs, '_' and the digits of every script, too.
_INTEGER = re.compile(r'\s*[0-9]+\s*')

_TRUE = frozenset(('1', 't', 'true', 'on', 'y', 'yes'))
_FALSE = frozenset(('0', 'f', 'false', 'off', 'n', 'no'))


@dataclasses.dataclass(frozen=True)
class MemorySpec:
    """What a flavor says about growing memory.

    :param max_memory_mb: ceiling of the guest's total RAM, in MiB
    :param slots: memory slots to reserve
    :param zero_node: whether to reserve an empty NUMA cell; the image may
        change the default (``core.compositions.adapt``)
    :param model: name of the memory model
    :param block_mb: memory block of the guest's kernel, in MiB; 0 if the
        flavor does not say
    :param boot_memory_mb: what the server boots with where its memory model
        adds the rest to that, in MiB; None for all of its RAM
    """

    max_memory_mb: int
    slots: int
    zero_node: bool
    model: str
    block_mb: int = 0
    boot_memory_mb: int | None = None


def from_extra_specs(
    extra_specs: Mapping[str, str],
    default_slots: int = DEFAULT_SLOTS,
    known_models: Collection[str] = (DEFAULT_MODEL,),
) -> MemorySpec | None:
    """Read the spec out of a flavor's extra specs.

    :param extra_specs: a flavor's extra specs
    :param default_slots: slots where the flavor does not say
    :param known_models: names of the installed memory models
    :returns: the spec, or None where the flavor has no ceiling
    :raises InvalidSpec: if a value cannot be read or is out of its range
    """
    if MAX_MEMORY_MB not in extra_specs:
        return None
    return MemorySpec(
        max_memory_mb=_integer(
            extra_specs, MAX_MEMORY_MB, 0, 1, MAX_TOTAL_MB),
        slots=_integer(
            extra_specs, SLOTS, default_slots, MIN_SLOTS, MAX_SLOTS),
        zero_node=_boolean(extra_specs, ZERO_NODE, True),
        model=_one_of(extra_specs, MODEL, DEFAULT_MODEL, known_models),
        block_mb=_block_mb(
            BLOCK_MB, extra_specs.get(BLOCK_MB), errors.InvalidSpec),
        boot_memory_mb=None if BOOT_MEMORY_MB not in extra_specs
        else _integer(extra_specs, BOOT_MEMORY_MB, 0, 1, MAX_TOTAL_MB))


def block_mb_of_image(value: object) -> int:
    """Read the memory block that an image names.

    :param value: the value of its property; None if it has none
    :returns: the block, in MiB; 0 if it names none
    :raises InvalidImage: if there is no such block
    """
    return _block_mb(IMAGE_BLOCK_MB, value, errors.InvalidImage)


def check_boot_size(
    spec: MemorySpec, memory_mb: int, first_boot: bool = False,
) -> None:
    """Check the ceiling against the RAM that a guest is to boot with.

    A server that has grown to its ceiling boots with all of it, so only the
    first boot wants the ceiling to be above the flavor's RAM. What a server
    boots with is a part of its RAM.

    :param spec: the flavor's spec
    :param memory_mb: RAM of the server, in MiB
    :param first_boot: whether the guest has never run
    :raises InvalidSpec: if the ceiling leaves no room, or it is to boot with
        more than it has
    """
    boot_mb = spec.boot_memory_mb
    if boot_mb is not None and boot_mb > memory_mb:
        raise errors.InvalidSpec(
            key=BOOT_MEMORY_MB, value=boot_mb, rule="it must not be above the "
            "flavor's RAM of %d MiB" % memory_mb)
    first_mb = memory_mb if boot_mb is None else boot_mb
    if spec.max_memory_mb >= memory_mb and (
            not first_boot or spec.max_memory_mb > first_mb):
        return
    raise errors.InvalidSpec(
        key=MAX_MEMORY_MB, value=spec.max_memory_mb,
        rule="the ceiling must be above the flavor's RAM of "
             '%d MiB' % memory_mb)


def check_boot_memory(spec: MemorySpec, boot_mb: int) -> None:
    """Check that a server that is made boots with what its flavor says.

    :param spec: the flavor's spec
    :param boot_mb: what it boots with, in MiB
    :raises InvalidSpec: if the flavor says something else
    """
    if spec.boot_memory_mb not in (None, boot_mb):
        raise errors.InvalidSpec(
            key=BOOT_MEMORY_MB, value=spec.boot_memory_mb,
            rule="with the memory model '%s' this server boots with %d MiB" %
            (spec.model, boot_mb))


def check_growth(
    spec: MemorySpec, memory_mb: int, nodes: int, step_mb: int, slots: int,
) -> None:
    """Check that a server that is made can grow at all.

    Each growth takes a whole number of steps for each NUMA node, and where
    devices are added, a slot.

    :param spec: the flavor's spec
    :param memory_mb: RAM of the server, in MiB
    :param nodes: NUMA nodes of the flavor
    :param step_mb: in what steps a node can take memory, in MiB
    :param slots: memory slots to boot with
    :raises InvalidSpec: if it never can
    """
    if spec.max_memory_mb < memory_mb + nodes * step_mb:
        raise errors.InvalidSpec(
            key=MAX_MEMORY_MB, value=spec.max_memory_mb,
            rule='memory is added to %d MiB in steps of %d MiB' % (
                memory_mb, nodes * step_mb))
    # A guest that cannot grow by a step may have no slots for that reason.
    if slots < nodes:
        raise errors.InvalidSpec(
            key=SLOTS, value=spec.slots, rule='each growth takes one for '
            'each of the %d NUMA nodes of the flavor' % nodes)


def is_true(value: object) -> bool:
    """Tell whether a value means yes, as Nova's flags do.

    :param value: of an extra spec or an image property; may be None
    :returns: False for whatever does not clearly mean yes
        (oslo_utils.strutils.bool_from_string)
    """
    return str(value).strip().lower() in _TRUE


def _integer(
    extra_specs: Mapping[str, str], key: str, default: int,
    minimum: int, maximum: int,
) -> int:
    value = str(extra_specs.get(key, default))
    if (_INTEGER.fullmatch(value) and
            minimum <= int(value) <= maximum):
        return int(value)
    raise errors.InvalidSpec(
        key=key, value=value, rule='it must be a whole number from %d to %d'
        % (minimum, maximum))


def _block_mb(
    key: str, value: object, error: type[errors.InvalidSpec],
) -> int:
    if value is None:
        return 0
    text = str(value)
    if _INTEGER.fullmatch(text) and int(text) in addresses.BLOCKS_MB:
        return int(text)
    raise error(
        key=key, value=text, rule='it must be one of ' + ', '.join(
            map(str, addresses.BLOCKS_MB)))


def _boolean(
    extra_specs: Mapping[str, str], key: str, default: bool,
) -> bool:
    value = str(extra_specs.get(key, default)).strip().lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise errors.InvalidSpec(
        key=key, value=value, rule='it must be true or false')


def _one_of(
    extra_specs: Mapping[str, str], key: str, default: str,
    known: Collection[str],
) -> str:
    value = str(extra_specs.get(key, default))
    if value not in known:
        raise errors.InvalidSpec(
            key=key, value=value,
            rule='it must be one of ' + ', '.join(sorted(known)))
    return value
