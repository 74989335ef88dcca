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

"""Identity."""

from stack import database
from stack import process
from stack import report
from stack import settings as settings_
from stack import venv
from stack import wsgi


def sync(settings):
    config = settings.render('keystone.conf')
    manage = [settings.bin('keystone-manage'), '--config-file', config]
    database.sync(settings, 'keystone', manage + ['db_sync'],
                  venv.release(settings, 'keystone'))
    for keys, command in (('fernet', 'fernet_setup'),
                          ('credential', 'credential_setup')):
        folder = settings.data / 'keystone' / keys
        if not (folder / '0').exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _manage(settings, manage + [
                command, '--keystone-user', 'root', '--keystone-group',
                'root'])
    url = settings.url('keystone') + '/v3'
    database.sync(
        settings, 'keystone-bootstrap', manage + [
            'bootstrap', '--bootstrap-password', settings.password('admin'),
            '--bootstrap-region-id', 'RegionOne',
            '--bootstrap-public-url', url, '--bootstrap-internal-url', url,
            '--bootstrap-admin-url', url], url)


def _manage(settings, argv):
    report.run(argv, settings.log('schemas'),
               'Keystone could not create its keys',
               env=process.environment(settings, 'schema-keystone'))


def start(settings):
    config = settings.etc / 'keystone.conf'
    service = wsgi.service(
        settings, 'keystone', 'keystone.wsgi.api', [config],
        {'OS_KEYSTONE_CONFIG_FILES': str(config)})
    process.start(settings, service)
    return service


def register(settings):
    """Create what the cloud's users and services need to log in."""
    users = {name: {'password': settings.password(name),
                    'project': settings_.USERS[name][0],
                    'roles': settings_.USERS[name][1]}
             for name in settings_.USERS if name != 'admin'}
    users.update({name: {'password': settings.password(name),
                         'project': 'service',
                         'roles': ('admin', 'service')}
                  for name in settings_.SERVICE_USERS})
    endpoints = {'placement': settings.url('placement'),
                 'image': settings.url('glance'),
                 'network': settings.url('neutron'),
                 'compute': settings.url('nova') + '/v2.1'}
    venv.cloud(settings, 'register.py',
               'Users and endpoints could not be created',
               {'users': users, 'endpoints': endpoints})
