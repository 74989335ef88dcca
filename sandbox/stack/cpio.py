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

"""Write an initramfs: a compressed cpio archive in the "newc" format."""

import gzip
import os
import stat


def _entry(number, name, mode, data=b'', device=(0, 0)):
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device,
              len(name) + 1, 0)
    header = b'070701' + b''.join(b'%08X' % field for field in fields)
    yield _padded(header + name + b'\0')
    yield _padded(data)


def _padded(data):
    return data + b'\0' * (-len(data) % 4)


def write(folder, target):
    """Pack a folder, owned by root, with a console for the first process.

    :param folder: what will be the guest's root folder
    :param target: path of the archive
    """
    entries = []
    for top, folders, files in os.walk(folder):
        for name in sorted(folders + files):
            path = os.path.join(top, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                data = os.readlink(path).encode()
            elif stat.S_ISREG(mode):
                with open(path, 'rb') as source:
                    data = source.read()
            else:
                data = b''
            entries.append((os.path.relpath(path, folder).encode(), mode,
                            data, (0, 0)))
    entries.append((b'dev/console', stat.S_IFCHR | 0o600, b'', (5, 1)))
    with gzip.GzipFile(target, 'wb', 6, mtime=0) as archive:
        for number, entry in enumerate(entries, 1):
            for part in _entry(number, *entry):
                archive.write(part)
        for part in _entry(0, b'TRAILER!!!', 0):
            archive.write(part)
