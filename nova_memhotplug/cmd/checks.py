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

"""Is the plugin installed on a compute in such a way that it can work?

What concerns the whole cloud is in ``cmd.upgrade``.
"""

from collections.abc import Iterator
import importlib
from importlib import metadata
import importlib.util
import os
import pathlib
import re
import stat
import typing as ty

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from nova_memhotplug.cmd import shim
from nova_memhotplug.core import domain
from nova_memhotplug.virt import emulator
from nova_memhotplug.virt import host_facts
from nova_memhotplug.virt import probe

#: The releases of Nova whose private parts the plugin is tested against.
OLDEST_NOVA, NEWEST_NOVA = 31, 34
DRIVER = 'nova.virt.memhotplug'
DRIVER_NAME = 'memhotplug.MemHotplugLibvirtDriver'
#: Entry points without which something is missing, by their group.
ENTRY_POINTS = (('nova.api.extra_spec_validators', ('memhotplug',)),
                ('nova_memhotplug.memory_models', ('dimm',)))
#: Debian's and Ubuntu's units give it to nova-compute after nova.conf.
DEBIAN_CONFIG = pathlib.Path('/etc/nova/nova-compute.conf')

Code = upgradecheck.Code
Result = upgradecheck.Result


class Checks(upgradecheck.UpgradeCommands):
    """The checks of a host; ``check`` runs them and prints a table.

    :param conf: the configuration of Nova
    :param connection: a ``libvirt.virConnect``; None where libvirt cannot be
        asked
    """

    display_title = 'Installation of nova-memhotplug'

    def __init__(self, conf: cfg.ConfigOpts, connection: ty.Any):
        super().__init__()
        directory = pathlib.Path(conf.memhotplug.shim_directory)
        self._upgrade_checks = (
            ('Nova', lambda _self: nova_version()),
            ('Module', lambda _self: module()),
            ('Entry points', lambda _self: entry_points()),
            ('Compute driver', lambda _self: configured_driver(conf)),
            ('Emulator shim', lambda _self: shims(directory, connection)))


def nova_version() -> Result:
    """Check that a supported Nova is there."""
    try:
        version = metadata.version('nova')
    except metadata.PackageNotFoundError:
        return Result(Code.FAILURE, 'Nova is not installed in this Python '
                      'environment.')
    major = re.match(r'\d+', version)
    known = major and OLDEST_NOVA <= int(major[0]) <= NEWEST_NOVA
    return Result(Code.SUCCESS if known else Code.FAILURE, (
        'Nova %s; %d to %d are supported. All tests have run with %d, and a '
        'part of them with each of the others: see "Releases of Nova" in the '
        'installation guide.' % (
            version, OLDEST_NOVA, NEWEST_NOVA, NEWEST_NOVA)))


def module() -> Result:
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


def entry_points() -> Result:
    """Check that Nova finds the extra specs and the memory models."""
    found = []
    for group, needed in ENTRY_POINTS:
        entries = metadata.entry_points(group=group)
        missing = set(needed) - entries.names
        if missing:
            return Result(Code.FAILURE, (
                'No entry point %s in %s: nova-memhotplug is not installed '
                'in this Python environment.' % (
                    ', '.join(sorted(missing)), group)))
        for entry in entries:
            # Extra specs of others are no business of this package.
            if group != ENTRY_POINTS[0][0] or entry.name in needed:
                try:
                    entry.load()
                except Exception as exc:
                    return Result(
                        Code.FAILURE, '%s of %s cannot be loaded: %s.' % (
                            entry.value, group, exc))
                found.append(entry.name)
    return Result(Code.SUCCESS, ', '.join(found))


def configured_driver(conf: cfg.ConfigOpts) -> Result:
    """Check which driver the configuration names in the end.

    :param conf: the configuration of Nova, of the files that were asked for
    """
    name = conf.compute_driver
    if not str(name).startswith('memhotplug.'):
        return Result(Code.FAILURE, (
            '[DEFAULT] compute_driver is %s, so nova-compute does not start '
            'this package. Set it to %s in the last file that nova-compute '
            'reads.' % (name, DRIVER_NAME)))
    others = _read_after(conf)
    if others in (None, name):
        return Result(Code.SUCCESS, str(name))
    return Result(Code.WARNING, (
        '%s names %s. Where nova-compute is started with that file after '
        'nova.conf, as Debian and Ubuntu do, this counts. Set it to %s '
        'there.' % (DEBIAN_CONFIG, others, name)))


def _read_after(conf: cfg.ConfigOpts) -> str | None:
    """Read the driver out of the file that Debian has nova-compute read last.

    :returns: its name; None if there is no such file, it does not say, or it
        was among the files that were read
    """
    if not DEBIAN_CONFIG.exists() or str(DEBIAN_CONFIG) in conf.config_file:
        return None
    last = cfg.ConfigOpts()
    last.register_opt(cfg.StrOpt('compute_driver'))
    last([], default_config_files=[str(DEBIAN_CONFIG)],
         default_config_dirs=[])
    return ty.cast(str | None, last.compute_driver)


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
    results = [shim_of(one) for one in found if not one.is_missing]
    missing = [one.path.name for one in found if one.is_missing]
    if missing:
        results.append(Result(Code.WARNING, (
            '%s no shim for %s in %s, so the strategy shim cannot be used. '
            'Where "nova-memhotplug-status probe" says that native works it '
            'is not needed. %s' % (
                'libvirt finds' if connection else 'There is',
                ', '.join(missing), directory, _remedy(directory)))))
    return Result(max(result.code for result in results), ' '.join(
        str(result.details) for result in results))


class Found(ty.NamedTuple):
    """A shim, as libvirt sees it.

    :param path: of the shim
    :param binary: the emulator that it stands in for
    :param seen: where this process sees that file; None if it does not, for
        example as libvirt has another root file system
    :param refusal: why libvirt cannot use the shim: '' if it finds no such
        file, None if it can
    """

    path: pathlib.Path
    binary: pathlib.Path
    seen: pathlib.Path | None
    refusal: str | None

    @property
    def is_missing(self) -> bool:
        """Whether there is no shim, neither here nor where libvirt is."""
        return self.refusal == '' and not self.path.exists()


def _of_libvirt(
    directory: pathlib.Path, connection: ty.Any,
) -> Iterator[Found]:
    """Ask libvirt for the emulator of every supported architecture."""
    root = domain.parse(connection.getCapabilities())
    for arch in root.iterfind("guest[os_type='hvm']/arch"):
        name = arch.get('name', '')
        if name in probe.ARCHS:
            binary = pathlib.Path(arch.findtext('emulator', ''))
            path = directory / binary.name
            yield Found(path, binary, host_facts.seen_by_libvirt(binary),
                        emulator.refusal(connection, str(path), name))


def _of_this_root(directory: pathlib.Path) -> Iterator[Found]:
    for name, binary in shim.emulators(directory).items():
        path = directory / name
        yield Found(path, binary, binary, None if path.exists() else '')


def shim_of(found: Found) -> Result:
    """Check a shim where libvirt is, and here if it is here as well."""
    if found.path.exists():
        return _in_reach(found)
    if found.refusal:
        return _unusable(found.path, found.refusal)
    return Result(Code.SUCCESS, (
        'libvirt has %s in another root file system. Run this check in that, '
        'too, to see who can change it.' % found.path))


def _unusable(path: pathlib.Path, refusal: str) -> Result:
    return Result(Code.FAILURE, (
        'libvirt cannot use %s: %s. See whether AppArmor or SELinux lets it, '
        'and what its log says.' % (path, refusal or (
            'it does not find it, so it has another root file system than '
            'this one'))))


def _remedy(directory: pathlib.Path) -> str:
    return 'Run "nova-memhotplug-status shim install --directory %s".' % (
        directory)


def _in_reach(found: Found) -> Result:
    """Check a shim that is in this root file system."""
    path, binary, seen, refusal = found
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
    if seen is not None and shim.is_stale(path, seen):
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
