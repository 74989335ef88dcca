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

"""Huge pages of the machine for the guests; "down" gives them back.

What is remembered is how many pages were added, since another sandbox may
reserve some too.
"""

import json
import os
import pathlib

from stack import report

KERNEL = pathlib.Path('/sys/kernel/mm/hugepages/hugepages-2048kB')
COMPACT = pathlib.Path('/proc/sys/vm/compact_memory')
BOOT = pathlib.Path('/proc/sys/kernel/random/boot_id')
PAGES = 1024
PAGE_MIB = 2
# The kernel moves other memory out of the way, not always at once.
ATTEMPTS = 5


def record(settings):
    """Return the path of what is remembered of the reservation."""
    return settings.run / 'huge-pages.json'


def reserve(settings):
    """Add to the huge pages of the machine, unless that was done before.

    :raises SandboxError: when the machine does not have them
    """
    if not KERNEL.exists():
        raise report.SandboxError(
            'The kernel of this machine has no huge pages of %d MiB '
            '(CONFIG_HUGETLBFS).' % PAGE_MIB)
    if _remembered(settings).get('added') == PAGES:
        return
    give_back(settings)
    before = _total()
    # A run that is killed right here has added what the total then says.
    _remember(settings, before, None)
    try:
        got = _grow(before + PAGES) - before
    except OSError as exc:
        give_back(settings)
        raise report.SandboxError(
            'The huge pages of this machine cannot be changed: %s.' % exc)
    if got < PAGES:
        give_back(settings)
        raise report.SandboxError(
            'The machine has room for %d huge pages of %d MiB and the guests '
            'need %d: it has too little free memory, or in pieces too small.'
            % (got, PAGE_MIB, PAGES))
    _remember(settings, before, PAGES)


def give_back(settings):
    """Take away what was added, also by a run that was killed."""
    remembered = _remembered(settings)
    if remembered:
        added = remembered['added']
        wanted = (remembered['before'] if added is None
                  else max(0, _total() - added))
        if wanted != _total():
            _set(wanted)
    record(settings).unlink(missing_ok=True)


def used():
    """Count the pages of the machine that something uses."""
    return _total() - int((KERNEL / 'free_hugepages').read_text())


def _grow(wanted):
    """Ask for a number of pages; returns how many there are then."""
    for _attempt in range(ATTEMPTS):
        _set(wanted)
        if _total() >= wanted:
            break
        COMPACT.write_text('1')
    return _total()


def _total():
    return int((KERNEL / 'nr_hugepages').read_text())


def _set(number):
    (KERNEL / 'nr_hugepages').write_text(str(number))


def _remember(settings, before, added):
    path = record(settings)
    written = path.with_suffix('.new')
    written.write_text(json.dumps({
        'boot': BOOT.read_text(), 'before': before, 'added': added}))
    os.replace(written, path)


def _remembered(settings):
    """Read what is remembered; nothing outlives the machine's reboot."""
    try:
        remembered = json.loads(record(settings).read_text())
    except FileNotFoundError:
        return {}
    return remembered if remembered['boot'] == BOOT.read_text() else {}
