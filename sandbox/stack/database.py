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

"""MariaDB with its own data, port and socket."""

from stack import process
from stack import report

DATABASES = ('keystone', 'placement', 'glance', 'neutron',
             'nova_api', 'nova_cell0', 'nova_cell1')


def start(settings):
    """Start the database; its databases are created when it starts."""
    config = settings.render('mariadb.cnf')
    password = settings.password('database')
    statements = ['CREATE DATABASE IF NOT EXISTS %s CHARACTER SET utf8mb3;'
                  % name for name in DATABASES]
    statements += [
        "CREATE USER IF NOT EXISTS openstack@'%' IDENTIFIED BY "
        "'{}';".format(password),
        "GRANT ALL ON *.* TO openstack@'%';"]
    (settings.etc / 'mariadb-init.sql').write_text(
        '\n'.join(statements) + '\n')
    data = settings.data / 'mariadb'
    if not (data / 'mysql').exists():
        report.run(['mariadb-install-db', '--no-defaults', '--user=root',
                    '--datadir=%s' % data, '--skip-test-db',
                    '--auth-root-authentication-method=socket'],
                   settings.log('database'),
                   'MariaDB could not create its data folder')
    service = process.Service(
        'database', ['/usr/sbin/mariadbd', '--defaults-file=%s' % config],
        files=[config], port=settings.port('database'))
    process.start(settings, service)
    return service


def sync(settings, name, argv, release):
    """Bring the schema of a service up to date, once per release.

    :param name: a name for what is done, unique in the sandbox
    :param argv: the service's own command for it
    :param release: what makes it necessary again when it changes
    """
    stamp = settings.data / ('%s.schema' % name)
    if stamp.exists() and stamp.read_text() == release:
        return
    report.run(argv, settings.log('schemas'),
               'The database schema of %s could not be created' % name,
               env=process.environment(settings, 'schema-%s' % name))
    stamp.write_text(release)
