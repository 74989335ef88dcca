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

"""Units and alignment, in one place.

Nova counts RAM in MiB, libvirt in KiB, QEMU and the guest agent in bytes.
Names carry the unit: ``_mb`` is MiB (as in Nova's ``memory_mb``), ``_kib`` is
KiB, ``_bytes`` is bytes.
"""

KIB_PER_MIB = 1024
BYTES_PER_KIB = 1024
BYTES_PER_MIB = BYTES_PER_KIB * KIB_PER_MIB
MIB_PER_GIB = 1024


def mb_to_kib(mb: int) -> int:
    """Convert MiB to KiB."""
    return mb * KIB_PER_MIB


def kib_to_mb(kib: int) -> int:
    """Convert KiB to whole MiB, rounding down."""
    return kib // KIB_PER_MIB


def is_multiple(amount: int, step: int) -> bool:
    """Tell whether an amount is a whole number of steps.

    :param amount: an amount, in the unit of ``step``
    :param step: a positive amount
    :returns: True where ``amount`` is 0 or a multiple of ``step``
    """
    return amount % step == 0


def round_down(amount: int, step: int) -> int:
    """Round an amount down to a whole number of steps."""
    return amount - amount % step


def round_up(amount: int, step: int) -> int:
    """Round an amount up to a whole number of steps."""
    return round_down(amount + step - 1, step)
