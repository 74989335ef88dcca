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

"""Placement."""

from stack import database
from stack import hook
from stack import process
from stack import venv
from stack import wsgi


def sync(settings):
    config = settings.render('placement.conf',
                             settings.etc / 'placement' / 'placement.conf')
    database.sync(settings, 'placement', [
        settings.bin('placement-manage'), '--config-file', config, 'db',
        'sync'], venv.release(settings, 'openstack-placement'))


def start(settings):
    folder = settings.etc / 'placement'
    service = wsgi.service(
        settings, 'placement', 'placement.wsgi.api',
        [folder / 'placement.conf', *hook.files(settings)],
        {**hook.environment(settings),
         'OS_PLACEMENT_CONFIG_DIR': str(folder)})
    process.start(settings, service)
    return service
