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

"""The processes of the sandbox: found, killed and started again."""

import os
import pathlib
import signal
import subprocess
import sys
import time

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / 'sandbox'))

from stack import compute  # noqa: E402
from stack import database  # noqa: E402
from stack import messaging  # noqa: E402
from stack import nova  # noqa: E402
from stack import placement  # noqa: E402
from stack import process  # noqa: E402
from stack import report  # noqa: E402
from stack import settings as settings_  # noqa: E402
from stack import wsgi  # noqa: E402

SandboxError = report.SandboxError

API = 'nova'
BROKER = 'messaging'
CONDUCTOR = 'nova-conductor'
PLACEMENT = 'placement'
#: The application of ``placement_app`` reads from it what to do wrong.
PLACEMENT_FAULT = 'MEMHOTPLUG_PLACEMENT_FAULT'


class Machine:
    """The machine that the sandbox runs on, as one of its hosts sees it.

    :param host: name of the host; None for the first one
    """

    def __init__(self, host=None):
        self.settings = settings_.from_environment()
        self.host = host or self.settings.hostnames[0]
        self.compute = 'nova-compute-' + self.host
        self.libvirtd = 'libvirtd-' + self.host
        self.points_folder = self.settings.hook_folder

    def prepare(self):
        """Have nova-api and nova-compute stop where they are told to."""
        self.settings.hook = CHECKOUT / 'tests' / 'faults' / 'points.py'
        self.start()

    def pids(self, service):
        """List the process ids of a service."""
        return list(process.find(self.settings, service))

    def kill(self, service):
        """Kill a service with SIGKILL and wait until it is gone."""
        self._kill(lambda: self.pids(service), service)

    def kill_guest(self, server_id):
        """Kill the QEMU of a server."""
        self._kill(lambda: self._guest_pids(server_id), server_id)

    def _guest_pids(self, server_id):
        return [pid for pid in self.pids('guest-' + self.host)
                if server_id.encode() in pathlib.Path(
                    '/proc/%d/cmdline' % pid).read_bytes()]

    @staticmethod
    def _kill(list_pids, name):
        pids = list_pids()
        if not pids:
            raise AssertionError('%s does not run' % name)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while list_pids():
            if time.monotonic() > deadline:
                raise AssertionError('%s cannot be killed' % name)
            time.sleep(0.05)

    def freeze(self, service):
        """Let a service do nothing at all."""
        for pid in self.pids(service):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self, service):
        """Let a frozen service go on."""
        for pid in self.pids(service):
            os.kill(pid, signal.SIGCONT)

    def break_placement(self, fault):
        """Put a placement that does something wrong into its place.

        :param fault: a name of ``placement_app``
        """
        folder = self.settings.etc / 'placement'
        service = wsgi.service(
            self.settings, PLACEMENT, 'tests.faults.placement_app',
            [folder / 'placement.conf'], {
                'OS_PLACEMENT_CONFIG_DIR': str(folder),
                'PYTHONPATH': str(CHECKOUT), PLACEMENT_FAULT: fault})
        process.start(self.settings, service)
        process.wait_ready(self.settings, service)

    def start_broker(self):
        """Start RabbitMQ."""
        process.wait_ready(self.settings, messaging.start(self.settings))

    def start(self):
        """Start what does not run and wait until everything is ready."""
        settings = self.settings
        self.thaw(CONDUCTOR)
        process.wait_ready(settings, database.start(settings),
                           messaging.start(settings))
        process.wait_ready(
            settings, placement.start(settings), *nova.start(settings),
            *compute.start_hypervisors(settings))
        process.wait_ready(settings, *compute.start(settings))
        compute.wait_ready(settings)

    def virsh(self, *arguments):
        """Run a command of virsh on the host.

        :returns: what it printed; None if it failed
        """
        done = subprocess.run(
            ['virsh', '-q', '-c', compute.uri(self.settings, self.host),
             *arguments], text=True, timeout=60, capture_output=True)
        return None if done.returncode else done.stdout

    def query(self, statement):
        """Ask the database for one value.

        :param statement: a SELECT
        :returns: the value as text
        """
        return subprocess.run(
            ['mariadb', '-S', self.settings.run / 'mariadb.sock', '-N', '-B',
             '--raw', '-e', statement], text=True, check=True,
            stdout=subprocess.PIPE).stdout.strip()
