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
"""A note of what a running guest has, from which its growth is planned.

nova-compute leaves it with the server's own record, so that nova-api can plan
without asking the host. Only plans read it. What the guest has is in its live
domain (design T2), and a note that cannot be read, or of another version,
counts as none.
"""

from collections.abc import Iterable
from collections.abc import Iterator
import json
import re
import typing as ty

from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import observations
from nova_memhotplug.core import planner
from nova_memhotplug.core import strategies
from nova_memhotplug.core import units

#: Where it is in the server's system metadata.
KEY = 'memhotplug_guest'
#: Beside it: why a guest was started without room for growth that its flavor
#: asks for (design T9).
NO_ROOM = 'memhotplug_no_room'
#: What a value there can hold (nova/db/main/models.py,
#: InstanceSystemMetadata).
MAX_LENGTH = 255
#: Raised with every change of the fields or of what they mean.
VERSION = 4

_FIELDS = frozenset((
    'v', 'arch', 'boot', 'max', 'slots', 'cells', 'zero', 'page', 'step',
    'how', 'ga', 'dev'))
#: A field of those guests alone whose network ports limit their devices.
_MOST = 'most'
_NAME = re.compile(r'[A-Za-z0-9_.-]+\Z')
#: Larger than any size in MiB or KiB, node or slot there can be.
_MAX_NUMBER = 2 ** 53
#: QEMU, include/hw/acpi/memory_hotplug.h, ACPI_MAX_RAM_SLOTS.
_MAX_SLOTS = 256
#: QEMU, include/system/numa.h, MAX_NODES.
_MAX_CELLS = 128


def write(seen: observations.Observation) -> str | None:
    """Write down what a plan has to know of a guest.

    :param seen: what is known of it
    :returns: the text; None if it has no room for all of the guest's
        devices, or the address of one of them matters to a plan, or how the
        boot memory is divided among cells
    """
    guest = seen.guest
    if (any(planner.misaligned_devices(guest)) or
            guest.misplaced_node is not None):
        return None
    most = guest.most_devices
    text = json.dumps({
        'v': VERSION,
        'arch': guest.arch,
        'boot': guest.boot_mb,
        'max': guest.max_mb,
        'slots': guest.slots,
        'cells': len(guest.own_cells),
        'zero': int(guest.reserved_cell is not None),
        'page': guest.page_kib,
        'step': seen.step_mb,
        'how': seen.strategy,
        'ga': _agent(seen),
        'dev': _runs(guest.devices),
        **({} if most is None else {_MOST: most}),
    }, separators=(',', ':'))
    return text if len(text) <= MAX_LENGTH else None


def _agent(seen: observations.Observation) -> int | None:
    """Sum up the agent: none, never heard (0), or the block it named."""
    return seen.heard_mb if seen.guest.has_agent else None


def read(text: str | None) -> observations.Observation | None:
    """Read a note; whatever it says, this does not fail.

    :param text: what was found; None if nothing was
    :returns: what is known of the guest, without what no plan looks at:
        emulator, what an agent has answered, the aliases and addresses of
        devices, how the boot memory is divided among cells, where all of it
        is on the host, and what excludes growth; None if it is not one that
        ``write`` makes
    """
    if text is None or len(text) > MAX_LENGTH:
        return None
    try:
        return _note(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _note(fields: ty.Any) -> observations.Observation:
    if not isinstance(fields, dict) or set(fields) - {_MOST} != _FIELDS:
        raise ValueError('not the fields of a note')
    _number(fields['v'], VERSION, VERSION)
    seen = observations.Observation(
        guest=_guest(fields), step_mb=_number(fields['step']),
        strategy=_strategy(fields['how']),
        heard_mb=_optional(fields['ga']) or 0)
    if write(seen) is None or seen.guest.used_slots > seen.guest.slots:
        raise ValueError('no guest is like this')
    return seen


def _guest(fields: ty.Any) -> domain.GuestMemory:
    boot_kib = units.mb_to_kib(_number(fields['boot'], 1))
    max_mb = _optional(fields['max'])
    return domain.GuestMemory(
        arch=_name(fields['arch']),
        emulator='',
        boot_kib=boot_kib,
        max_kib=None if max_mb is None else units.mb_to_kib(max_mb),
        slots=_number(fields['slots'], 0, _MAX_SLOTS),
        cells=tuple(_cells(
            _number(fields['cells'], 0, _MAX_CELLS), _flag(fields['zero']),
            boot_kib)),
        devices=tuple(_devices(fields['dev'])),
        page_kib=_number(fields['page']),
        has_agent=fields['ga'] is not None,
        most_devices=_optional(fields.get(_MOST), _MAX_SLOTS))


def _cells(
    count: int, has_reserved: bool, boot_kib: int,
) -> Iterator[domain.Cell]:
    """Make the cells; Nova and core.layouts number them from 0.

    No plan looks at how the boot memory is divided among them, but that
    each has some.
    """
    for number in range(count):
        yield domain.Cell(
            id=number, memory_kib=boot_kib // count, has_cpus=True)
    if has_reserved:
        if not count:
            raise ValueError('the reserved cell is not the first one')
        yield domain.Cell(id=count, memory_kib=0, has_cpus=False)


def _runs(devices: Iterable[device.MemoryDevice]) -> list[list[ty.Any]]:
    """Sum up devices that are alike in successive slots.

    :returns: ``[first slot, how many, size in MiB, node]`` of each run, and
        the model if it is not ``dimm``; of our devices that are asked for
        memory besides what they hold, were asked for and have given, in MiB
    """
    runs: list[list[ty.Any]] = []
    for dev in devices:
        kind: list[ty.Any] = [dev.size_mb, dev.node]
        if dev.model != device.DIMM:
            kind.append(dev.model)
        if dev.is_ours and dev.capacity_mb is not None:
            kind += [dev.capacity_mb, dev.requested_mb, dev.current_mb]
        if runs and runs[-1][2:] == kind and dev.slot == _slot_after(runs[-1]):
            runs[-1][1] += 1
        else:
            runs.append([dev.slot, 1, *kind])
    return runs


def _slot_after(run: list[ty.Any]) -> int | None:
    slot, count = run[:2]
    return None if slot is None else slot + count


def _devices(runs: ty.Any) -> Iterator[device.MemoryDevice]:
    if not isinstance(runs, list):
        raise ValueError('devices are a list')
    for run in runs:
        if not isinstance(run, list) or len(run) not in (4, 5, 8):
            raise ValueError('not a run of devices')
        first = _optional(run[0], _MAX_SLOTS)
        model = _name(run[4]) if run[4:] else device.DIMM
        for index in range(_number(run[1], 1, _MAX_SLOTS)):
            yield device.MemoryDevice(
                model=model,
                size_mb=_number(run[2]), node=_optional(run[3]),
                slot=None if first is None else first + index,
                is_ram=model in device.RAM_ELEMENTS, **_asked(run, index))


def _asked(run: list[ty.Any], index: int) -> dict[str, ty.Any]:
    """Read what our devices hold, were asked for and have given."""
    if not run[5:]:
        return {}
    return dict(zip(('capacity_mb', 'requested_mb', 'current_mb'), (
        _number(run[5]), _optional(run[6]), _optional(run[7])),
        strict=True), alias='%s%d' % (device.ALIAS_PREFIX, index))


def _number(
    value: ty.Any, minimum: int = 0, maximum: int = _MAX_NUMBER,
) -> int:
    # A bool is an int for isinstance().
    if type(value) is not int or not minimum <= value <= maximum:
        raise ValueError('not a number that can be')
    return value


def _optional(value: ty.Any, maximum: int = _MAX_NUMBER) -> int | None:
    return None if value is None else _number(value, 0, maximum)


def _flag(value: ty.Any) -> bool:
    return bool(_number(value, 0, 1))


def _name(value: ty.Any) -> str:
    if not isinstance(value, str) or not _NAME.match(value):
        raise ValueError('not a name')
    return value


def _strategy(value: ty.Any) -> str | None:
    if value is not None and value not in strategies.ORDER:
        raise ValueError('not a strategy')
    return ty.cast(str | None, value)
