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

"""Networking: the API of the real Neutron, without any agent."""

from stack import database
from stack import process
from stack import venv
from stack import wsgi


def sync(settings):
    config = settings.render('neutron.conf')
    (settings.data / 'neutron').mkdir(exist_ok=True)
    database.sync(settings, 'neutron', [
        settings.bin('neutron-db-manage'), '--config-file', config,
        'upgrade', 'heads'], venv.release(settings, 'neutron'))


def start(settings):
    config = settings.etc / 'neutron.conf'
    service = wsgi.service(
        settings, 'neutron', 'neutron.wsgi.api', [config],
        {'OS_NEUTRON_CONFIG_DIR': str(settings.etc),
         'OS_NEUTRON_CONFIG_FILES': config.name})
    process.start(settings, service)
    return service
