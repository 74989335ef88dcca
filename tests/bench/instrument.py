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

"""Services of the sandbox that write down what they do."""

import contextlib
import pathlib
import shutil
import subprocess
import sys

from tests.bench import recorder
from tests.bench import surroundings

PLUG = pathlib.Path(recorder.__file__).resolve()


class NoPoints(Exception):
    """The table of functions does not fit the product."""


def _wanted():
    """List what is to be wrapped, as JSON: see ``points.wanted``.

    The product that is installed counts, and it may be another one than that
    of this checkout, so the checkout comes last on the path. What is imported
    to find the names does not belong into the process that measures.
    """
    done = subprocess.run(
        [sys.executable, '-P', '-W', 'ignore', '-c',
         'import sys; sys.path.append(sys.argv[1]); '
         'from tests.bench import points; sys.exit(points.main())',
         surroundings.CHECKOUT], text=True, capture_output=True)
    if done.returncode:
        raise NoPoints(done.stderr.strip())
    return done.stdout


class Instrument:
    """Restarts services with the recorder loaded, and without it again.

    :param sandbox: the ``tests.faults.machine.Machine``
    """

    def __init__(self, sandbox):
        self._machine = sandbox
        self._settings = sandbox.settings

    @contextlib.contextmanager
    def installed(self):
        """Have the recorder in the services for a while.

        :returns: the folder that they write into
        :raises NoPoints: if the product has other functions than the table
            says
        """
        wanted = _wanted()
        folder = self._settings.hook_folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / recorder.WANTED).write_text(wanted)
        self._settings.hook = PLUG
        try:
            self._machine.start()
            yield folder
        finally:
            self.remove()

    def remove(self):
        """Take the recorder out of the services, if it is in any."""
        self._settings.hook = None
        # Services whose environment is another one now are restarted.
        self._machine.start()
        shutil.rmtree(self._settings.hook_folder, ignore_errors=True)
