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

"""The sandbox as its users see it."""

import functools
import os
import pathlib
import re
import shlex
import subprocess

import openstack
import tenacity

SANDBOX = (pathlib.Path(__file__).resolve().parents[2] /
           'sandbox' / 'sandbox')
ARCHS = ('x86_64', 'aarch64')

_GUEST = re.compile(
    r'GUEST mem_total_kb=(?P<total>\d+) nodes=(?P<nodes>[\d:,]+) '
    r'blocks_online=(?P<online>\d+) blocks_offline=(?P<offline>\d+)')


def sandbox(*arguments, **environment):
    """Run a command of the sandbox.

    :param arguments: for ``sandbox/sandbox``
    :param environment: more environment variables
    :returns: what it printed
    """
    return subprocess.run(
        [SANDBOX, *arguments], check=True, text=True,
        stdout=subprocess.PIPE, env=os.environ | environment).stdout


@functools.cache
def credentials(user):
    """Read the environment of a user of the sandbox."""
    lines = sandbox('env', user).splitlines()
    pairs = (shlex.split(line)[1].split('=', 1) for line in lines)
    return {name: value for name, value in pairs if name.startswith('OS_')}


@functools.cache
def connect(user):
    """Log in.

    :param user: admin, member, reader (of project demo) or member2 (other)
    :returns: an ``openstack.connection.Connection``
    """
    options = {name.removeprefix('OS_').lower(): value
               for name, value in credentials(user).items()}
    return openstack.connect(load_envvars=False, load_yaml_config=False,
                             **options)


class Server:
    """A server of project demo, driven over the API as one of its users.

    :param server: what the SDK created
    """

    def __init__(self, server):
        self.id = server.id
        self.compute = connect('member').compute
        self.path = '/servers/%s' % self.id

    @property
    def fresh(self):
        """The server as the API shows it now."""
        return self.compute.get_server(self.id)

    def memory(self, wanted_mb=None, user='member', guest=False):
        """Get ``os-memory``.

        :param wanted_mb: a total to plan for, in MiB; None for none
        :param user: who asks
        :param guest: whether the guest's agent is asked
        """
        wanted = {'memory_mb': wanted_mb, 'guest': guest and 'true' or None}
        answer = connect(user).compute.get(
            self.path + '/os-memory', params={
                key: value for key, value in wanted.items()
                if value is not None})
        answer.raise_for_status()
        return answer.json()['memory']

    def resize(self, wanted_mb):
        """Post ``resizeMemory`` and return the answer as it came."""
        return self.compute.post(
            self.path + '/action',
            json={'resizeMemory': {'memory_mb': wanted_mb}})

    def act(self, action, user='member'):
        """Post any other action and expect it to be accepted."""
        answer = connect(user).compute.post(self.path + '/action', json=action)
        if not answer.ok:
            raise AssertionError('%s: %d %s' % (
                action, answer.status_code, answer.text))

    def prepare_move(self):
        """Have it prepared for a migration, which Nova then refuses.

        Its RequestSpec is brought up to date by nothing else.
        """
        answer = connect('admin').compute.post(
            self.path + '/action', microversion='2.56',
            json={'migrate': {'host': 'no-such-host'}})
        if answer.status_code not in (400, 409):
            raise AssertionError('%d %s' % (answer.status_code, answer.text))

    def start_live_migration(self):
        """Have Nova migrate it live, to a host that Nova chooses."""
        self.act({'os-migrateLive': {
            'host': None, 'block_migration': False,
            'disk_over_commit': False}}, user='admin')

    def wait(self, status='ACTIVE', seconds=120):
        """Wait until nothing goes on and the status is as wanted."""
        return until(
            seconds, 'status %s' % status, lambda: self._idle(status))

    def wait_resized(self, seconds=120):
        """Wait until the end of the last resize is recorded.

        That is a moment after its task state is gone.

        :returns: ``last_resize`` of os-memory
        """
        def look():
            last = self.memory()['last_resize']
            return last if last['status'] in ('done', 'failed') else None

        return until(seconds, 'end of the resize', look)

    def _idle(self, status):
        server = self.fresh
        if server.status == 'ERROR' and status != 'ERROR':
            raise AssertionError('the server is in ERROR: %s' % server.fault)
        return server.task_state is None and server.status == status

    def console(self):
        """Get what the guest printed since it was started."""
        answer = self.compute.post(
            self.path + '/action', json={'os-getConsoleOutput': {}})
        answer.raise_for_status()
        return answer.json()['output']

    def guest(self):
        """Get the guest's last word on its memory; None if it said none."""
        said = list(_GUEST.finditer(self.console()))
        return _parse(said[-1]) if said else None

    def wait_guest(self, what, condition, seconds=120):
        """Wait until the guest says something.

        :param what: a description for the failure
        :param condition: a function of the guest's report
        :returns: the report for which it was true
        """
        def look():
            report = self.guest()
            return report if report and condition(report) else None

        return until(seconds, 'guest: ' + what, look, self.console)

    def boots(self):
        """Count how often the guest booted on this console."""
        return self.console().count('GUEST boot ')

    def events(self):
        """Get the resizes of the server, the newest first, with events."""
        actions = connect('admin').compute.get(
            self.path + '/os-instance-actions').json()['instanceActions']
        requests = [action['request_id'] for action in actions
                    if action['action'] == 'resizeMemory']
        return [self.compute.get(
            self.path + '/os-instance-actions/' + request,
            microversion='2.84').json()['instanceAction']
            for request in requests]

    def allocated_mb(self):
        """Get what placement has for the server, in MiB."""
        answer = connect('admin').placement.get('/allocations/' + self.id)
        return sum(
            allocation['resources'].get('MEMORY_MB', 0)
            for allocation in answer.json()['allocations'].values())

    def books(self):
        """Get what Nova accounts for, in MiB: (flavor, placement)."""
        return self.fresh.flavor['ram'], self.allocated_mb()


def create_server(arch, flavor, name, user='member', image=None, **more):
    """Create a server of an image of the sandbox.

    :param arch: x86_64 or aarch64
    :param flavor: name of a flavor
    :param name: the server's name
    :param image: name of another image than that of the architecture
    :returns: a ``Server``, in whatever state it is
    """
    cloud = connect(user)
    image = cloud.image.find_image(
        image or 'memhotplug-' + arch, ignore_missing=False)
    flavor = connect('admin').compute.find_flavor(
        flavor, ignore_missing=False)
    return Server(cloud.compute.create_server(
        name=name, image_id=image.id, flavor_id=flavor.id, networks='none',
        **more))


def reason(answer):
    """Find the code of a refusal in an answer; None if it has none."""
    (fault,) = answer.json().values()
    return fault.get('reason')


def copy_image(arch, name, kernel_option='', without=()):
    """Copy an image of the sandbox, in place of an earlier copy.

    :param arch: x86_64 or aarch64
    :param name: of the copy, which is public
    :param kernel_option: what is added to the command line of the kernel
    :param without: names of properties that the copy has not
    """
    image = connect('admin').image
    delete_image(name)
    source = image.find_image('memhotplug-' + arch, ignore_missing=False)
    body = image.get('/images/' + source.id).json()
    wanted = {key: value for key, value in body.items()
              if key not in without and key.startswith(
                  ('hw_', 'memhotplug_', 'kernel_id', 'ramdisk_id',
                   'os_command_line'))}
    if kernel_option:
        wanted['os_command_line'] += ' ' + kernel_option
    answer = image.post('/images', json={
        **wanted, 'name': name, 'disk_format': source.disk_format,
        'container_format': source.container_format, 'visibility': 'public'})
    answer.raise_for_status()
    image.put(
        '/images/%s/file' % answer.json()['id'],
        data=image.download_image(source).content,
        headers={'Content-Type': 'application/octet-stream'},
    ).raise_for_status()


def delete_image(name):
    """Delete the images of a name."""
    image = connect('admin').image
    for found in list(image.images(name=name)):
        image.delete_image(found)


def delete_server(server):
    """Delete a server and wait until it is gone."""
    compute = connect('admin').compute
    compute.delete_server(server.id, force=True, ignore_missing=True)
    until(60, 'server gone', lambda: compute.find_server(
        server.id, all_projects=True) is None)


def delete_servers_named(name):
    """Delete servers that a killed run has left behind."""
    compute = connect('admin').compute
    for server in compute.servers(all_projects=True):
        if server.name == name:
            delete_server(server)


def _parse(match):
    nodes = dict(node.split(':') for node in match['nodes'].split(','))
    return {
        'total_kb': int(match['total']),
        'nodes': {int(node): int(kb) for node, kb in nodes.items()},
        'blocks_online': int(match['online']),
        'blocks_offline': int(match['offline']),
    }


def until(seconds, what, function, details=lambda: ''):
    """Call a function until it returns something true.

    :param seconds: how long
    :param what: a description for the failure
    :param function: the function
    :param details: a function that says more about the failure
    :returns: what the function returned
    """
    def give_up(state):
        raise AssertionError('not within %d s: %s\n%s' % (
            seconds, what, details()[-2000:]))

    return tenacity.Retrying(
        stop=tenacity.stop_after_delay(seconds),
        wait=tenacity.wait_fixed(0.5),
        retry=tenacity.retry_if_result(lambda result: not result),
        retry_error_callback=give_up)(function)
