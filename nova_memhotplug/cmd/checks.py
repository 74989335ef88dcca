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

"""Is the plugin installed in such a way that it can work?"""

import configparser
import dataclasses
import enum
import importlib
from importlib import metadata
import importlib.util
import os
import pathlib
import re
import stat

from nova_memhotplug.cmd import shim

#: The releases of Nova whose private parts the plugin is tested against.
OLDEST_NOVA, NEWEST_NOVA = 31, 34
DRIVER = 'nova.virt.memhotplug'
VALIDATORS = 'nova.api.extra_spec_validators'
PASTE_APP = 'app:osapi_compute_app_v21'


class Code(enum.IntEnum):
    """What a check says, and what the command exits with."""

    SUCCESS = 0
    WARNING = 1
    FAILURE = 2


@dataclasses.dataclass(frozen=True)
class Result:
    """What a check found out.

    :param name: what was checked
    :param code: how bad it is
    :param details: what was found and, if it is bad, what to do
    """

    name: str
    code: Code
    details: str


def nova_version() -> Result:
    """Check that a supported Nova is there."""
    name = 'Nova'
    try:
        version = metadata.version('nova')
    except metadata.PackageNotFoundError:
        return Result(name, Code.FAILURE, 'Nova is not installed in this '
                      'Python environment.')
    supported = '%d to %d are supported' % (OLDEST_NOVA, NEWEST_NOVA)
    major = re.match(r'\d+', version)
    known = major and OLDEST_NOVA <= int(major[0]) <= NEWEST_NOVA
    return Result(name, Code.SUCCESS if known else Code.FAILURE,
                  'Nova %s; %s.' % (version, supported))


def driver() -> Result:
    """Check that Nova finds the driver below its own package."""
    name = 'Compute driver'
    try:
        found = importlib.util.find_spec(DRIVER)
        if found is not None:
            return Result(name, Code.SUCCESS, 'in %s' % found.origin)
        nova = importlib.import_module('nova')
    except ImportError as exc:
        return Result(name, Code.FAILURE, 'Nova cannot be imported: %s.' % exc)
    ours = pathlib.Path(__file__).resolve().parents[2]
    return Result(name, Code.FAILURE, (
        'Nova is in %s and does not see %s, which is in %s. Install both in '
        'the same place and in the same way, as wheels or both editable.' % (
            os.path.dirname(nova.__file__ or ''), DRIVER, ours)))


def extra_specs() -> Result:
    """Check that Nova's API knows the plugin's extra specs."""
    name = 'Extra spec validator'
    for entry in metadata.entry_points(group=VALIDATORS, name='memhotplug'):
        try:
            entry.load()
        except Exception as exc:
            return Result(name, Code.FAILURE, '%s cannot be loaded: %s.' % (
                entry.value, exc))
        return Result(name, Code.SUCCESS, entry.value)
    return Result(name, Code.FAILURE, (
        'No entry point memhotplug in %s: nova-memhotplug is not installed '
        'in this Python environment.' % VALIDATORS))


def api_paste(path: str) -> Result:
    """Check the line of ``api-paste.ini`` that is to be changed.

    :param path: the file
    """
    name = 'API paste line'
    parser = configparser.RawConfigParser(strict=False)
    try:
        with open(path, encoding='utf-8') as stream:
            parser.read_file(stream)
        factory = parser.get(PASTE_APP, 'paste.app_factory')
    except (OSError, configparser.Error) as exc:
        return Result(name, Code.FAILURE, '%s cannot be read: %s' % (
            path, ' '.join(str(exc).split())))
    if factory.startswith('nova_memhotplug.'):
        return Result(name, Code.SUCCESS, factory)
    return Result(name, Code.FAILURE, (
        '[%s] paste.app_factory in %s is %s: the API does not have the '
        'action resizeMemory.' % (PASTE_APP, path, factory)))


def shim_links(directory: pathlib.Path) -> list[Result]:
    """Check the shim and its links, one result per emulator of this host.

    :param directory: ``[memhotplug] shim_directory``
    """
    found = shim.emulators(directory)
    if not found:
        return [Result('Shim', Code.SUCCESS, 'No QEMU on this host.')]
    remedy = 'Run "nova-memhotplug-status shim install --directory %s".' % (
        directory)
    missing = [name for name in found if not (directory / name).exists()]
    results = [_shim_link(directory / name, path, remedy)
               for name, path in found.items() if name not in missing]
    if missing:
        results.append(Result('Shim', Code.WARNING, (
            '%s has no shim for %s: the strategy shim cannot be used. %s' % (
                directory, ', '.join(missing), remedy))))
    return results


def _shim_link(
    link: pathlib.Path, emulator: pathlib.Path, remedy: str,
) -> Result:
    name = 'Shim %s' % link.name
    unsafe = shim.unsafe(link)
    if unsafe:
        return Result(name, Code.FAILURE, (
            '%s: whoever can change the shim reads the memory and disks of '
            'all guests. %s' % (unsafe, remedy)))
    closed = _closed(link.resolve())
    if closed:
        return Result(name, Code.FAILURE, (
            '%s cannot be read and run by all users (chmod 755), but libvirt '
            'starts guests as a user of their own.' % closed))
    if not shim.is_current(link):
        return Result(name, Code.WARNING, (
            '%s is not the shim of this package, perhaps that of an earlier '
            'one. %s' % (link, remedy)))
    if shim.is_stale(link, emulator):
        return Result(name, Code.WARNING, (
            '%s is newer than the shim, so that libvirt may go by what an '
            'older QEMU could do. %s' % (emulator, remedy)))
    return Result(name, Code.SUCCESS, '%s starts %s' % (link, emulator))


def _closed(path: pathlib.Path) -> pathlib.Path | None:
    """Find what keeps other users from a file: itself or a directory."""
    needed = stat.S_IROTH | stat.S_IXOTH
    for part in (path, *path.parents):
        if part.stat().st_mode & needed != needed:
            return part
        needed = stat.S_IXOTH
    return None
