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

"""The test's side of ``points``."""

import contextlib
import os
import time

#: Seconds until a resize must have come to a point.
TIMEOUT = 60


class Pause:
    """One point of the transaction, at which the next resize stops.

    :param directory: where the processes look for pipes
    :param name: the point
    """

    def __init__(self, directory, name):
        self.name = name
        self._path = directory / name
        self._go = directory / (name + '.go')
        for path in (self._go, self._path):
            path.unlink(missing_ok=True)
            os.mkfifo(path)
        self._pipe = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        self._stopped = False

    def wait(self, seconds=TIMEOUT):
        """Wait until a process has come to the point.

        :param seconds: how long
        """
        deadline = time.monotonic() + seconds
        while not self._is_reached():
            if time.monotonic() > deadline:
                raise AssertionError(
                    'the resize did not come to %s' % self.name)
            time.sleep(0.02)
        # Only this resize stops.
        self._path.unlink()
        self._stopped = True

    def _is_reached(self):
        try:
            return bool(os.read(self._pipe, 100))
        except BlockingIOError:
            return False

    def release(self, seconds=5):
        """Let the process go on; one that was killed does not mind.

        :param seconds: how long to wait for it
        """
        if not self._stopped:
            return
        self._stopped = False
        deadline = time.monotonic() + seconds
        while not self._try_release() and time.monotonic() < deadline:
            time.sleep(0.02)

    def _try_release(self):
        return release(self._go)

    def close(self):
        """Leave nothing behind."""
        self._path.unlink(missing_ok=True)
        self.release(seconds=0.2)
        self._go.unlink(missing_ok=True)
        os.close(self._pipe)


def release(path):
    """Let a process go on that waits for a pipe.

    :param path: the pipe
    :returns: whether there was one
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def armed(directory, name):
    """Stop the next resize at a point."""
    pause = Pause(directory, name)
    try:
        yield pause
    finally:
        pause.close()


def clear(directory):
    """Release and remove what a killed test has left behind."""
    for path in directory.glob('*'):
        if path.suffix == '.go':
            release(path)
        path.unlink()
