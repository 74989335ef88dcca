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

from collections.abc import Iterator
import configparser
import importlib
from importlib import metadata
import importlib.util
import os
import pathlib
import re
import stat
import typing as ty

from oslo_upgradecheck import upgradecheck

from nova_memhotplug.cmd import shim
from nova_memhotplug.core import domain
from nova_memhotplug.virt import emulator
from nova_memhotplug.virt import probe

#: The releases of Nova whose private parts the plugin is tested against.
OLDEST_NOVA, NEWEST_NOVA = 31, 34
DRIVER = 'nova.virt.memhotplug'
VALIDATORS = 'nova.api.extra_spec_validators'
PASTE_APP = 'app:osapi_compute_app_v21'

Code = upgradecheck.Code
Result = upgradecheck.Result


class Checks(upgradecheck.UpgradeCommands):
    """The checks of a host; ``check`` runs them and prints a table.

    :param directory: ``[memhotplug] shim_directory``
    :param connection: a ``libvirt.virConnect``; None where libvirt cannot be
        asked, for example on a host of nova-api alone
    :param api_paste: Nova's ``api-paste.ini``; None if it is of no interest
    """

    display_title = 'Installation of nova-memhotplug'

    def __init__(
        self, directory: pathlib.Path, connection: ty.Any,
        api_paste: str | None,
    ):
        super().__init__()
        self._upgrade_checks = (
            ('Nova', lambda _self: nova_version()),
            ('Compute driver', lambda _self: driver()),
            ('Extra spec validator', lambda _self: extra_specs()),
            ('Emulator shim', lambda _self: shims(directory, connection)))
        if api_paste is not None:
            self._upgrade_checks += ((
                'API paste line', lambda _self: paste_line(api_paste)),)


def nova_version() -> Result:
    """Check that a supported Nova is there."""
    try:
        version = metadata.version('nova')
    except metadata.PackageNotFoundError:
        return Result(Code.FAILURE, 'Nova is not installed in this Python '
                      'environment.')
    supported = '%d to %d are supported' % (OLDEST_NOVA, NEWEST_NOVA)
    major = re.match(r'\d+', version)
    known = major and OLDEST_NOVA <= int(major[0]) <= NEWEST_NOVA
    return Result(Code.SUCCESS if known else Code.FAILURE,
                  'Nova %s; %s.' % (version, supported))


def driver() -> Result:
    """Check that Nova finds the driver below its own package."""
    try:
        found = importlib.util.find_spec(DRIVER)
        if found is not None:
            return Result(Code.SUCCESS, 'in %s' % found.origin)
        nova = importlib.import_module('nova')
    except ImportError as exc:
        return Result(Code.FAILURE, 'Nova cannot be imported: %s.' % exc)
    ours = pathlib.Path(__file__).resolve().parents[2]
    return Result(Code.FAILURE, (
        'Nova is in %s and does not see %s, which is in %s. Install both in '
        'the same place and in the same way, as wheels or both editable.' % (
            os.path.dirname(nova.__file__ or ''), DRIVER, ours)))


def extra_specs() -> Result:
    """Check that Nova's API knows the plugin's extra specs."""
    for entry in metadata.entry_points(group=VALIDATORS, name='memhotplug'):
        try:
            entry.load()
        except Exception as exc:
            return Result(Code.FAILURE, '%s cannot be loaded: %s.' % (
                entry.value, exc))
        return Result(Code.SUCCESS, entry.value)
    return Result(Code.FAILURE, (
        'No entry point memhotplug in %s: nova-memhotplug is not installed '
        'in this Python environment.' % VALIDATORS))


def paste_line(path: str) -> Result:
    """Check the line of ``api-paste.ini`` that is to be changed.

    :param path: the file
    """
    parser = configparser.RawConfigParser(strict=False)
    try:
        with open(path, encoding='utf-8') as stream:
            parser.read_file(stream)
        factory = parser.get(PASTE_APP, 'paste.app_factory')
    except (OSError, configparser.Error) as exc:
        return Result(Code.FAILURE, '%s cannot be read: %s' % (
            path, ' '.join(str(exc).split())))
    if factory.startswith('nova_memhotplug.'):
        return Result(Code.SUCCESS, factory)
    return Result(Code.FAILURE, (
        '[%s] paste.app_factory in %s is %s: the API does not have the '
        'action resizeMemory.' % (PASTE_APP, path, factory)))


def shims(directory: pathlib.Path, connection: ty.Any) -> Result:
    """Check the shim for every emulator.

    :param directory: ``[memhotplug] shim_directory``
    :param connection: a ``libvirt.virConnect``; without one the emulators are
        those of this root file system
    """
    found = list(_of_libvirt(directory, connection) if connection
                 else _of_this_root(directory))
    if not found:
        return Result(Code.SUCCESS, 'No QEMU on this host.')
    results = [shim_of(*one) for one in found if not is_missing(*one)]
    missing = [one[0].name for one in found if is_missing(*one)]
    if missing:
        results.append(Result(Code.WARNING, (
            '%s no shim for %s in %s, so the strategy shim cannot be used. '
            'Where "nova-memhotplug-status probe" says that native works it '
            'is not needed. %s' % (
                'libvirt finds' if connection else 'There is',
                ', '.join(missing), directory, _remedy(directory)))))
    return Result(max(result.code for result in results), ' '.join(
        str(result.details) for result in results))


#: The path of a shim, the emulator that it stands in for, and why libvirt
#: cannot use it: '' if it finds no such file.
_Found: ty.TypeAlias = tuple[pathlib.Path, pathlib.Path, str | None]


def _of_libvirt(
    directory: pathlib.Path, connection: ty.Any,
) -> Iterator[_Found]:
    """Ask libvirt for the emulator of every supported architecture."""
    root = domain.parse(connection.getCapabilities())
    for arch in root.iterfind("guest[os_type='hvm']/arch"):
        name = arch.get('name', '')
        if name in probe.ARCHS:
            binary = pathlib.Path(arch.findtext('emulator', ''))
            path = directory / binary.name
            yield path, binary, emulator.refusal(connection, str(path), name)


def _of_this_root(directory: pathlib.Path) -> Iterator[_Found]:
    for name, binary in shim.emulators(directory).items():
        path = directory / name
        yield path, binary, None if path.exists() else ''


def is_missing(
    path: pathlib.Path, binary: pathlib.Path, refusal: str | None,
) -> bool:
    """Tell whether there is no shim, neither here nor where libvirt is."""
    return refusal == '' and not path.exists()


def shim_of(
    path: pathlib.Path, binary: pathlib.Path, refusal: str | None,
) -> Result:
    """Check a shim where libvirt is, and here if it is here as well."""
    if path.exists():
        return _in_reach(path, binary, refusal)
    if refusal:
        return _unusable(path, refusal)
    return Result(Code.SUCCESS, (
        'libvirt has %s in another root file system. Run this check in that, '
        'too, to see who can change it.' % path))


def _unusable(path: pathlib.Path, refusal: str) -> Result:
    return Result(Code.FAILURE, (
        'libvirt cannot use %s: %s. See whether AppArmor or SELinux lets it, '
        'and what its log says.' % (path, refusal or (
            'it does not find it, so it has another root file system than '
            'this one'))))


def _remedy(directory: pathlib.Path) -> str:
    return 'Run "nova-memhotplug-status shim install --directory %s".' % (
        directory)


def _in_reach(
    path: pathlib.Path, binary: pathlib.Path, refusal: str | None,
) -> Result:
    """Check a shim that is in this root file system."""
    unsafe = shim.unsafe(path)
    if unsafe:
        return Result(Code.FAILURE, (
            '%s: whoever can change the shim reads the memory and disks of '
            'all guests. %s' % (unsafe, _remedy(path.parent))))
    closed = _closed(path.resolve())
    if closed:
        return Result(Code.FAILURE, (
            '%s cannot be read and run by all users (chmod 755), but libvirt '
            'starts guests as a user of their own.' % closed))
    if refusal is not None:
        return _unusable(path, refusal)
    if not shim.is_current(path):
        return Result(Code.WARNING, (
            '%s is not the shim of this package, perhaps that of an earlier '
            'one. %s' % (path, _remedy(path.parent))))
    if binary.exists() and shim.is_stale(path, binary):
        return Result(Code.WARNING, (
            '%s is newer than the shim, so that libvirt may go by what an '
            'older QEMU could do. %s' % (binary, _remedy(path.parent))))
    return Result(Code.SUCCESS, '%s starts %s.' % (path, binary))


def _closed(path: pathlib.Path) -> pathlib.Path | None:
    """Find what keeps other users from a file: itself or a directory."""
    needed = stat.S_IROTH | stat.S_IXOTH
    for part in (path, *path.parents):
        if part.stat().st_mode & needed != needed:
            return part
        needed = stat.S_IXOTH
    return None
