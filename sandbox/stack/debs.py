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

"""Debian packages that are unpacked under the state folder, not installed."""

import shutil

from stack import apt
from stack import report


def unpack(settings, suites, architecture, packages, target):
    """Download packages, of any architecture, and unpack them.

    :param suites: suites of the Debian mirror
    :param packages: names; "META:" in front stands for the first package
        that META depends on whose name starts with META's stem
    :param target: folder, emptied first
    """
    folder = settings.cache / ('apt-%s-%s' % (suites[0], architecture))
    log = settings.log('images')
    private = apt.Apt(folder, log).stand_alone(suites, architecture)
    private('The Debian mirror has no %s for %s, or did not answer'
            % (suites[0], architecture), 'update')
    names = [_resolve(private, name) for name in packages]
    downloads = folder / 'downloads'
    shutil.rmtree(downloads, ignore_errors=True)
    downloads.mkdir()
    private('A Debian package for the guests could not be downloaded',
            'download', *names, cwd=downloads)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in sorted(downloads.glob('*.deb')):
        report.run(['dpkg-deb', '-x', path, target], log,
                   'A Debian package could not be unpacked')
    shutil.rmtree(downloads)


def _resolve(private, name):
    if not name.endswith(':'):
        return name
    meta = name[:-1]
    stem = meta.rpartition('-cloud-')[0]
    for line in private.query('depends', meta).splitlines():
        kind, _colon, depends = line.strip().partition(': ')
        if kind == 'Depends' and depends.startswith(stem):
            return depends
    raise report.SandboxError('Debian has no kernel for %s.' % meta)
