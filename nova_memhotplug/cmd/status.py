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

"""``nova-memhotplug-status``: for the operator of a Nova host.

Exit codes are those of ``nova-status``: 0 all well, 1 a warning, 2 a failure.
"""

import argparse
from collections.abc import Sequence
import pathlib
import sys
import textwrap
import typing as ty

from oslo_config import cfg
from oslo_utils import importutils

from nova_memhotplug.cmd import checks
from nova_memhotplug.cmd import shim
from nova_memhotplug.conf import memhotplug
from nova_memhotplug.core import strategies
from nova_memhotplug.virt import probe

libvirt = importutils.try_import('libvirt')

WIDTH = 60


class Failed(Exception):
    """A subcommand could not do its work."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: its arguments; those of the process if None
    :returns: the exit code
    """
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except (Failed, shim.ShimError, OSError, cfg.Error) as exc:
        print('Failed: %s' % exc, file=sys.stderr)
        return int(checks.Code.FAILURE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='nova-memhotplug-status', description=(
            'Tell whether memory hot-plug can work on this host.'),
        epilog='Exit codes: 0 all well, 1 a warning, 2 a failure.')
    parser.add_argument(
        '--config-file', action='append', metavar='FILE',
        help='configuration of Nova (default: where Nova looks for it)')
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    _add_check(commands)
    _add_probe(commands)
    _add_shim(commands)
    return parser


def _add_check(commands: ty.Any) -> None:
    check = commands.add_parser(
        'check', help='check how the plugin is installed')
    check.add_argument(
        '--api-paste', metavar='FILE',
        help="also check Nova's api-paste.ini (hosts of nova-api)")
    _add_shim_directory(check)
    check.set_defaults(run=run_check)


def _add_probe(commands: ty.Any) -> None:
    probing = commands.add_parser(
        'probe', help='start throw-away guests to see what can be started')
    probing.add_argument('--connection', default='qemu:///system',
                         metavar='URI', help='default: %(default)s')
    probing.add_argument('--virt-type', default='kvm',
                         choices=('kvm', 'qemu'), help='default: %(default)s')
    _add_shim_directory(probing)
    probing.set_defaults(run=run_probe)


def _add_shim(commands: ty.Any) -> None:
    commands = commands.add_parser(
        'shim', help='the emulator shim').add_subparsers(
            required=True, metavar='COMMAND')
    path = commands.add_parser('path', help=(
        'print where the package has the shim, and beside it what AppArmor '
        'and SELinux are to know'))
    path.set_defaults(run=run_shim_path)
    install = commands.add_parser('install', help=(
        'put a copy of the shim into a directory, and a link to it for each '
        'emulator; repeat it after an upgrade of this package or of QEMU'))
    install.add_argument(
        'emulators', nargs='*', metavar='EMULATOR',
        help='name of an emulator (default: those of this host)')
    remove = commands.add_parser('remove', help='take the shim away again')
    for command, run in ((install, run_shim_install),
                         (remove, run_shim_remove)):
        command.add_argument('--directory', metavar='DIR',
                             help='default: [memhotplug] shim_directory')
        command.set_defaults(run=run)


def _add_shim_directory(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        '--shim-directory', metavar='DIR', dest='directory',
        help='default: [memhotplug] shim_directory')


def _directory(args: argparse.Namespace) -> pathlib.Path:
    """Get the directory of the shim: as asked for, or configured."""
    if args.directory:
        return pathlib.Path(args.directory).absolute()
    conf = cfg.ConfigOpts()
    memhotplug.register_opts(conf)
    conf([], project='nova', default_config_files=args.config_file)
    return pathlib.Path(conf.memhotplug.shim_directory)


def run_check(args: argparse.Namespace) -> int:
    """Check the installation and print a table.

    :param args: the arguments of the subcommand
    :returns: the worst result
    """
    results = [checks.nova_version(), checks.driver(), checks.extra_specs()]
    if args.api_paste:
        results.append(checks.api_paste(args.api_paste))
    results += checks.shim_links(_directory(args))
    print(table(('Check', 'Result', 'Details'), [
        (result.name, result.code.name.capitalize(), result.details)
        for result in results]))
    return max(result.code for result in results)


def run_probe(args: argparse.Namespace) -> int:
    """Probe the host and print a table.

    :param args: the arguments of the subcommand
    :returns: a failure where no architecture can be used, a warning where
        one of them can only use existing cells
    """
    supports = _probe(args)
    print(table(('Architecture', 'Strategy', 'Works', 'Details'), [
        (support.arch, name, 'yes' if name in support.usable else 'no',
         support.refusals.get(name, ''))
        for support in supports.values() for name in strategies.ORDER]))
    if not any(support.usable for support in supports.values()):
        return checks.Code.FAILURE
    reserving = all(set(support.usable) & set(strategies.RESERVING)
                    for support in supports.values())
    return checks.Code.SUCCESS if reserving else checks.Code.WARNING


def _probe(args: argparse.Namespace) -> dict[str, strategies.ArchSupport]:
    if libvirt is None:
        raise Failed('libvirt-python is not installed')
    # libvirt prints errors by itself, which the table repeats.
    libvirt.registerErrorHandler(lambda context, error: None, None)
    try:
        connection = libvirt.open(args.connection)
        return probe.probe(
            connection, args.virt_type, str(_directory(args)))
    except libvirt.libvirtError as exc:
        raise Failed(str(exc))


def run_shim_path(args: argparse.Namespace) -> int:
    """Print where the packaged shim is."""
    print(shim.PACKAGED)
    return checks.Code.SUCCESS


def run_shim_install(args: argparse.Namespace) -> int:
    """Install the shim and print what was done.

    :param args: the arguments of the subcommand
    :returns: a warning where there is no emulator to install it for, or
        where others than root can replace it
    """
    directory = _directory(args)
    for line in shim.install(directory, args.emulators):
        print(line)
    warning = shim.unsafe(directory)
    if not (args.emulators or shim.emulators(directory)):
        warning = 'no QEMU on this host: name the emulators of libvirt\'s'
    if warning is None:
        return checks.Code.SUCCESS
    print('Warning: %s' % warning, file=sys.stderr)
    return checks.Code.WARNING


def run_shim_remove(args: argparse.Namespace) -> int:
    """Remove the shim and print what was done.

    :param args: the arguments of the subcommand
    """
    for line in shim.remove(_directory(args)):
        print(line)
    return checks.Code.SUCCESS


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table as text; long cells are wrapped.

    :param header: the titles of the columns
    :param rows: the cells
    :returns: the table
    """
    wrapped = [[_wrap(cell) for cell in row]
               for row in [header, *rows]]
    widths = [max(len(line) for row in wrapped for line in row[column])
              for column in range(len(header))]
    rule = '+%s+' % '+'.join('-' * (width + 2) for width in widths)
    lines = [rule]
    for row in wrapped:
        for number in range(max(map(len, row))):
            cells = [(cell[number:number + 1] or [''])[0].ljust(width)
                     for cell, width in zip(row, widths)]
            lines.append('| %s |' % ' | '.join(cells))
        lines.append(rule)
    return '\n'.join(lines)


def _wrap(cell: str) -> list[str]:
    return textwrap.wrap(cell, WIDTH, break_on_hyphens=False) or ['']


if __name__ == '__main__':
    sys.exit(main())
