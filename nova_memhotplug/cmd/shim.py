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

"""Where the emulator shim is, and the links through which it is called."""

from collections.abc import Iterator
import os
import pathlib
import stat
import sysconfig

SHIM = 'qemu-memhotplug-shim'
#: Where the shim looks for emulators, in its order (see its source).
EMULATOR_DIRECTORIES = tuple(map(
    pathlib.Path, ('/usr/local/bin', '/usr/bin', '/usr/libexec')))
EMULATOR_NAMES = ('qemu-system-*', 'qemu-kvm')
#: A link ``qemu-system-x86_64.real`` beside that of the shim names an
#: emulator that is somewhere else.
REAL = '.real'


class ShimError(Exception):
    """The shim cannot be found, or its links cannot be made safely."""


def packaged() -> pathlib.Path:
    """Find the shim that came with this package.

    :returns: its path
    :raises ShimError: if it was not installed
    """
    source = pathlib.Path(__file__).resolve().parents[2] / 'libexec'
    installed = pathlib.Path(
        sysconfig.get_path('data'), 'libexec', 'nova-memhotplug')
    for directory in (installed, source):
        if (directory / SHIM).is_file():
            return directory / SHIM
    raise ShimError('%s is not in %s' % (SHIM, installed))


def emulators(
    directory: pathlib.Path | None = None,
) -> dict[str, pathlib.Path]:
    """Find the QEMU emulators of this host, as the shim finds them.

    :param directory: where links to the shim are or will be
    :returns: their paths by name, sorted by name
    """
    found: dict[str, pathlib.Path] = {}
    for path in _candidates(directory):
        name = path.name.removesuffix(REAL)
        if (path.is_file() and os.access(path, os.X_OK) and
                path.resolve().name != SHIM):
            found.setdefault(name, path)
    return dict(sorted(found.items()))


def _candidates(directory: pathlib.Path | None) -> Iterator[pathlib.Path]:
    if directory is not None:
        yield from directory.glob('*' + REAL)
    for place in EMULATOR_DIRECTORIES:
        for pattern in EMULATOR_NAMES:
            yield from place.glob(pattern)


def is_stale(shim: pathlib.Path, emulator: pathlib.Path) -> bool:
    """Tell if libvirt may remember an older emulator behind the shim.

    libvirt caches what an emulator can do until the ctime of the file that
    ``<emulator>`` names changes (src/qemu/qemu_capabilities.c,
    virQEMUCapsIsValid). That file is the shim, which a QEMU upgrade leaves
    alone.

    :param shim: the shim, or a link to it
    :param emulator: the emulator that it starts
    :returns: whether the emulator changed after the shim
    """
    return emulator.stat().st_ctime_ns > shim.stat().st_ctime_ns


def refresh(shim: pathlib.Path) -> None:
    """Give the shim a new ctime, and leave everything else as it is.

    :param shim: the shim, or a link to it
    :raises OSError: if the caller does not own it
    """
    seen = shim.stat()
    os.utime(shim, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def writable_by_others(directory: pathlib.Path) -> str | None:
    """Tell who else might plant an emulator in a directory.

    :param directory: an existing directory
    :returns: None, or why the directory is not safe
    """
    seen = directory.stat()
    if seen.st_mode & stat.S_IWOTH:
        return '%s is writable by everyone' % directory
    if seen.st_mode & stat.S_IWGRP and seen.st_gid != 0:
        return '%s is writable by group %d' % (directory, seen.st_gid)
    if seen.st_uid not in (0, os.geteuid()):
        return '%s belongs to user %d' % (directory, seen.st_uid)
    return None


def link(directory: pathlib.Path, shim: pathlib.Path) -> list[str]:
    """Put one link to the shim per emulator of this host into a directory.

    It can be repeated at will, and is to be after a QEMU upgrade.

    :param directory: the directory; made if it does not exist
    :param shim: the shim
    :returns: what was done, one sentence each
    :raises ShimError: if others than root may write to the directory, or if
        something that is no link has the name of one
    :raises OSError: if the caller may not write there
    """
    done = _make(directory)
    unsafe = writable_by_others(directory)
    if unsafe:
        raise ShimError(unsafe)
    found = emulators(directory)
    for name in found:
        done.append(_link_one(directory / name, shim))
    done += _remove_leftovers(directory, found)
    if any(is_stale(shim, emulator) for emulator in found.values()):
        refresh(shim)
        done.append('refreshed %s: an emulator is newer' % shim)
    return done


def _make(directory: pathlib.Path) -> list[str]:
    if directory.is_dir():
        return []
    directory.mkdir(parents=True)
    directory.chmod(0o755)
    return ['created %s' % directory]


def _link_one(path: pathlib.Path, shim: pathlib.Path) -> str:
    if path.is_symlink():
        if path.readlink() == shim:
            return 'kept %s' % path
    elif path.exists():
        raise ShimError('%s is not a link; nothing was put there' % path)
    verb = 'replaced' if path.is_symlink() else 'created'
    new = path.with_name('.%s.%d' % (path.name, os.getpid()))
    new.symlink_to(shim)
    new.replace(path)
    return '%s %s -> %s' % (verb, path, shim)


def _remove_leftovers(
    directory: pathlib.Path, found: dict[str, pathlib.Path],
) -> list[str]:
    done = []
    for path in sorted(directory.iterdir()):
        if (path.is_symlink() and path.readlink().name == SHIM and
                path.name not in found and path.name != SHIM):
            path.unlink()
            done.append('removed %s: no such emulator' % path)
    return done
