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

"""Start processes that outlive the shell, and find them again.

Every process carries the state folder in its environment and hands it on to
its children, so the processes of a sandbox are told from all others without
a name or a stored process id. QEMU is the exception, libvirt gives it a clean
environment: it is known by the private folder that it sees at /run/libvirt.
"""

import hashlib
import os
import pathlib
import signal
import socket
import subprocess
import time

from stack import report
from stack import settings as settings_

MARK = 'MEMHOTPLUG_SANDBOX'
SERVICE = 'MEMHOTPLUG_SANDBOX_SERVICE'
PROC = pathlib.Path('/proc')


def environment(settings, service, **extra):
    """Return the whole environment of a process of ours."""
    return {
        'PATH': '%s/bin:/usr/sbin:/usr/bin:/sbin:/bin' % settings.venv,
        'HOME': str(settings.home), 'LANG': 'C.UTF-8',
        'PYTHONUNBUFFERED': '1',
        # setproctitle (Neutron) would write over the marks below.
        'SPT_NOENV': '1',
        # Neither systemd-machined nor anything else on the machine's bus is
        # told of our guests.
        'DBUS_SYSTEM_BUS_ADDRESS': 'unix:path=%s/no-bus' % settings.run,
        MARK: str(settings.state), SERVICE: service, **extra}


class Service:
    """A process to keep running.

    :param name: name of the service and of its log
    :param argv: the command
    :param files: files that make a restart necessary when they change
    :param extra: anything else that makes a restart necessary
    :param port: the port that it listens on once it is ready
    :param socket: or the unix socket
    :param env: more environment
    :param ready_timeout: seconds until it must be ready
    """

    def __init__(self, name, argv, files=(), extra='', port=None,
                 socket=None, env=None, ready_timeout=60):
        self.name = name
        self.argv = [str(arg) for arg in argv]
        self.files = files
        self.extra = extra
        self.port = port
        self.socket = socket
        self.env = env or {}
        self.ready_timeout = ready_timeout
        self.child = None

    def fingerprint(self):
        digest = hashlib.sha256(
            repr((self.argv, sorted(self.env.items()), self.extra)).encode())
        for path in self.files:
            digest.update(pathlib.Path(path).read_bytes())
        return digest.hexdigest()


def _environ(pid):
    try:
        raw = (PROC / pid / 'environ').read_bytes()
    except OSError:
        return {}
    return dict(item.split(b'=', 1) for item in raw.split(b'\0')
                if b'=' in item)


def _is_alive(pid):
    try:
        stat = (PROC / str(pid) / 'stat').read_text()
    except OSError:
        return False
    return stat.rpartition(')')[2].split()[0] not in ('Z', 'X')


def _host_of(pid, folders):
    """Return the host whose private /run/libvirt the process sees."""
    try:
        seen = os.stat('/proc/%s/root/run/libvirt' % pid)
    except OSError:
        return None
    return folders.get((seen.st_dev, seen.st_ino))


def find(settings, service=None):
    """Return {pid: service} of the running processes of this sandbox."""
    mark = str(settings.state).encode()
    folders = {}
    for folder in settings.hosts.glob('lv*/run'):
        if not folder.parent.is_symlink():
            info = folder.stat()
            folders[info.st_dev, info.st_ino] = folder.parent.name
    found = {}
    for pid in os.listdir(PROC):
        if not pid.isdigit() or int(pid) == os.getpid():
            continue
        environ = _environ(pid)
        name = None
        if environ.get(MARK.encode()) == mark:
            name = environ.get(SERVICE.encode(), b'').decode()
        else:
            host = _host_of(pid, folders)
            if host:
                name = 'guest-%s' % host
        if name and service in (None, name) and _is_alive(pid):
            found[int(pid)] = name
    return found


def is_alone(settings):
    """Return whether no process of another sandbox runs."""
    mark = str(settings.state).encode()
    return all(_environ(pid).get(MARK.encode(), mark) == mark
               for pid in os.listdir(PROC) if pid.isdigit())


def _wait_gone(pids, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pids = [pid for pid in pids if _is_alive(pid)]
        if not pids:
            break
        time.sleep(0.1)
    return pids


def _send(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def stop(settings, *services, timeout=8):
    """End the processes of some services, by force after a while."""
    def pids():
        return [pid for pid, name in find(settings).items()
                if name in services]
    _stop(pids, timeout)


def stop_all(settings, timeout=10):
    _stop(lambda: list(find(settings)), timeout)


def _stop(pids, timeout):
    targets = pids()
    _send(targets, signal.SIGTERM)
    _wait_gone(targets, timeout)
    # A process may have started another one while it was told to stop.
    for _attempt in range(5):
        targets = pids()
        if not targets:
            return
        _send(targets, signal.SIGKILL)
        _wait_gone(targets, 2)


def start(settings, service, restart=False):
    """Start a service unless it runs already with the same settings."""
    stamp = settings.run / ('%s.fingerprint' % service.name)
    fingerprint = service.fingerprint()
    if find(settings, service.name):
        same = stamp.exists() and stamp.read_text() == fingerprint
        if same and not restart:
            return False
        stop(settings, service.name)
    if service.port and not _is_free(service.port):
        raise report.SandboxError(
            'Port %d, which %s needs, is in use by another program: choose '
            'other ports with SANDBOX_PORT_BASE.'
            % (service.port, service.name))
    with settings.log(service.name).open('ab') as log:
        service.child = subprocess.Popen(
            service.argv, stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, cwd='/', start_new_session=True,
            env=environment(settings, service.name, **service.env))
    stamp.write_text(fingerprint)
    return True


def _is_free(port, seconds=5):
    """Wait a little: the last thread of what was stopped may still run."""
    deadline = time.monotonic() + seconds
    while _accepts(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _accepts(port):
    try:
        socket.create_connection((settings_.ADDRESS, port), 1).close()
    except OSError:
        return False
    return True


def _is_ready(settings, service):
    if service.port:
        return _accepts(service.port)
    if service.socket:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(service.socket))
            except OSError:
                return False
    return True


def _has_ended(settings, service):
    if service.child:
        return service.child.poll() is not None
    return not find(settings, service.name)


def wait_ready(settings, *services):
    """Wait until services answer.

    :raises SandboxError: naming the first one that ended or never answered
    """
    for service in services:
        deadline = time.monotonic() + service.ready_timeout
        while not _is_ready(settings, service):
            if _has_ended(settings, service):
                raise report.SandboxError(
                    '%s ended while it was starting; the last lines of %s '
                    'say why.' % (service.name, settings.log(service.name)))
            if time.monotonic() > deadline:
                raise report.SandboxError(
                    '%s did not answer within %d s; see %s.'
                    % (service.name, service.ready_timeout,
                       settings.log(service.name)))
            time.sleep(0.1)
