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

"""How much memory a guest can take at once, and in all.

A kernel keeps a map of its pages. That of a memory device is made when the
guest finds the device, of memory that the guest has free, all of it at once
and whether or not the device is used then. Where it does not fit, the guest
starves and does not boot again, while QEMU and libvirt report success
(facts-guests.md, 0.3). So a large amount is added in pieces, each when the one
before is in use.

A guest that is reset finds all devices again when it boots. Its kernel may
leave them offline until something in the guest brings them online, so the maps
of all of them have to fit into boot memory.
"""

from nova_memhotplug.core import units

#: Linux, include/linux/mm_types.h: a struct page of 64 bytes for each page.
#: Those of 4 KiB are the smallest that there are.
PAGES_OF_MAP = 64
#: How much of the memory in use may be taken for maps while the guest runs:
#: one of so many parts. So 8 GiB are added to a guest of 512 MiB, which has
#: been measured to be fine (facts-guests.md, 0.3).
PARTS_IN_USE = 4
#: How much of boot memory all maps may take together: such a guest is alive
#: and boots with 16 GiB, and had 113336 kB free (facts-guests.md, 0.3).
PARTS_AT_BOOT = 2


def most_mb(boot_mb: int, used_mb: int, plugged_mb: int) -> int:
    """Say how much a guest can take at once.

    :param boot_mb: RAM that it booted with, in MiB
    :param used_mb: RAM that it uses, in MiB
    :param plugged_mb: RAM that was plugged, used or not, in MiB: the guest
        keeps a map of it
    :returns: the amount, in MiB
    """
    return max(0, PAGES_OF_MAP * min(
        used_mb // PARTS_IN_USE, boot_mb // PARTS_AT_BOOT) - plugged_mb)


def depends_on_use(boot_mb: int, total_mb: int) -> bool:
    """Tell whether a total can be had only with added memory that is used.

    :param boot_mb: RAM that a guest booted with, in MiB
    :param total_mb: RAM it is to have, in MiB
    """
    return total_mb - boot_mb > most_mb(boot_mb, boot_mb, 0)


def pieces_mb(
    boot_mb: int, used_mb: int, plugged_mb: int, wanted_mb: int,
    step_mb: int, most: int,
) -> list[int]:
    """Divide an amount into what a guest can take, piece after piece.

    :param boot_mb: RAM that it booted with, in MiB
    :param used_mb: RAM that it uses, in MiB
    :param plugged_mb: RAM that was plugged, used or not, in MiB
    :param wanted_mb: the amount, in MiB
    :param step_mb: what each piece is to be a multiple of, in MiB
    :param most: how many pieces there may be
    :returns: the pieces, in MiB, as few as possible; together less than the
        amount where the guest cannot take all of it
    """
    pieces: list[int] = []
    while wanted_mb and len(pieces) < most:
        piece_mb = min(wanted_mb, units.round_down(
            most_mb(boot_mb, used_mb, plugged_mb), step_mb))
        if not piece_mb:
            break
        pieces.append(piece_mb)
        wanted_mb -= piece_mb
        used_mb += piece_mb
        plugged_mb += piece_mb
    return pieces
