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

"""Root file systems of later releases of Debian, for libvirt and QEMU.

Their binaries need a later C library than the machine has. nova-compute of
such a host runs on the machine all the same: it talks to libvirt's socket.
"""

import os
import shutil

from stack import apt
from stack import packages
from stack import report

# What a host is told to be -> the suite.
SUITES = {13: 'trixie'}
PACKAGES = tuple(
    name for name in packages.PACKAGES
    if name.startswith(('libvirt-daemon', 'qemu-system-')))


def path(settings, release):
    """Return the root of a release; the machine's own one for its own."""
    if release == packages.RELEASE:
        return '/'
    return settings.cache / ('debian-%d' % release)


def build(settings, note, mount_points):
    """Make the roots that the hosts need and that are not there yet.

    :param mount_points: folders to make in them
    """
    missing = [release for release in sorted(set(settings.releases))
               if not os.path.isdir(path(settings, release))]
    for release in missing:
        target = path(settings, release)
        partial = target.with_suffix('.partial')
        shutil.rmtree(partial, ignore_errors=True)
        _debootstrap(settings, SUITES[release], partial)
        for name in mount_points:
            (partial / name[1:]).mkdir(parents=True, exist_ok=True)
        partial.rename(target)
    note('%d made' % len(missing) if missing else 'all there')


def _debootstrap(settings, suite, target):
    log = settings.log('root-%s' % suite)
    mirror = apt.mirror(settings.cache / 'apt-mirror', log)
    backports = '%s-backports' % suite

    # What is mounted below the root meanwhile goes with these processes.
    def run(missing, *command):
        report.run(['unshare', '--mount', '--propagation', 'private',
                    *command], log, missing, env={
                        **os.environ, 'DEBIAN_FRONTEND': 'noninteractive',
                        'LC_ALL': 'C.UTF-8'})

    def get(*arguments):
        run('libvirt and QEMU of %s could not be installed' % backports,
            'chroot', target, 'apt-get', '-q', '-y',
            '-o', 'APT::Install-Recommends=false',
            '-o', 'Acquire::Retries=5', *arguments)

    run('Debian %s could not be installed in a folder' % suite,
        'debootstrap', '--variant=minbase', '--keyring=%s' % apt.KEYRING,
        suite, target, mirror)
    (target / 'etc/apt/sources.list.d/backports.list').write_text(
        'deb [signed-by=%s] %s %s main\n' % (apt.KEYRING, mirror, backports))
    (target / 'etc/apt/preferences.d/backports').write_text(
        packages.PREFERENCES % backports)
    policy = target / packages.POLICY.relative_to('/')
    policy.write_text(packages.POLICY_TEXT)
    policy.chmod(0o755)
    get('update')
    get('install', *PACKAGES)
    get('clean')
