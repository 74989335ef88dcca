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

"""Columns that people read as lines and programs as data."""

from collections.abc import Mapping
import typing as ty

from cliff import columns

# cliff made it generic after the releases that are supported here.
if ty.TYPE_CHECKING:
    _Column = columns.FormattableColumn[ty.Any]
else:
    _Column = columns.FormattableColumn


class SlotsColumn(_Column):
    """The slots of a server: ``{'total': 8, 'used': 1, 'free': 7}``."""

    def human_readable(self) -> str:
        slots = self._value or {}
        return '%s of %s used' % (slots.get('used'), slots.get('total'))


class DevicesColumn(_Column):
    """Devices that a server has or would get, one a line."""

    def human_readable(self) -> str:
        return '\n'.join(_device_line(device) for device in self._value)


class ReasonsColumn(_Column):
    """Why a server cannot grow, one sentence with its code a line."""

    def human_readable(self) -> str:
        return '\n'.join(
            '%s (%s)' % (reason.get('message'), reason.get('code'))
            for reason in self._value)


class GuestColumn(_Column):
    """What the guest says of itself, when it was asked and has an agent."""

    CONFIRMED = {True: 'all of it confirmed', False: 'not all confirmed'}
    #: By whether an agent answers.
    SILENT = {True: 'the agent does not say', False: 'no agent answers',
              None: 'not asked'}

    def human_readable(self) -> str:
        guest = self._value or {}
        if guest.get('online_mb') is None:
            return self.SILENT[guest.get('agent')]
        words = ['%s MiB online' % guest['online_mb']]
        if guest.get('confirmed') is not None:
            words.append(self.CONFIRMED[guest['confirmed']])
        return ', '.join(words)


class OutcomeColumn(_Column):
    """How the last resize ended: running, done or failed, and why; and what
    the guest has made of it.
    """

    def human_readable(self) -> str:
        last = self._value or {}
        words = [last.get('status'), last.get('message')]
        outcome = last.get('outcome')
        if outcome:
            words.append('%s, %s of %s MiB, evidence: %s' % tuple(
                outcome.get(key)
                for key in ('verdict', 'mb', 'of_mb', 'evidence')))
        return ': '.join(word for word in words if word)


def _device_line(device: Mapping[str, ty.Any]) -> str:
    """Word one device.

    :param device: a mapping; a planned device has no slot and no address
    :returns: for example
        ``ua-memhotplug-0: 512 MiB dimm on node 1, slot 0, at 0x100000000``
    """
    line = '%s MiB %s on node %s' % (
        device.get('size_mb'), device.get('model'), device.get('node'))
    if device.get('alias'):
        line = '%s: %s' % (device['alias'], line)
    if device.get('slot') is not None:
        line += ', slot %s' % device['slot']
    if device.get('address') is not None:
        line += ', at %s' % device['address']
    return line
