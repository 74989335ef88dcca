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

"""The machine and the versions that a result belongs to."""

import datetime
from importlib import metadata
import os
import pathlib
import re
import subprocess

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


def describe(versions, console, checkout):
    """Say where and when something is measured.

    :param versions: of libvirt and QEMU, by name
    :param console: of a guest
    :param checkout: where the package comes from
    :returns: a document with ``date``, ``machine`` and ``versions``
    """
    return {
        'date': datetime.datetime.now(
            datetime.timezone.utc).strftime('%Y-%m-%d %H:%M UTC'),
        'machine': {
            'cores': os.cpu_count(),
            'memory_gib': round(os.sysconf('SC_PHYS_PAGES') *
                                os.sysconf('SC_PAGE_SIZE') / 2**30),
            'processor': _processor(pathlib.Path('/proc/cpuinfo').read_text()),
            'load': round(os.getloadavg()[0], 1),
        },
        'versions': {
            'nova': metadata.version('nova'), **versions,
            'kernel of the guests': kernel(console),
            'commit': _commit(checkout),
        },
    }


def kernel(console):
    """Find the kernel of a guest on its console."""
    found = re.search(r'GUEST boot \S+ kernel=(\S+)', console)
    return found[1] if found else 'unknown'


def _processor(text):
    found = re.search(r'^model name\s*: (.+)$', text, re.MULTILINE)
    return found[1].strip() if found else 'unknown'


def _commit(checkout):
    """Name the commit, with a + if the checkout has changes."""
    def git(*arguments):
        return subprocess.run(
            ['git', '-c', 'safe.directory=*', '-C', checkout, *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True).stdout.strip()

    changed = git('status', '--porcelain', '--untracked-files=no')
    return (git('rev-parse', '--short=10', 'HEAD') or 'unknown') + (
        '+' if changed else '')
