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

"""What the balloon driver of a guest tells about its memory.

libvirt has statistics of it, every so many seconds, without an agent.
``available`` is the guest's MemTotal: it grows by exactly what comes online,
and not by what the guest leaves offline (facts-events.md, section 1). A
guest sets some of its memory aside when it boots, and MemTotal lacks that.
How much was seen while nothing was plugged, it still is later.
"""

from collections.abc import Mapping
import dataclasses
import json
import typing as ty

from nova_memhotplug.core import page_map
from nova_memhotplug.core import units

#: Where the host keeps ``Reserve`` in the system metadata of a server.
KEY = 'memhotplug_reserve'
#: Half of the smallest memory block that kernels have on x86_64 and aarch64,
#: in MiB. What a guest leaves offline is whole blocks. Less is something
#: else: the page map of a DIMM of one block (facts-guests.md, C19), or a
#: kernel that was updated since.
SLACK_MB = 64
#: For how many periods the figures of a guest that runs may be late.
_PERIODS_LATE = 6


@dataclasses.dataclass(frozen=True)
class Figures:
    """What a guest has told.

    :param available_kib: its MemTotal, in KiB
    :param told_at: when, in seconds since the epoch, by the host's clock
    """

    available_kib: int
    told_at: int

    def is_late(self, now: float, period: int) -> bool:
        """Tell whether a guest has told nothing for long.

        With a period of 0 the figures are those of the moment in which the
        driver was loaded, for ever (facts-events.md, 0.5).

        :param now: the time, in seconds since the epoch
        :param period: how often it is to tell, in seconds
        """
        return now - self.told_at > _PERIODS_LATE * period


def figures(stats: Mapping[str, ty.Any]) -> Figures | None:
    """Read libvirt's statistics.

    :param stats: what ``virDomainMemoryStats`` returned
    :returns: the figures; None if the guest has told none since it booted
    """
    available_kib, told_at = stats.get('available'), stats.get('last_update')
    if not available_kib or not told_at:
        return None
    return Figures(int(available_kib), int(told_at))


@dataclasses.dataclass(frozen=True)
class Reserve:
    """What a guest has set aside of the memory that it booted with.

    It holds for guests that boot with the same memory from the same image.

    :param boot_mb: RAM that it booted with, in MiB
    :param image: ID of the image; empty for none
    :param kib: what it has set aside, in KiB
    """

    boot_mb: int
    image: str
    kib: int

    @classmethod
    def seen(
        cls, told: Figures | None, boot_mb: int, image: str,
        before: 'Reserve | None',
    ) -> 'Reserve | None':
        """Say what a guest has set aside that has nothing plugged.

        Figures from before the guest gave memory back tell of too little, so
        the larger one counts of what is known.

        :param told: what it tells
        :param boot_mb: RAM that it booted with, in MiB
        :param image: ID of the image that it booted from
        :param before: what was known so far
        :returns: that; what was known so far if it tells nothing of use
        """
        if told is None:
            return before
        found = cls(boot_mb, image, units.mb_to_kib(boot_mb) -
                    told.available_kib)
        if found.kib < 0:
            return before
        if before is not None and before.fits(boot_mb, image):
            return max(before, found, key=lambda one: one.kib)
        return found

    @classmethod
    def parse(cls, text: str | None) -> 'Reserve | None':
        """Read what ``str`` has written; whatever it is, this is no error."""
        try:
            boot_mb, image, kib = json.loads(text or 'null')
            return cls(int(boot_mb), str(image), int(kib))
        except (TypeError, ValueError, RecursionError):
            return None

    def __str__(self) -> str:
        return json.dumps([self.boot_mb, self.image, self.kib])

    def fits(self, boot_mb: int, image: str) -> bool:
        """Tell whether it is that of a guest.

        :param boot_mb: RAM that the guest booted with, in MiB
        :param image: ID of the image that it booted from
        """
        return (self.boot_mb, self.image) == (boot_mb, image)


def offline_mb(
    told: Figures | None, boot_mb: int, plugged_mb: int,
    reserve_kib: int | None,
) -> int | None:
    """Say how much a guest has and does not use.

    :param told: what it tells; None if nothing that counts
    :param boot_mb: RAM that it booted with, in MiB
    :param plugged_mb: RAM that it has been given since, in MiB
    :param reserve_kib: what it has set aside, in KiB; None if not known
    :returns: that, in MiB; None if it cannot be told
    """
    if told is None:
        return None
    missing_mb = boot_mb + plugged_mb - units.kib_to_mb(
        told.available_kib + (reserve_kib or 0))
    if missing_mb < SLACK_MB or _is_page_map(missing_mb, plugged_mb):
        return 0
    # What it has set aside may be all that is missing.
    return None if reserve_kib is None else min(missing_mb, plugged_mb)


def _is_page_map(missing_mb: int, plugged_mb: int) -> bool:
    """Tell whether what is missing are the maps of what was plugged.

    Kernels with ``memmap_on_memory`` take them out of it
    (facts-guests.md, C24). Whole blocks are rather offline than a map.
    """
    is_map = abs(missing_mb - plugged_mb // page_map.PAGES_OF_MAP) <= 1
    return is_map and missing_mb % (2 * SLACK_MB) != 0
