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

"""The plugin of a checkout, this one or another, installed for Nova."""

import hashlib
import json
import shutil
import subprocess

from stack import venv

# Not part of the distribution: a change there restarts nothing.
SKIPPED = ('sandbox/', 'tests/', 'doc/', 'api-ref/', 'releasenotes/',
           'devstack/', 'tools/', '.')
CHECK = """\
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as exc:
        print('%s: %s: %s' % (name, type(exc).__name__, exc))
        break
"""
ROUTER = 'nova_memhotplug.api.router'
DRIVER = 'nova.virt.memhotplug'


def _files(checkout):
    """Return what git knows of and the new files that it does not ignore."""
    output = subprocess.run(
        ['git', '-c', 'safe.directory=*', '-C', checkout,
         'ls-files', '-z', '--cached', '--others', '--exclude-standard'],
        check=True, stdout=subprocess.PIPE, text=True).stdout
    return sorted(
        name for name in set(output.split('\0'))
        if name and not name.startswith(SKIPPED)
        and '__pycache__' not in name
        and (checkout / name).is_file())


def digest(checkout):
    """Return a digest of the plugin in a checkout."""
    result = hashlib.sha256()
    for name in _files(checkout):
        result.update(name.encode() + b'\0')
        result.update((checkout / name).read_bytes() + b'\0')
    return result.hexdigest()


def _version(checkout):
    """Return the version from the newest tag, as the copy has no git."""
    output = subprocess.run(
        ['git', '-c', 'safe.directory=*', '-C', checkout,
         'describe', '--tags', '--abbrev=0'], stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True).stdout.strip()
    return output or '0.1.0'


def _stamp(settings):
    return settings.venv / 'plugin.json'


def state(settings):
    """Return {'digest': of what was tried, 'problem': why it is not used}."""
    stamp = _stamp(settings)
    if not stamp.exists():
        return {'digest': '', 'problem': 'it was never installed'}
    return json.loads(stamp.read_text())


def is_usable(settings):
    return not state(settings)['problem']


def install(settings, note):
    """Install the plugin, unless exactly this is installed.

    Nova is a wheel in the virtual environment, so the plugin must be one: an
    editable install cannot add to the package ``nova.virt``. The build uses a
    copy, which leaves nothing behind in the checkout.

    A plugin that cannot be imported is removed again: its entry points alone
    would keep nova-api from starting.
    """
    wanted = 'stock' if settings.stock_nova else digest(settings.plugin)
    if state(settings)['digest'] != wanted:
        _stamp(settings).unlink(missing_ok=True)
        if settings.stock_nova:
            problem = 'SANDBOX_STOCK_NOVA is set'
        else:
            _build(settings)
            problem = _problem(settings)
        if problem:
            venv.pip(settings, 'The plugin could not be uninstalled',
                     'uninstall', '-y', 'nova-memhotplug')
        _stamp(settings).write_text(
            json.dumps({'digest': wanted, 'problem': problem}))
    else:
        note('unchanged')
    if not is_usable(settings):
        note('NOT USED: %s' % state(settings)['problem'])


def _build(settings):
    checkout = settings.plugin
    if not (checkout / 'pyproject.toml').exists():
        return
    work = settings.run / 'plugin'
    shutil.rmtree(work, ignore_errors=True)
    for name in _files(checkout):
        target = work / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(checkout / name, target)
    # pyproject.toml may name files that a young checkout does not have yet.
    for name in ('README.rst', 'LICENSE'):
        (work / name).touch()
    venv.pip(settings, 'The plugin of this checkout could not be built',
             'install', '--no-deps', '--no-build-isolation', '--no-index',
             '--force-reinstall', work, PBR_VERSION=_version(checkout))
    shutil.rmtree(work)


def _problem(settings):
    """Return why Nova cannot use the plugin, '' if it can."""
    return subprocess.run(
        [settings.bin('python'), '-c', CHECK, ROUTER, DRIVER], check=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        cwd='/').stdout.strip()
