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

"""The emulator shim of a host: a copy, and the links that it is called by.

libvirt starts guests through it, so whoever can change it reads the memory and
the disks of them all. So it is a file of root's, and not a link into a Python
environment, which belongs to whom it belongs to and goes with an upgrade.
"""

from collections.abc import Collection
from collections.abc import Iterator
import os
import pathlib
import stat

SHIM = 'qemu-memhotplug-shim'
#: The shim of this package, and beside it what security modules are to know.
PACKAGED = pathlib.Path(__file__).resolve().parents[1] / 'libexec' / SHIM
#: Where the shim looks for emulators, in its order (see its source).
EMULATOR_DIRECTORIES = tuple(map(
    pathlib.Path, ('/usr/local/bin', '/usr/bin', '/usr/libexec')))
EMULATOR_NAMES = ('qemu-system-*', 'qemu-kvm')
#: A link ``qemu-system-x86_64.real`` beside that of the shim names an
#: emulator that is somewhere else.
REAL = '.real'
#: The users who may own the shim and the directories above it.
OWNERS = (0,)


class ShimError(Exception):
    """The shim cannot be installed safely."""


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


def is_current(path: pathlib.Path) -> bool:
    """Tell if a file is the shim of this package.

    :param path: the file, or a link to it
    :returns: whether it is the same, whatever its name is
    """
    return path.read_bytes() == PACKAGED.read_bytes()


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


def unsafe(path: pathlib.Path) -> str | None:
    """Tell who but root can change a file or put others beside it.

    :param path: an existing file or directory, or a link to one
    :returns: why it is not safe, None if it is
    """
    real = path.resolve()
    if not real.is_dir():
        return _unsafe(real) or unsafe(path.parent) or unsafe(real.parent)
    # In a sticky directory nobody can replace what belongs to root.
    return _unsafe(real) or next(filter(None, (
        _unsafe(parent, may_be_sticky=True)
        for parent in (*path.absolute().parents, *real.parents))), None)


def _unsafe(path: pathlib.Path, may_be_sticky: bool = False) -> str | None:
    seen = path.stat()
    is_sticky = may_be_sticky and seen.st_mode & stat.S_ISVTX
    if seen.st_uid not in OWNERS:
        return '%s belongs to user %d' % (path, seen.st_uid)
    if seen.st_mode & stat.S_IWOTH and not is_sticky:
        return '%s is writable by everyone' % path
    if seen.st_mode & stat.S_IWGRP and seen.st_gid != 0 and not is_sticky:
        return '%s is writable by group %d' % (path, seen.st_gid)
    return None


def install(
    directory: pathlib.Path, names: Collection[str] = (),
) -> list[str]:
    """Put the shim into a directory, and a link to it for each emulator.

    It can be repeated at will, and is to be after an upgrade of this package
    or of QEMU.

    :param directory: the directory; made if it does not exist
    :param names: of the emulators; those of this host if there are none
    :returns: what was done, one sentence each
    :raises ShimError: if others than root can write to the directory, or if
        something else has the name of a link
    :raises OSError: if the caller may not write there
    """
    done = _make(directory)
    reason = _unsafe(directory)
    if reason:
        raise ShimError(reason)
    for name in names:
        if name in ('', '.', '..', SHIM) or '/' in name:
            raise ShimError('"%s" is not the name of an emulator' % name)
    found = emulators(directory)
    shim = directory / SHIM
    done.append(_copy(shim))
    for name in names or found:
        done.append(_link(directory / name))
    if not names:
        done += _unlink(directory, keep=found)
    if any(is_stale(shim, emulator) for emulator in found.values()):
        # A new ctime, everything else as it was.
        seen = shim.stat()
        os.utime(shim, ns=(seen.st_atime_ns, seen.st_mtime_ns))
        done.append('refreshed %s: an emulator is newer' % shim)
    return done


def remove(directory: pathlib.Path) -> list[str]:
    """Take the shim and its links away, and the directory if it is empty.

    :param directory: where it was installed
    :returns: what was done, one sentence each
    :raises OSError: if the caller may not write there
    """
    done = _unlink(directory)
    (directory / SHIM).unlink()
    done.append('removed %s' % (directory / SHIM))
    if not any(directory.iterdir()):
        directory.rmdir()
        done.append('removed %s' % directory)
    return done


def _make(directory: pathlib.Path) -> list[str]:
    if directory.is_dir():
        return []
    directory.mkdir(parents=True)
    directory.chmod(0o755)
    return ['created %s' % directory]


def _copy(path: pathlib.Path) -> str:
    if (path.is_file() and not path.is_symlink() and is_current(path) and
            not _unsafe(path) and stat.S_IMODE(path.stat().st_mode) == 0o755):
        return 'kept %s' % path
    verb = 'replaced' if path.exists() else 'created'
    # Guests may be started meanwhile: there is always a whole one.
    new = path.with_name('.%s.%d' % (path.name, os.getpid()))
    with open(new, 'xb') as stream:
        stream.write(PACKAGED.read_bytes())
    new.chmod(0o755)
    new.replace(path)
    return '%s %s' % (verb, path)


def _link(path: pathlib.Path) -> str:
    if path.is_symlink():
        if str(path.readlink()) == SHIM:
            return 'kept %s' % path
    elif path.exists():
        raise ShimError('%s is not a link; nothing was put there' % path)
    verb = 'replaced' if path.is_symlink() else 'created'
    new = path.with_name('.%s.%d' % (path.name, os.getpid()))
    new.symlink_to(SHIM)
    new.replace(path)
    return '%s %s' % (verb, path)


def _unlink(
    directory: pathlib.Path, keep: Collection[str] = (),
) -> list[str]:
    done = []
    for path in sorted(directory.iterdir()):
        if (path.is_symlink() and path.readlink().name == SHIM and
                path.name not in (*keep, SHIM)):
            path.unlink()
            done.append('removed %s' % path)
    return done
