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

"""Where the state is, which ports are used, and the passwords."""

import json
import os
import pathlib
import secrets
import shutil

from stack import report

SANDBOX = pathlib.Path(__file__).resolve().parent.parent
CHECKOUT = SANDBOX.parent

DEFAULT_PORT_BASE = 18700
#: The release of Nova that is installed if nobody says another.
NEWEST_NOVA = 34
NOVAS = (31, 32, 33, NEWEST_NOVA)
PORTS = ('keystone', 'placement', 'glance', 'neutron', 'nova',
         'database', 'messaging', 'messaging_dist', 'epmd')

ADDRESS = '127.0.0.1'
MAX_COMPUTES = 9

# Who may log in: name -> (project, roles in it). Tempest takes the first one
# that is free for somebody else, so the other project comes early.
USERS = {
    'admin': ('admin', ('admin',)),
    'member': ('demo', ('member',)),
    'member2': ('other', ('member',)),
    'reader': ('demo', ('reader',)),
}
SERVICE_USERS = ('placement', 'glance', 'neutron', 'nova')
SECRETS = tuple(USERS) + SERVICE_USERS + ('database', 'messaging')


class Settings:
    """One sandbox: everything that differs between two state folders.

    :param environ: a mapping; ``SANDBOX_STATE``, ``SANDBOX_PORT_BASE``,
        ``SANDBOX_CACHE``, ``SANDBOX_STOCK_NOVA``,
        ``SANDBOX_ZERO_CELL_STRATEGY``, ``SANDBOX_PLUGIN`` and
        ``SANDBOX_HOOK`` are read from it
    """

    def __init__(self, environ):
        state = environ.get('SANDBOX_STATE') or CHECKOUT / '.sandbox'
        self.state = pathlib.Path(state).absolute()
        self.venv = self.state / 'venv'
        self.etc = self.state / 'etc'
        self.logs = self.state / 'logs'
        self.run = self.state / 'run'
        self.cache = pathlib.Path(
            environ.get('SANDBOX_CACHE') or self.state / 'cache').absolute()
        self.data = self.state / 'data'
        self.home = self.state / 'home'
        self.shim = self.state / 'shim'
        self.hosts = self.state / 'lv'
        self.instances = self.state / 'instances'
        self.stock_nova = bool(environ.get('SANDBOX_STOCK_NOVA'))
        self.zero_cell_strategy = (
            environ.get('SANDBOX_ZERO_CELL_STRATEGY') or 'auto')
        #: The checkout whose plugin is installed.
        self.plugin = pathlib.Path(
            environ.get('SANDBOX_PLUGIN') or CHECKOUT).absolute()
        #: A plug of tests/hooks, or None; and the folder that is its own.
        self.hook = None
        if environ.get('SANDBOX_HOOK'):
            self.hook = pathlib.Path(environ['SANDBOX_HOOK']).absolute()
        self.hook_folder = self.run / 'hook'
        self._port_base = environ.get('SANDBOX_PORT_BASE')
        self._answers = None

    @property
    def exists(self):
        return self._answers_file.exists()

    @property
    def _answers_file(self):
        return self.etc / 'sandbox.json'

    @property
    def answers(self):
        """What was decided once for this state folder."""
        if self._answers is None:
            if not self.exists:
                raise report.SandboxError(
                    'There is no sandbox in %s: run "sandbox up" first.'
                    % self.state)
            self._answers = json.loads(self._answers_file.read_text())
        return self._answers

    def prepare(self, releases, nova=None):
        """Create the folders and decide what is decided once.

        :param releases: which Debian the libvirt of each host is from, None
            for the hosts that there were
        :param nova: the release of Nova; None for the one that there is
        """
        for folder in self._folders:
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.etc, self.data, self.home, self.logs):
            folder.chmod(0o700)
        port_base = int(self._port_base or DEFAULT_PORT_BASE)
        answers = self.answers if self.exists else {
            'releases': [12, 12],
            'port_base': port_base,
            'nova': nova or NEWEST_NOVA,
            'passwords': {name: secrets.token_hex(12) for name in SECRETS},
        }
        if releases is not None:
            answers['releases'] = releases
        if self._port_base and port_base != answers['port_base']:
            raise report.SandboxError(
                'The sandbox in %s has its ports at %d: only a new one can '
                'have others.' % (self.state, answers['port_base']))
        if nova not in (None, answers.get('nova', NEWEST_NOVA)):
            raise report.SandboxError(
                'The sandbox in %s has Nova %d: another release needs a '
                'state folder of its own (SANDBOX_STATE; SANDBOX_CACHE may '
                'be the same).' % (
                    self.state, answers.get('nova', NEWEST_NOVA)))
        self._answers_file.touch(mode=0o600)
        self._answers_file.write_text(json.dumps(answers, indent=2) + '\n')
        self._answers = answers

    @property
    def _folders(self):
        """The folders of a sandbox; the one that marks it is the last."""
        return (self.logs, self.run, self.cache, self.data, self.home,
                self.shim, self.hosts, self.instances, self.etc)

    def remove(self):
        """Remove the sandbox, and nothing else that is in its folder.

        :raises OSError: if something cannot be removed; what is left can be
            removed again then
        """
        self.answers
        for folder in (self.venv, *self._folders):
            # A cache elsewhere is not of this sandbox alone.
            if folder.exists() and self.state in folder.parents:
                shutil.rmtree(folder)
        if not any(self.state.iterdir()):
            self.state.rmdir()

    @property
    def releases(self):
        """Which Debian the libvirt of each host is from."""
        # A state folder of an earlier version does not say.
        return self.answers.get('releases', [12, 12])

    @property
    def nova(self):
        """Which release of Nova, and of what came with it, is installed."""
        # A state folder of an earlier version does not say.
        return self.answers.get('nova', NEWEST_NOVA)

    @property
    def hostnames(self):
        return ['lv%d' % number
                for number in range(1, len(self.releases) + 1)]

    def password(self, name):
        return self.answers['passwords'][name]

    def port(self, name):
        return self.answers['port_base'] + PORTS.index(name)

    def url(self, name):
        return 'http://%s:%d' % (ADDRESS, self.port(name))

    def log(self, name):
        return self.logs / ('%s.log' % name)

    def bin(self, name):
        return self.venv / 'bin' / name

    def credentials(self, user):
        """Return the OS_* environment of a user of the cloud."""
        if user not in USERS:
            raise report.SandboxError(
                'There is no user "%s": choose one of %s.'
                % (user, ', '.join(USERS)))
        return {
            'OS_AUTH_TYPE': 'password',
            'OS_AUTH_URL': self.url('keystone') + '/v3',
            'OS_IDENTITY_API_VERSION': '3',
            'OS_REGION_NAME': 'RegionOne',
            'OS_USERNAME': user,
            'OS_PASSWORD': self.password(user),
            'OS_PROJECT_NAME': USERS[user][0],
            'OS_USER_DOMAIN_ID': 'default',
            'OS_PROJECT_DOMAIN_ID': 'default',
        }

    def template_values(self):
        """Return what the templates in sandbox/etc/ may name."""
        values = {'%s_port' % name: self.port(name) for name in PORTS}
        values.update(('%s_url' % name, self.url(name)) for name in PORTS)
        values.update(('%s_password' % name, self.password(name))
                      for name in SECRETS)
        values.update({
            'state': self.state, 'venv': self.venv, 'etc': self.etc,
            'data': self.data, 'run': self.run, 'logs': self.logs,
            'shim': self.shim, 'hosts': self.hosts,
            'instances': self.instances, 'address': ADDRESS,
            'zero_cell_strategy': self.zero_cell_strategy,
            'auth_url': self.url('keystone') + '/v3',
            'transport_url': 'rabbit://openstack:%s@%s:%d/' % (
                self.password('messaging'), ADDRESS,
                self.port('messaging')),
            'database_url': 'mysql+pymysql://openstack:%s@%s:%d' % (
                self.password('database'), ADDRESS, self.port('database')),
        })
        return values

    def render(self, template, target=None, **values):
        """Write a configuration file from a template of sandbox/etc/.

        :param template: file name in sandbox/etc/
        :param target: path to write, by default the same name in state
        :returns: the path written
        """
        target = target or self.etc / template
        text = (SANDBOX / 'etc' / template).read_text()
        for name, value in {**self.template_values(), **values}.items():
            text = text.replace('@%s@' % name, str(value))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target


def from_environment():
    return Settings(os.environ)
