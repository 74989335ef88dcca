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

"""``openstack server memory list``, ``show``, ``plan`` and ``set``."""

import argparse
from collections.abc import Iterator
import contextlib
import re
import sys
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

#: What ``set --require-confirmed`` exits with where the resize is over, and
#: nobody tells that the guest uses all of it. 1 is any other failure.
NOT_CONFIRMED = 3

#: What a resize has come to, by its verdict.
OUTCOMES = {
    'confirmed': 'confirmed by the guest',
    'offline': 'attached, the guest does not use all of it',
    'unconfirmed': 'attached, not confirmed',
    'pending': 'the guest has not taken or given back all of it yet',
    'partial': 'the guest has taken or given back a part of it',
}
#: The verdict where none is on record, by what the guest says now.
_BY_GUEST = {True: 'confirmed', False: 'offline', None: 'unconfirmed'}


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


def parse_number(text: str) -> int:
    """Read the value of ``--limit``.

    :param text: a whole number, at least 1
    :returns: the number
    :raises: argparse.ArgumentTypeError
    """
    return _positive(text, 'number of servers: give 1 or more')


def parse_timeout(text: str) -> int:
    """Read the value of ``--timeout``.

    :param text: whole seconds, at least 1
    :returns: the seconds
    :raises: argparse.ArgumentTypeError
    """
    return _positive(text, 'time: give whole seconds, 1 or more')


def _positive(text: str, wanted: str) -> int:
    if not re.fullmatch(r'[0-9]+', text) or int(text) == 0:
        raise argparse.ArgumentTypeError("'%s' is no %s" % (text, wanted))
    return int(text)


class _MemoryCommand(command.ShowOne):
    """What the commands for one server have in common."""

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


class ListServerMemory(command.Lister):
    """List the memory of the servers of the project"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            '--limit', metavar='<number>', type=parse_number,
            help='Number of servers to list at the most (default: all)')
        parser.add_argument(
            '--marker', metavar='<server>',
            help='ID of the last server of the list before')
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace,
    ) -> tuple[tuple[str, ...], Iterator[tuple[ty.Any, ...]]]:
        found = client.list_servers(
            self.app.client_manager.sdk_connection.compute,
            parsed_args.limit, parsed_args.marker)
        return ('id', 'name', 'boot_mb', 'current_mb', 'max_mb', 'slots'), (
            (server['id'], server['name'], memory['boot_mb'],
             memory['current_mb'], memory['max_mb'],
             columns.SlotsColumn(memory['slots']))
            for server in found for memory in [server['memory']])


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

    _is_confirmed = True

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
            '--require-confirmed', action='store_true',
            help='Wait, too, until the guest is known to use all of the '
                 'memory; exit with %d if nobody can tell, or it does not' %
                 NOT_CONFIRMED)
        parser.add_argument(
            '--timeout', metavar='<seconds>', type=parse_timeout,
            default=300,
            help='Longest time to wait (default: 300)')
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run the command; see ``NOT_CONFIRMED``."""
        code: int = super().run(parsed_args)
        return code or (0 if self._is_confirmed else NOT_CONFIRMED)

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        memory_client = self._client(parsed_args)
        accepted = self._resize(memory_client, parsed_args)
        must_be_sure = parsed_args.require_confirmed
        if not accepted.memory.get('changed'):
            if must_be_sure:
                self._is_confirmed = _uses_all(
                    memory_client.show(ask_guest=True))
            return self._columns(accepted.memory)
        if not (parsed_args.wait or must_be_sure):
            return self._columns(accepted.memory)
        with _progress(accepted.memory) as tell:
            after = memory_client.wait(
                accepted, parsed_args.timeout, must_be_sure, tell)
        verdict = _verdict(after, accepted)
        self._is_confirmed = not must_be_sure or verdict == 'confirmed'
        is_given_back = accepted.memory.get('removed') and (
            verdict in ('confirmed', 'unconfirmed'))
        return self._columns({
            'memory_mb': after['requested_mb'],
            'current_mb': after['current_mb'],
            'usable_mb': after.get('usable_mb'),
            'changed': True,
            'devices': after['devices'],
            'guest': after.get('guest'),
            'message': ('given back by the guest' if is_given_back
                        else OUTCOMES.get(verdict, verdict)),
        })

    def _resize(
        self, memory_client: client.MemoryClient,
        parsed_args: argparse.Namespace,
    ) -> client.Accepted:
        if parsed_args.flavor is not None:
            return memory_client.resize_to_flavor(parsed_args.flavor)
        return memory_client.resize(
            self._total(memory_client, parsed_args.size))


@contextlib.contextmanager
def _progress(accepted: client.Document) -> Iterator[client.Tell | None]:
    """Show on a terminal how far a resize is, in one line.

    :param accepted: the ``memory`` object of the answer to the request
    :returns: what shows it; None if there is no terminal
    """
    start_mb, wanted_mb = accepted['current_mb'], accepted['memory_mb']

    def tell(memory: client.Document) -> None:
        now_mb = memory.get('usable_mb') or memory['current_mb']
        sys.stderr.write('\r%d of %d MiB ' % (
            abs(now_mb - start_mb), abs(wanted_mb - start_mb)))
        sys.stderr.flush()

    if not sys.stderr.isatty():
        yield None
        return
    try:
        yield tell
    finally:
        sys.stderr.write('\n')


def _verdict(after: client.Document, accepted: client.Accepted) -> str:
    """Say what became of a request.

    :param after: the ``memory`` object of the API
    :param accepted: what the API answered to the request
    :returns: the verdict that is on record; otherwise what the guest says
        now
    """
    last = after.get('last_resize') or {}
    if last.get('request_id') == accepted.request_id and last.get('outcome'):
        return str(last['outcome']['verdict'])
    return _BY_GUEST[(after.get('guest') or {}).get('confirmed')]


def _uses_all(memory: client.Document) -> bool:
    """Tell whether a guest is known to use all that its server has."""
    usable_mb = memory.get('usable_mb')
    return usable_mb is not None and usable_mb >= memory['requested_mb']


def _add_size(parser: ty.Any, **kwargs: ty.Any) -> None:
    parser.add_argument(
        '--size', metavar='<size>', type=parse_size, **kwargs,
        help='Wanted total in MiB, +<MiB> to add to the present total, or '
             '-<MiB> to give back of it; with the suffix G in GiB, and then '
             'as --size=-2G if it is to be given back')
