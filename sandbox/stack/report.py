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

"""What the user sees: steps with their time, and failures in a sentence."""

import contextlib
import subprocess
import sys
import time


class SandboxError(Exception):
    """A step failed; the message is the one sentence that the user reads."""


@contextlib.contextmanager
def step(title):
    """Print a step when it starts and how long it took when it ends."""
    print('%-58s' % title, end='', flush=True)
    started = time.monotonic()
    notes = []
    try:
        yield notes.append
    except BaseException:
        print(' failed after %.1f s' % (time.monotonic() - started))
        raise
    print(' %6.1f s%s' % (time.monotonic() - started,
                          '  ' + '; '.join(notes) if notes else ''),
          flush=True)


def warn(message):
    """Say something that the user should know but that is no failure."""
    print('\nwarning: %s' % message, file=sys.stderr, flush=True)


def run(argv, log, missing, **kwargs):
    """Run a command to its end, with its output in a log file.

    :param argv: the command
    :param log: path of the log; what is there already is kept
    :param missing: what to say, in one sentence, when the command fails
    :raises SandboxError: with that sentence and the name of the log
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('ab') as output:
        output.write(('+ %s\n' % ' '.join(map(str, argv))).encode())
        output.flush()
        try:
            subprocess.run([str(arg) for arg in argv], check=True,
                           stdin=subprocess.DEVNULL, stdout=output,
                           stderr=subprocess.STDOUT, **kwargs)
        except (subprocess.CalledProcessError, OSError) as exc:
            sentence = '%s (%s; see %s)' % (missing, exc, log)
            raise SandboxError(sentence)
