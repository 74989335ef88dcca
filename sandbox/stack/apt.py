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

"""apt with private sources, so that the machine's own stay as they are."""

import os
import pathlib
import subprocess

from stack import report

KEYRING = pathlib.Path('/usr/share/keyrings/debian-archive-keyring.gpg')
MACHINE_SOURCES = pathlib.Path('/etc/apt/sources.list')
MACHINE_PREFERENCES = pathlib.Path('/etc/apt/preferences')


def _read(path):
    return path.read_text() if path.exists() else ''


def _mirror_of(options):
    targets = subprocess.run(
        ['apt-get', *options, 'indextargets', '--format',
         '$(ORIGIN)|$(LABEL)|$(REPO_URI)', 'Created-By: Packages'],
        stdout=subprocess.PIPE, check=True, text=True).stdout
    for line in targets.splitlines():
        origin, label, uri = line.split('|')
        if origin == label == 'Debian':
            return uri
    return None


def mirror(folder, log):
    """Return the Debian mirror that the machine itself uses.

    :param folder: where the package lists are put if the machine has none
    :param log: where the output goes
    """
    uri = _mirror_of([])
    if uri is None:
        own = Apt(folder, log).as_machine()
        own('The apt sources of this machine did not answer', 'update')
        uri = _mirror_of(own.option_args())
    if uri is None:
        raise report.SandboxError(
            'This machine has no Debian mirror in its apt sources.')
    return uri


class Apt:
    """apt-get with sources, lists and cache below a folder of ours.

    :param folder: where everything is kept
    :param log: where the output goes
    """

    def __init__(self, folder, log):
        self.folder = folder
        self.log = log
        for name in ('lists/partial', 'cache/archives/partial', 'sources.d'):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.options = [
            'Dir::Etc::SourceList=%s/sources.list' % folder,
            'Dir::Etc::Preferences=%s/preferences' % folder,
            'Dir::State::Lists=%s/lists' % folder,
            'Dir::Cache=%s/cache' % folder,
            'APT::Sandbox::User=root',
            'APT::Install-Recommends=false',
            'DPkg::Lock::Timeout=300',
            # A mirror may be away for a moment.
            'Acquire::Retries=5',
        ]
        # The values inherited from the caller are for the mirror (a proxy).
        self.env = {**os.environ, 'DEBIAN_FRONTEND': 'noninteractive',
                    'LC_ALL': 'C.UTF-8'}

    def as_machine(self, suite=None, preferences=''):
        """Use the machine's sources, and one more suite of its mirror."""
        more = self._lines([suite]) if suite else ''
        (self.folder / 'sources.list').write_text(
            _read(MACHINE_SOURCES) + '\n' + more)
        (self.folder / 'preferences').write_text(
            _read(MACHINE_PREFERENCES) + '\n' + preferences)
        return self

    def stand_alone(self, suites, architecture):
        """Use nothing of the machine but its mirror."""
        status = self.folder / 'status'
        status.touch()
        (self.folder / 'sources.list').write_text(self._lines(suites))
        (self.folder / 'preferences').write_text('')
        self.options += [
            'Dir::Etc::SourceParts=%s/sources.d' % self.folder,
            'Dir::Etc::PreferencesParts=%s/sources.d' % self.folder,
            'Dir::State::status=%s' % status,
            'APT::Architecture=%s' % architecture,
            'APT::Architectures::=%s' % architecture,
        ]
        return self

    def _lines(self, suites):
        uri = mirror(self.folder.parent / 'apt-mirror', self.log)
        return ''.join('deb [signed-by=%s] %s %s main\n'
                       % (KEYRING, uri, suite) for suite in suites)

    def option_args(self):
        return [arg for option in self.options for arg in ('-o', option)]

    def argv(self, *args, tool='apt-get'):
        options = ['-q', '-y'] if tool == 'apt-get' else []
        return [tool, *options, *self.option_args(), *args]

    def __call__(self, missing, *args, **kwargs):
        report.run(self.argv(*args), self.log, missing, env=self.env,
                   **kwargs)

    def query(self, *args):
        """Return what apt-cache prints."""
        return subprocess.run(
            self.argv(*args, tool='apt-cache'), env=self.env, check=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True).stdout
