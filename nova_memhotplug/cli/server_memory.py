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

"""``openstack server memory show``, ``plan`` and ``set``."""

import argparse
import re
import typing as ty

from osc_lib.command import command

from nova_memhotplug.cli import client
from nova_memhotplug.cli import columns

#: Names and values of the columns that a command shows.
Columns = tuple[tuple[str, ...], tuple[ty.Any, ...]]


class Size(ty.NamedTuple):
    """A size as typed.

    :param mb: the amount, in MiB; less than 0 to give memory back
    :param relative: whether it is to be added to what there is
    """

    mb: int
    relative: bool


FORMATS = {
    'devices': columns.DevicesColumn,
    'removed': columns.DevicesColumn,
    'guest': columns.GuestColumn,
    'last_resize': columns.OutcomeColumn,
    'reasons': columns.ReasonsColumn,
    'slots': columns.SlotsColumn,
}

#: Those of them for which nothing means something.
NULLABLE = frozenset(('guest',))

#: What a resize has come to, by what the guest says of it.
OUTCOMES = {
    True: 'confirmed by the guest',
    False: 'attached, the guest does not use all of it yet',
    None: 'attached, not confirmed',
}


def parse_size(text: str) -> Size:
    """Read the value of ``--size``.

    :param text: ``8192`` for a total, ``+2048`` for an addition, ``-2048``
        for what is to be given back; in MiB, or with ``M`` or ``G``
    :returns: a Size
    :raises: argparse.ArgumentTypeError
    """
    match = re.fullmatch(r'([+-]?)([0-9]+)([MG]?)', text)
    if not match or int(match.group(2)) == 0:
        raise argparse.ArgumentTypeError(
            "'%s' is no size: give the total in MiB (8192, or 8G), what to "
            "add to it (+2048) or what to give back (-2048)" % text)
    sign, number, unit = match.groups()
    mb = int(number) * (1024 if unit == 'G' else 1)
    return Size(-mb if sign == '-' else mb, bool(sign))


def parse_timeout(text: str) -> int:
    """Read the value of ``--timeout``.

    :param text: whole seconds, at least 1
    :returns: the seconds
    :raises: argparse.ArgumentTypeError
    """
    if not re.fullmatch(r'[0-9]+', text) or int(text) == 0:
        raise argparse.ArgumentTypeError(
            "'%s' is no time: give whole seconds, 1 or more" % text)
    return int(text)


class _MemoryCommand(command.ShowOne):
    """What the three commands have in common."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            'server', metavar='<server>', help='Server (name or ID)')
        return parser

    def _client(self, parsed_args: argparse.Namespace) -> client.MemoryClient:
        return client.MemoryClient(
            self.app.client_manager.sdk_connection.compute,
            parsed_args.server)

    @staticmethod
    def _total(memory_client: client.MemoryClient, size: Size) -> int:
        if not size.relative:
            return size.mb
        return int(memory_client.show()['requested_mb']) + size.mb

    @staticmethod
    def _columns(data: client.Document) -> Columns:
        """Turn a mapping of the API into the columns of ``ShowOne``."""
        return tuple(data), tuple(
            FORMATS[key](value)
            if key in FORMATS and (value is not None or key in NULLABLE)
            else value for key, value in data.items())


class ShowServerMemory(_MemoryCommand):
    """Show the memory of a server, its devices and whether it can grow"""

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        return self._columns(
            self._client(parsed_args).show(ask_guest=True))


class PlanServerMemory(_MemoryCommand):
    """Show what a resize of a server's memory would do; changes nothing

    A plan that is not possible is an answer, too: the column possible says
    so, and the command succeeds.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        _add_size(parser, required=True)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        memory_client = self._client(parsed_args)
        memory = memory_client.show(
            self._total(memory_client, parsed_args.size))
        return self._columns(memory['plan'] | {
            'source': memory.get('source')})


class SetServerMemory(_MemoryCommand):
    """Change the memory of a running server, without a reboot"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        wanted = parser.add_mutually_exclusive_group(required=True)
        _add_size(wanted)
        wanted.add_argument(
            '--flavor', metavar='<flavor>',
            help='Flavor to change to (name or ID); it may differ from the '
                 "server's own in memory only")
        parser.add_argument(
            '--wait', action='store_true',
            help='Wait until the resize is over and show what the server '
                 'has then; fail when it failed')
        parser.add_argument(
            '--timeout', metavar='<seconds>', type=parse_timeout,
            default=300,
            help='Longest time to wait with --wait (default: 300)')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        memory_client = self._client(parsed_args)
        accepted = self._resize(memory_client, parsed_args)
        if not (parsed_args.wait and accepted.memory.get('changed')):
            return self._columns(accepted.memory)
        after = memory_client.wait(accepted, parsed_args.timeout)
        removed = accepted.memory.get('removed')
        return self._columns({
            'memory_mb': after['requested_mb'],
            'current_mb': after['current_mb'],
            'changed': True,
            'devices': after['devices'],
            'guest': after.get('guest'),
            'message': ('given back by the guest' if removed else OUTCOMES[
                (after.get('guest') or {}).get('confirmed')]),
        })

    def _resize(
        self, memory_client: client.MemoryClient,
        parsed_args: argparse.Namespace,
    ) -> client.Accepted:
        if parsed_args.flavor is not None:
            return memory_client.resize_to_flavor(parsed_args.flavor)
        return memory_client.resize(
            self._total(memory_client, parsed_args.size))


def _add_size(parser: ty.Any, **kwargs: ty.Any) -> None:
    parser.add_argument(
        '--size', metavar='<size>', type=parse_size, **kwargs,
        help='Wanted total in MiB, +<MiB> to add to the present total, or '
             '-<MiB> to give back of it; with the suffix G in GiB, and then '
             'as --size=-2G if it is to be given back')
