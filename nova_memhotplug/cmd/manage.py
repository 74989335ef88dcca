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

"""Look after a whole deployment: ``nova-memhotplug-manage``.

It runs where nova-api or nova-conductor runs, as ``nova-manage`` does.
"""

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import sys

from nova import config
from nova import objects
from nova import rpc
from nova.scheduler.client import report
from oslo_log import log as logging

from nova_memhotplug.cmd import audit
from nova_memhotplug.cmd import census
from nova_memhotplug.cmd import status

PROG = 'nova-memhotplug-manage'
SHIM_HEADER = ('Host', 'Running', 'Stored', 'Saved')
HEADER = ('Server', 'Host', 'What differs', 'Has (MiB)', 'Flavor (MiB)')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: its arguments; those of the process if None
    :returns: the exit code
    """
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except Exception as exc:
        print('Failed: %s: %s' % (type(exc).__name__, exc), file=sys.stderr)
        return int(audit.Code.FAILED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG, description='Look after servers whose memory can grow.',
        epilog='Exit codes: 0 nothing differs, 1 something differs, '
        '2 something could not be read or done.')
    parser.add_argument(
        '--config-file', action='append', metavar='FILE',
        help='configuration of Nova (default: where Nova looks for it)')
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    auditing = commands.add_parser(
        'audit', help='compare flavors with instances, placement and guests')
    auditing.add_argument(
        '--fix', action='store_true',
        help='have the hosts bring the books to what the guests have')
    for option, metavar, what in (
            ('--cell', 'NAME_OR_UUID', 'cell'), ('--host', 'NAME', 'host'),
            ('--server', 'UUID', 'server')):
        auditing.add_argument(
            option, action='append', default=[], metavar=metavar,
            help='look at this %s only; can be repeated' % what)
    auditing.set_defaults(run=run_audit)
    return parser


def run_audit(args: argparse.Namespace) -> int:
    """Compare, correct if asked to, and print what differs.

    :param args: the arguments of the subcommand
    :returns: the exit code
    """
    scope = census.Scope(
        cells=args.cell, hosts=args.host, servers=args.server)
    result = audit.Audit(_census(args.config_file, scope), args.fix)
    try:
        result.run()
    finally:
        # Also when somebody has lost patience.
        _print(result)
        rpc.cleanup()
    return result.code


def _census(
    config_files: Sequence[str] | None, scope: census.Scope,
) -> census.Census:
    """Set Nova up as ``nova-manage`` does."""
    config.parse_args([PROG], default_config_files=config_files)
    logging.setup(config.CONF, 'nova')
    objects.register_all()
    return census.Census(report.report_client_singleton(), scope)


def _print(result: audit.Audit) -> None:
    for title, found in (('Corrected:', result.corrected),
                         ('Different:', result.remaining)):
        if found:
            print(title)
            print(status.table(HEADER, _rows(found)))
    if result.shims:
        print('Guests that name the emulator shim:')
        print(status.table(SHIM_HEADER, (
            tuple(map(str, dataclasses.astuple(one)))
            for one in result.shims)))
    for problem in result.problems:
        print(problem, file=sys.stderr)
    print('%d servers compared, %d in transit left out' % (
        result.compared, result.in_transit))
    if result.behind:
        print('%d request specs are behind; they are brought up to date '
              'with the next move' % result.behind)
    print('%d differences' % len(result.remaining))


def _rows(found: Iterable[audit.Difference]) -> Iterable[tuple[str, ...]]:
    for one in found:
        yield (one.uuid, one.host or '', one.what, str(one.found_mb),
               str(one.expected_mb))


if __name__ == '__main__':
    sys.exit(main())
