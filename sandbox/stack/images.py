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

"""Guest images and aarch64 firmware, built from Debian's packages."""

import hashlib
import pathlib
import re
import shutil
import subprocess

from stack import cpio
from stack import debs
from stack import report
from stack import settings as settings_

GUEST = settings_.SANDBOX / 'guest'
SUITE = 'bookworm'
FIRMWARE_SUITE = 'trixie'

# Architecture as Nova names it -> as Debian does
ARCHITECTURES = {'x86_64': 'amd64', 'aarch64': 'arm64'}
PACKAGES = ('linux-image-cloud-%s:', 'busybox-static', 'qemu-guest-agent',
            'libc6', 'libglib2.0-0', 'libpcre2-8-0', 'libudev1',
            'liburing2', 'libnuma1')
# The agent's channel, balloon and virtio-mem, and the power button.
MODULES = ('virtio_pci', 'virtio_console', 'virtio_balloon', 'virtio_mem',
           'button', 'evdev')


def recipe():
    """Return a digest of everything of ours that makes the images."""
    digest = hashlib.sha256()
    for path in (GUEST / 'init', GUEST / 'shutdown', pathlib.Path(__file__),
                 pathlib.Path(cpio.__file__), pathlib.Path(debs.__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def folder(settings, architecture):
    """Return where kernel, ramdisk and disk.qcow2 of a guest are."""
    return settings.cache / 'images' / recipe() / architecture


def firmware(settings):
    """Return where CODE.fd and VARS.fd for aarch64 are."""
    return settings.cache / 'images' / recipe() / 'firmware'


def build(settings, note):
    """Build what is not in the cache yet."""
    made = []
    for architecture in ARCHITECTURES:
        _once(folder(settings, architecture), made, _guest, settings,
              architecture)
    _once(firmware(settings), made, _firmware, settings)
    note('built %s' % ', '.join(made) if made else 'all there')


def _once(target, made, builder, settings, *args):
    if target.exists():
        return
    work = target.with_name(target.name + '.new')
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    unpacked = target.with_name(target.name + '.unpacked')
    try:
        builder(settings, work, unpacked, *args)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    work.rename(target)
    made.append(target.name)


def _firmware(settings, work, unpacked):
    debs.unpack(settings, [FIRMWARE_SUITE], 'arm64', ['qemu-efi-aarch64'],
                unpacked)
    for source, target in (('AAVMF_CODE.no-secboot.fd', 'CODE.fd'),
                           ('AAVMF_VARS.fd', 'VARS.fd')):
        shutil.copyfile(unpacked / 'usr/share/AAVMF' / source, work / target)


def _guest(settings, work, unpacked, architecture):
    debian = ARCHITECTURES[architecture]
    names = [name % debian if '%' in name else name for name in PACKAGES]
    debs.unpack(settings, [SUITE], debian, names, unpacked)
    kernel, = unpacked.glob('boot/vmlinuz-*')
    shutil.copyfile(kernel, work / 'kernel')
    root = work / 'root'
    _fill_root(root, unpacked)
    cpio.write(root, work / 'ramdisk')
    shutil.rmtree(root)
    report.run(['qemu-img', 'create', '-f', 'qcow2', work / 'disk.qcow2',
                '16M'], settings.log('images'),
               'qemu-img could not create a disk for the guests')


def _copy(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _fill_root(root, unpacked):
    _copy(GUEST / 'init', root / 'init')
    _copy(GUEST / 'shutdown', root / 'sbin/shutdown')
    _copy(GUEST / 'shutdown', root / 'etc/acpi/PWRF/00000080')
    _copy(unpacked / 'bin/busybox', root / 'bin/busybox')
    _copy_program(unpacked / 'usr/sbin/qemu-ga', root / 'sbin/qemu-ga',
                  root, unpacked)
    modules = []
    for name in MODULES:
        _add_module(name, unpacked, modules)
    for path in modules:
        _copy(path, root / 'lib/modules' / path.name)
    (root / 'etc/modules').write_text(
        ''.join('%s\n' % path.name for path in modules))
    (root / 'dev').mkdir()


def _add_module(name, unpacked, modules):
    """Append a module behind those that it depends on.

    A name without a file is built into that kernel.
    """
    for path in unpacked.glob('lib/modules/*/kernel/**/*.ko'):
        if path.stem.replace('-', '_') != name or path in modules:
            continue
        depends = re.search(rb'\0depends=([^\0]*)\0', path.read_bytes())
        for needed in depends.group(1).decode().split(','):
            if needed:
                _add_module(needed.replace('-', '_'), unpacked, modules)
        modules.append(path)


def _readelf(option, path, pattern):
    output = subprocess.run(['readelf', option, path], check=True, text=True,
                            stdout=subprocess.PIPE).stdout
    return re.findall(pattern, output)


def _copy_program(source, target, root, unpacked):
    """Copy a program with its loader and every library that it needs."""
    _copy(source, target)
    loader, = _readelf('-lW', source, r'program interpreter: ([^\]]+)')
    wanted = _readelf('-dW', source, r'Shared library: \[([^\]]+)')
    wanted.append(pathlib.Path(loader).name)
    done = set()
    while wanted:
        name = wanted.pop()
        if name in done:
            continue
        done.add(name)
        found = [path for path in unpacked.glob('**/lib/*/' + name)]
        if not found:
            raise report.SandboxError(
                'The guest agent needs %s, which none of the unpacked '
                'packages has.' % name)
        is_loader = name == pathlib.Path(loader).name
        place = root / (loader[1:] if is_loader else 'lib/' + name)
        _copy(found[0].resolve(), place)
        wanted += _readelf('-dW', found[0], r'Shared library: \[([^\]]+)')
