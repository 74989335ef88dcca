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
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import pathlib
import sys
import typing as ty

from oslo_config import cfg
from oslo_serialization import jsonutils
from oslo_upgradecheck import upgradecheck
from oslo_utils import importutils
import prettytable

from nova_memhotplug.cmd import checks
from nova_memhotplug.cmd import host
from nova_memhotplug.cmd import shim
from nova_memhotplug.cmd import upgrade
from nova_memhotplug.conf import memhotplug
from nova_memhotplug.core import strategies
from nova_memhotplug.virt import emulator

libvirt = importutils.try_import('libvirt')
nova_options = importutils.try_import('nova.conf.libvirt')
nova_compute = importutils.try_import('nova.conf.compute')
# It needs Nova, whose absence another subcommand is to report.
probe = importutils.try_import('nova_memhotplug.virt.probe')

#: Of a column of a table, in characters; longer cells are wrapped.
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
    check = commands.add_parser(
        'check', help='check how the plugin is installed on a compute')
    check.set_defaults(run=run_check)
    _add_upgrade(commands)
    probing = commands.add_parser(
        'probe', help='start throw-away guests to see what can be started')
    probing.set_defaults(run=run_probe)
    looking = commands.add_parser('host', help=(
        'the same, and what else this host can do and limits'))
    looking.add_argument(
        '--format', choices=('table', 'json'), default='table',
        help='how to print it (default: %(default)s)')
    looking.set_defaults(run=run_host)
    _add_shim(commands)
    return parser


def _add_upgrade(commands: ty.Any) -> None:
    check = commands.add_parser(
        'upgrade', help='what concerns the whole cloud').add_subparsers(
            required=True, metavar='COMMAND').add_parser('check', help=(
                'check whether the cloud is ready for this version; on a '
                'host of nova-api'))
    check.add_argument(
        '--json', action='store_true', help='print JSON, not a table')
    check.add_argument(
        '--api-paste', metavar='FILE',
        help='default: [wsgi] api_paste_config')
    check.set_defaults(run=run_upgrade_check)


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


def _options(args: argparse.Namespace) -> cfg.ConfigOpts:
    """Read Nova's configuration: this package's group, and libvirt's."""
    conf = cfg.ConfigOpts()
    memhotplug.register_opts(conf)
    for options in (nova_options, nova_compute):
        if options is not None:
            options.register_opts(conf)
    conf([], project='nova', default_config_files=args.config_file)
    return conf


def _connect(conf: cfg.ConfigOpts) -> ty.Any:
    """Connect to the libvirt that Nova uses.

    :param conf: the configuration of Nova
    :returns: a ``libvirt.virConnect``
    :raises Failed: if there is none
    """
    if libvirt is None or nova_options is None:
        raise Failed('libvirt-python or Nova is not installed')
    # libvirt prints errors by itself, which are said anyway.
    libvirt.registerErrorHandler(lambda context, error: None, None)
    try:
        # As Nova does, virt/libvirt/driver.py, LibvirtDriver._uri.
        return libvirt.open(
            conf.libvirt.connection_uri or 'qemu:///system')
    except libvirt.libvirtError as exc:
        raise Failed(str(exc))


def _try_to_connect(conf: cfg.ConfigOpts) -> ty.Any:
    """Do the same, but without libvirt say so and return None."""
    try:
        return _connect(conf)
    except Failed as exc:
        print('libvirt is not asked: %s' % exc, file=sys.stderr)
        return None


def _configure(args: argparse.Namespace) -> None:
    """Have trial guests built with the options of Nova."""
    probe.CONF([], project='nova', default_config_files=args.config_file)


def run_check(args: argparse.Namespace) -> int:
    """Check the installation and print a table.

    :param args: the arguments of the subcommand
    :returns: the worst result
    """
    conf = _options(args)
    return checks.Checks(conf, _try_to_connect(conf)).check()


def run_upgrade_check(args: argparse.Namespace) -> int:
    """Check the cloud, as ``nova-status upgrade check`` does.

    :param args: the arguments of the subcommand
    :returns: the worst result; 255 if a check could not be made
    """
    upgrade.start(args.config_file)
    return upgradecheck.main(
        cfg.ConfigOpts(), 'nova', upgrade.Checks(args.api_paste),
        ['upgrade', 'check', *(['--json'] if args.json else [])],
        args.config_file)


def run_probe(args: argparse.Namespace) -> int:
    """Probe the host and print a table.

    :param args: the arguments of the subcommand
    :returns: a failure where no architecture can be used, a warning where
        one of them can only use existing cells
    """
    conf = _options(args)
    connection = _connect(conf)
    _configure(args)
    try:
        supports: dict[str, strategies.ArchSupport] = probe.probe(
            connection, conf.libvirt.virt_type,
            conf.memhotplug.shim_directory)
    except libvirt.libvirtError as exc:
        raise Failed(str(exc))
    print(table(('Architecture', 'Strategy', 'Works', 'Details'), [
        (support.arch, name, 'yes' if name in support.usable else 'no',
         support.refusals.get(name, ''))
        for support in supports.values() for name in strategies.ORDER]))
    if not any(support.usable for support in supports.values()):
        return checks.Code.FAILURE
    reserving = all(set(support.usable) & set(strategies.RESERVING)
                    for support in supports.values())
    return checks.Code.SUCCESS if reserving else checks.Code.WARNING


def run_host(args: argparse.Namespace) -> int:
    """Look at the host and print a table, or JSON.

    :param args: the arguments of the subcommand
    :returns: the worst verdict
    """
    connection = _connect(_options(args))
    _configure(args)
    try:
        lines = list(host.look(connection))
    except libvirt.libvirtError as exc:
        raise Failed(str(exc))
    if args.format == 'json':
        print(jsonutils.dumps([
            dataclasses.asdict(line) | {'level': line.level.name.lower()}
            for line in lines], indent=2))
    else:
        print(table(('Check', 'Result', 'Found', 'What to do'), [
            (line.check, line.level.name.capitalize(), line.found, line.todo)
            for line in lines]))
    return max(line.level for line in lines)


def _directory(args: argparse.Namespace) -> pathlib.Path:
    """Get the directory of the shim: as asked for, or configured."""
    if args.directory:
        return pathlib.Path(args.directory).absolute()
    return pathlib.Path(_options(args).memhotplug.shim_directory)


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
    """Remove the shim, unless it is in use, and print what was done.

    :param args: the arguments of the subcommand
    """
    directory = _directory(args)
    connection = _try_to_connect(_options(args))
    users = emulator.users(connection, str(directory)) if connection else {}
    if any(users.values()):
        raise Failed('the shim is in use, and libvirt neither starts nor '
                     'resumes a guest without it: %s' % ', '.join(
                         sorted(set().union(*users.values()))))
    for line in shim.remove(directory):
        print(line)
    return checks.Code.SUCCESS


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]],
) -> prettytable.PrettyTable:
    """Lay out a table; long cells are wrapped.

    :param header: the titles of the columns
    :param rows: the cells
    :returns: the table, to be printed
    """
    laid_out = prettytable.PrettyTable(
        header, max_width=WIDTH, align='l')
    laid_out.add_rows([list(row) for row in rows])
    return laid_out


if __name__ == '__main__':
    sys.exit(main())
