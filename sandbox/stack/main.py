# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""The commands of ``sandbox/sandbox``."""

import argparse
import concurrent.futures
import fcntl
import os
import pathlib
import shlex
import signal
import sys
import time

from stack import compute
from stack import database
from stack import glance
from stack import hugepages
from stack import images
from stack import keystone
from stack import messaging
from stack import neutron
from stack import nova
from stack import packages
from stack import placement
from stack import plugin
from stack import process
from stack import report
from stack import root
from stack import settings as settings_
from stack import tempest as tempest_
from stack import venv


def up(settings, args):
    """Install what is missing and start what does not run."""
    started = time.monotonic()
    settings.prepare(args.hosts, args.nova)
    with _one_at_a_time(settings):
        _install(settings)
        _start(settings)
    print('The cloud is up after %.0f s. Use it with: eval "$(%s env)"; %s'
          % (time.monotonic() - started, sys.argv[0],
             settings.bin('openstack')))


def _one_at_a_time(settings):
    lock = open(settings.run / 'lock', 'w')
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise report.SandboxError(
            'Another "sandbox" command is changing %s right now.'
            % settings.state)
    return lock


def _install(settings):
    with report.step('Debian packages') as note:
        packages.install(settings, note)
    with report.step('libvirt and QEMU of later releases') as note:
        root.build(settings, note, compute.MOUNT_POINTS)
    with report.step('Python packages') as note:
        venv.install(settings, note)
    with report.step('plugin of this checkout') as note:
        plugin.install(settings, note)
    with report.step('guest images and firmware') as note:
        images.build(settings, note)


def _start(settings):
    # First: most memory is free now. The computes read what there is.
    with report.step('huge pages'):
        hugepages.reserve(settings)
    with report.step('database and broker'):
        process.wait_ready(settings, database.start(settings),
                           messaging.start(settings))
    with report.step('configuration of Nova'):
        nova.configure(settings)
        compute.configure(settings)
        compute.stop_surplus(settings)
    with report.step('database schemas'):
        _together(settings, keystone.sync, placement.sync, glance.sync,
                  neutron.sync, nova.sync)
    with report.step('Keystone, its users and catalogue'):
        process.wait_ready(settings, keystone.start(settings))
        keystone.register(settings)
    with report.step('Placement, Glance, Neutron, Nova and libvirt'):
        services = [placement.start(settings), glance.start(settings),
                    neutron.start(settings), *nova.start(settings),
                    *compute.start_hypervisors(settings)]
        process.wait_ready(settings, *services)
    with report.step('computes %s' % ', '.join(settings.hostnames)):
        process.wait_ready(settings, *compute.start(settings))
        _together(settings, glance.upload, nova.register, nova.discover)
        compute.wait_ready(settings)
    missing = _not_running(settings)
    if missing:
        raise report.SandboxError(
            '%s ended soon after it was started; see %s.'
            % (missing[0], settings.log(missing[0])))


def _not_running(settings):
    expected = {'database', 'epmd', 'messaging', 'keystone', 'placement',
                'glance', 'neutron', 'nova', 'nova-conductor',
                'nova-scheduler'}
    for host in settings.hostnames:
        expected |= {'libvirtd-%s' % host, 'nova-compute-%s' % host}
    return sorted(expected - set(process.find(settings).values()))


def _together(settings, *functions):
    """Call functions at the same time; the first failure is raised."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for done in [pool.submit(function, settings)
                     for function in functions]:
            done.result()


def reload(settings, args):
    """Install the plugin again and restart what has it loaded."""
    with _one_at_a_time(settings):
        with report.step('plugin of this checkout') as note:
            plugin.install(settings, note)
        with report.step('nova-api and the computes'):
            nova.configure(settings)
            compute.configure(settings)
            process.stop(settings, 'nova', *(
                'nova-compute-%s' % host for host in settings.hostnames))
            services = nova.start(settings) + compute.start(settings)
            process.wait_ready(settings, *services)
            compute.wait_ready(settings)


def env(settings, args):
    """Print the environment of a user, for eval in a shell."""
    for name, value in settings.credentials(args.user).items():
        print('export %s=%s' % (name, shlex.quote(value)))


def status(settings, args):
    """Say what runs."""
    settings.answers
    running = {}
    for pid, name in sorted(process.find(settings).items()):
        running.setdefault(name, []).append(str(pid))
    print('state   %s' % settings.state)
    for name in sorted(running):
        port = (':%d' % settings.port(name)
                if name in settings_.PORTS else '')
        print('%-20s %-7s pid %s' % (name, port, ' '.join(running[name])))
    missing = _not_running(settings)
    if missing:
        print('does not run: %s' % ', '.join(missing))
    return 1 if missing else 0


def demo(settings, args):
    """Grow one guest per architecture through the public API."""
    settings.answers
    os.execve(settings.bin('python'),
              [str(settings.bin('python')),
               str(settings_.SANDBOX / 'cloud' / 'demo.py')],
              {**process.environment(settings, 'demo'),
               'PYTHONDONTWRITEBYTECODE': '1',
               **settings.credentials('member')})


def tempest(settings, args):
    """Write tempest.conf and the accounts for it into a folder."""
    settings.answers
    tempest_.configure(settings, args.folder.absolute(), not args.member,
                       args.dynamic)


def down(settings, args):
    """Stop everything that was started, and nothing else."""
    # Nothing is touched, still less removed, where there is no sandbox.
    settings.answers
    with _one_at_a_time(settings):
        _stop(settings)
    if args.purge:
        with report.step('remove %s' % settings.state):
            settings.remove()


def _stop(settings):
    try:
        _stop_services(settings)
    finally:
        hugepages.give_back(settings)


def _stop_services(settings):
    hosts = compute.all_hosts(settings)
    with report.step('guests') as note:
        note('%d turned off' % sum(compute.destroy_guests(settings, host)
                                   for host in hosts))
    with report.step('computes and their hypervisors'):
        process.stop(settings, *(
            kind + host for kind in ('nova-compute-', 'libvirtd-', 'guest-')
            for host in hosts))
    with report.step('everything else'):
        process.stop_all(settings)
        compute.remove_mount_points(settings)
        for path in settings.run.glob('*.fingerprint'):
            path.unlink()


def _computes(text):
    number = int(text)
    if not 1 <= number <= settings_.MAX_COMPUTES:
        raise argparse.ArgumentTypeError(
            'choose 1 to %d' % settings_.MAX_COMPUTES)
    return [packages.RELEASE] * number


def _hosts(text):
    releases = [int(release) for release in text.split(',')]
    known = [packages.RELEASE, *root.SUITES]
    if not set(releases) <= set(known) or (
            len(releases) > settings_.MAX_COMPUTES):
        raise argparse.ArgumentTypeError(
            'choose 1 to %d of %s' % (
                settings_.MAX_COMPUTES, ', '.join(map(str, known))))
    return releases


def _parser():
    parser = argparse.ArgumentParser(
        prog='sandbox', description='A real OpenStack on this machine.')
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    def add(function):
        command = commands.add_parser(function.__name__,
                                      help=function.__doc__)
        command.set_defaults(function=function)
        return command

    command = add(up)
    command.add_argument('--nova', type=int, choices=settings_.NOVAS,
                         help='release of Nova, and of what came with it (%d '
                         'at first)' % settings_.NEWEST_NOVA)
    hosts = command.add_mutually_exclusive_group()
    hosts.add_argument('--computes', type=_computes, metavar='N',
                       dest='hosts', help='number of computes (2 at first)')
    hosts.add_argument('--hosts', type=_hosts, metavar='12,13',
                       help='computes with the libvirt and the QEMU of these '
                       'releases of Debian')
    add(reload)
    add(env).add_argument('user', nargs='?', default='admin',
                          choices=settings_.USERS)
    add(status)
    add(demo)
    command = add(tempest)
    command.add_argument('folder', type=pathlib.Path)
    accounts = command.add_mutually_exclusive_group()
    accounts.add_argument('--member', action='store_true',
                          help='without the account of the administrator')
    accounts.add_argument('--dynamic', action='store_true',
                          help='with accounts that Tempest makes')
    add(down).add_argument('--purge', action='store_true',
                           help='also remove the state folder')
    return parser


def main():
    args = _parser().parse_args()
    # An ordinary end, so that what must be put back is put back.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if os.geteuid() and args.function is not env:
        print('sandbox: only root can mount and start guests.',
              file=sys.stderr)
        return 1
    try:
        return args.function(settings_.from_environment(), args) or 0
    except report.SandboxError as exc:
        print('sandbox: %s' % exc, file=sys.stderr)
    except KeyboardInterrupt:
        print('sandbox: interrupted.', file=sys.stderr)
    return 1
