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

"""Debian packages that are installed on the machine itself."""

import contextlib
import os
import pathlib
import subprocess

from stack import apt
from stack import report

#: The release of Debian that the machine has.
RELEASE = 12
BACKPORTS = 'bookworm-backports'
PREFERENCES = """\
Package: src:libvirt src:libvirt-python src:qemu src:seabios
Pin: release n=%s
Pin-Priority: 990
"""

# Packages without a server in them, or whose server libvirt's packages split
# off: nothing of these runs by itself.
PACKAGES = (
    'libvirt-daemon', 'libvirt-daemon-driver-qemu',
    'libvirt-daemon-driver-nodedev', 'libvirt-daemon-driver-secret',
    'libvirt-daemon-driver-storage', 'libvirt-daemon-driver-network',
    'libvirt-daemon-driver-nwfilter', 'libvirt-daemon-driver-interface',
    'libvirt-clients', 'libvirt-dev',
    'qemu-system-x86', 'qemu-system-arm', 'qemu-utils',
    'mariadb-server-core', 'mariadb-client-core', 'rabbitmq-server',
    'python3-venv', 'python3-dev', 'gcc', 'libc6-dev', 'pkg-config',
    'binutils', 'iproute2', 'procps', 'util-linux', 'git',
)
# Older ones cannot run what the sandbox is for, see README.rst.
MINIMUM = {'libvirt-daemon': '10.0', 'qemu-system-x86': '1:8.2',
           'qemu-system-arm': '1:8.2'}

POLICY = pathlib.Path('/usr/sbin/policy-rc.d')
POLICY_KEPT = pathlib.Path('/usr/sbin/policy-rc.d.before-sandbox')
POLICY_TEXT = '#!/bin/sh\n# nova-memhotplug sandbox: start none.\nexit 101\n'
ENABLED = ('/etc/systemd/system', '/etc/systemd/user', '/etc/rc*.d')


def installed():
    """Return {package: version} of what the machine has."""
    output = subprocess.run(
        ['dpkg-query', '-W', '-f', '${Package} ${db:Status-Status} '
         '${Version}\n'], stdout=subprocess.PIPE, check=True,
        text=True).stdout
    found = {}
    for line in output.splitlines():
        name, status, version = line.split(' ')
        if status == 'installed':
            found[name] = version
    return found


def _check_versions(found):
    for name, minimum in MINIMUM.items():
        if name in found and subprocess.run(
                ['dpkg', '--compare-versions', found[name], 'ge',
                 minimum]).returncode:
            raise report.SandboxError(
                '%s %s is installed on this machine and is left as it is, '
                'but the sandbox needs %s or later.'
                % (name, found[name], minimum))


def restore_policy():
    """Put the machine's policy-rc.d back, also after a killed run."""
    if POLICY_KEPT.exists():
        os.replace(POLICY_KEPT, POLICY)
    elif POLICY.exists() and POLICY.read_text() == POLICY_TEXT:
        POLICY.unlink()


def _links():
    found = set()
    for pattern in ENABLED:
        for top in pathlib.Path('/').glob(pattern[1:]):
            found.update(path for path in top.rglob('*')
                         if path.is_symlink())
    return found


@contextlib.contextmanager
def _nothing_started():
    """Keep packages from starting or enabling what they bring."""
    restore_policy()
    before = _links()
    if POLICY.exists():
        os.rename(POLICY, POLICY_KEPT)
    POLICY.write_text(POLICY_TEXT)
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        restore_policy()
        for link in _links() - before:
            link.unlink()
            if not os.listdir(link.parent):
                link.parent.rmdir()


def install(settings, note):
    """Install what is missing; what is there is left as it is."""
    restore_policy()
    found = installed()
    _check_versions(found)
    wanted = list(PACKAGES)
    if set(settings.releases) != {RELEASE}:
        wanted.append('debootstrap')
    missing = [name for name in wanted if name not in found]
    if not missing:
        note('all there')
        return
    log = settings.log('packages')
    get = apt.Apt(settings.cache / 'apt-machine', log).as_machine(
        BACKPORTS, PREFERENCES % BACKPORTS)
    get('The Debian mirror of this machine did not answer', 'update')
    with _nothing_started():
        get('Debian packages could not be installed', 'install', *missing)
    get('The downloaded packages could not be removed', 'clean')
    _check_versions(installed())
    note('%d packages asked for' % len(missing))
