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

"""The virtual environment with OpenStack and its clients."""

import hashlib
import json
import os
import shutil

from stack import process
from stack import report
from stack import settings as settings_

PYTHON = '/usr/bin/python3'
REQUIREMENTS = settings_.SANDBOX / 'requirements.txt'

#: An index may be away for a moment: pip waits longer from try to try.
RETRIES = 10


def pip(settings, missing, *args, **environ):
    """Run pip of the virtual environment."""
    report.run([settings.bin('python'), '-m', 'pip', '-q',
                '--disable-pip-version-check', '--retries', str(RETRIES),
                *args], settings.log('pip'),
               missing, env={**os.environ, **environ})


def constraints(settings):
    """Return the file with every release that is installed."""
    if settings.nova == settings_.NEWEST_NOVA:
        return settings_.SANDBOX / 'constraints.txt'
    return settings_.SANDBOX / ('constraints-%d.txt' % settings.nova)


def install(settings, note):
    """Create the virtual environment, or bring it to the constraints."""
    pins = constraints(settings)
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() +
                            pins.read_bytes()).hexdigest()
    stamp = settings.venv / 'sandbox.sha256'
    if stamp.exists() and stamp.read_text() == wanted:
        note('all there')
        return
    if not settings.bin('pip').exists():
        shutil.rmtree(settings.venv, ignore_errors=True)
        report.run([PYTHON, '-m', 'venv', settings.venv],
                   settings.log('pip'), 'A Python virtual environment could '
                   'not be created')
    # A few old packages have no wheel: what builds them comes first.
    pip(settings, 'setuptools and wheel could not be installed',
        'install', '-c', pins, 'setuptools', 'wheel')
    pip(settings, 'OpenStack could not be installed from the Python package '
        'index', 'install', '-c', pins, '-r', REQUIREMENTS)
    stamp.write_text(wanted)


def release(settings, name):
    """Return the pinned release of a distribution."""
    pins = constraints(settings)
    for line in pins.read_text().splitlines():
        if line.startswith('%s==' % name):
            return line
    raise report.SandboxError('%s has no line for %s.' % (pins, name))


def cloud(settings, script, missing, wanted):
    """Run a script of sandbox/cloud/ as the cloud's admin.

    :param wanted: what it is to bring about, handed over as JSON
    """
    target = settings.run / ('%s.json' % script)
    target.touch(mode=0o600)
    target.write_text(json.dumps(wanted))
    report.run([settings.bin('python'), settings_.SANDBOX / 'cloud' / script,
                target], settings.log('cloud'), missing,
               env=process.environment(settings, 'cloud',
                                       **settings.credentials('admin')))
