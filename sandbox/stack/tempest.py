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

"""What Tempest has to know of the cloud."""

import json

from stack import settings as settings_
from stack import venv

CONFIGURATION = 'tempest.conf'
ACCOUNTS = 'accounts.yaml'
#: By whom Tempest makes accounts for tests that want a project of their own.
ADMINISTRATOR = """\
admin_username = admin
admin_password = %s
admin_project_name = admin
admin_domain_name = Default"""


def configure(settings, folder, with_admin, dynamic):
    """Write the configuration and the accounts for Tempest.

    :param folder: a ``pathlib.Path``
    :param with_admin: whether Tempest may be the administrator
    :param dynamic: whether it makes accounts of its own
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    users = [name for name in settings_.USERS if with_admin or name != 'admin']
    accounts, target = folder / ACCOUNTS, folder / CONFIGURATION
    for path in (accounts, target):
        path.touch(mode=0o600)
    # JSON is YAML.
    accounts.write_text(json.dumps(
        [_account(settings, name) for name in users], indent=2) + '\n')
    settings.render(
        CONFIGURATION, target, folder=folder, accounts=accounts,
        computes=len(settings.hostnames), dynamic=dynamic, administrator=(
            ADMINISTRATOR % settings.password('admin') if with_admin else ''))
    venv.cloud(settings, 'tempest.py',
               'Tempest could not be configured', {'target': str(target)})


def _account(settings, name):
    project, roles = settings_.USERS[name]
    return {
        'username': name,
        'password': settings.password(name),
        'project_name': project,
        'roles': list(roles),
        'types': ['admin'] if name == 'admin' else [],
    }
