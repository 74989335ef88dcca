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

"""Runs the real shim in front of an emulator that prints its arguments."""

import os
import pathlib
import shutil
import subprocess

import fixtures

SHIM = (pathlib.Path(__file__).resolve().parents[3] /
        'nova_memhotplug' / 'libexec' / 'qemu-memhotplug-shim')
NAME = 'qemu-system-x86_64'
FAKE = """#!/bin/sh
printf '%s\\0' $$ "$0" "$@"
"""


def shells():
    """List the shells of this machine that may be a host's /bin/sh."""
    found = [shutil.which(name) for name in ('sh', 'dash', 'bash', 'ksh')]
    return list({os.path.realpath(shell): shell
                 for shell in found if shell}.values())


class ShimFixture(fixtures.Fixture):
    """A link to the shim and, beside it, one to a fake emulator.

    The fake one is found as an emulator in an unusual place is found on a
    host: by the name of the link with ``.real`` added.
    """

    def _setUp(self):
        root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.link = root / NAME
        self.link.symlink_to(SHIM)
        self.emulator = root / 'fake'
        self.emulator.write_text(FAKE)
        self.emulator.chmod(0o755)
        self.real = root / (NAME + '.real')
        self.real.symlink_to(self.emulator)

    def start(self, arguments, shell=None, **kwargs):
        """Start the shim and wait for it.

        :param arguments: its arguments, str (with surrogates for bytes)
        :param shell: a shell to run it with, instead of its own #! line
        :returns: the subprocess.CompletedProcess, output in bytes
        """
        command = [shell] if shell else []
        command += [str(self.link), *arguments]
        return subprocess.run(
            [os.fsencode(word) for word in command], capture_output=True,
            timeout=60, **kwargs)

    def run(self, arguments, shell=None):
        """Start the shim and tell what the emulator got.

        :returns: the list of the emulator's arguments
        """
        done = self.start(arguments, shell=shell)
        if done.returncode or done.stderr:
            raise AssertionError(done)
        words = [os.fsdecode(word) for word in done.stdout.split(b'\0')]
        return words[2:-1]
