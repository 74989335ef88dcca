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

"""Every operation of the table: how a user or an operator does it."""

import tenacity

from tests.live import cloud
from tests.live.lifecycle import hosts

#: {name in the table: a function of a list of ``fleet.Member``}. It raises,
#: or returns a list that has an exception for each server that failed, or
#: None.
OPERATIONS = {}


def operation(name):
    """Register how something is done to a list of servers."""
    def register(function):
        OPERATIONS[name] = function
        return function
    return register


def each(name):
    """Register how something is done to one server, to all at once."""
    def register(function):
        OPERATIONS[name] = lambda members: hosts.at_once(function, members)
        return function
    return register


# The guest goes on

@each('pause and unpause')
def pause(member):
    member.server.act({'pause': None})
    member.server.wait('PAUSED')
    member.server.act({'unpause': None})
    member.server.wait()


@each('suspend and resume')
def suspend(member):
    member.server.act({'suspend': None})
    member.server.wait('SUSPENDED')
    member.server.act({'resume': None})
    member.server.wait()


@each('snapshot')
def snapshot(member):
    answer = member.server.compute.post(
        member.server.path + '/action', microversion='2.45',
        json={'createImage': {'name': 'live-lifecycle'}})
    answer.raise_for_status()
    member.server.wait()
    image = cloud.connect('member').image
    image_id = answer.json()['image_id']
    status = image.get_image(image_id).status
    image.delete_image(image_id)
    if status != 'active':
        raise AssertionError('the snapshot is %s' % status)


@each('live migration')
def live_migration(member):
    hosts.migrate_live(member.server)


@each('live migration, there and back')
def live_migration_back(member):
    hosts.migrate_live(member.server)
    hosts.migrate_live(member.server)


@operation('live migration, aborted')
def live_migration_abort(members):
    """One after another: Nova migrates one server of a host at a time."""
    for member in members:
        host = hosts.machines()[hosts.of(member.server)]
        # So slow, in MiB/s, that there is something to abort.
        host.virsh('migrate-setspeed', member.server.id, '1')
        try:
            _abort_live_migration(member)
        finally:
            host.virsh('migrate-setspeed', member.server.id, '10000')


def _abort_live_migration(member):
    member.server.start_live_migration()
    migration = _running_migration(member.server)
    cloud.connect('admin').compute.delete(
        '%s/migrations/%s' % (member.server.path, migration),
        microversion='2.24').raise_for_status()
    _settle_aborted(member.server, migration)


@tenacity.retry(stop=tenacity.stop_after_delay(60), reraise=True,
                wait=tenacity.wait_fixed(0.3))
def _running_migration(server):
    (migration,) = cloud.connect('admin').compute.get(
        server.path + '/migrations', microversion='2.23',
    ).json()['migrations']
    if migration['status'] != 'running':
        raise AssertionError('the migration is %s' % migration['status'])
    return migration['id']


def _settle_aborted(server, migration):
    """Wait for the end, and have the server active again.

    Nova 34 ends every aborted migration twice: as cancelled, with the server
    active, and then, when libvirt's answer is read, as an error
    (nova/virt/libvirt/driver.py, _live_migration: future.result()).
    """
    def has_ended():
        return _migration_status(server, migration) in ('cancelled', 'error')

    if not hosts.wait(has_ended, 60):
        raise AssertionError('the migration is %s' % _migration_status(
            server, migration))
    if hosts.wait(lambda: server.fresh.status == 'ERROR', 15):
        server.act({'os-resetState': {'state': 'active'}}, user='admin')
    server.wait()


def _migration_status(server, migration):
    found = cloud.connect('admin').compute.get(
        '/os-migrations', params={'instance_uuid': server.id},
        microversion='2.59').json()['migrations']
    return {entry['id']: entry['status'] for entry in found}[migration]


@operation('restart of nova-compute')
def restart_compute(members):
    hosts.stop('nova-compute')
    hosts.start()


@operation('restart of libvirtd')
def restart_libvirtd(members):
    hosts.stop('libvirtd')
    hosts.start()


# The guest restarts

@each('reboot by the guest')
def guest_reboot(member):
    hosts.tell_guest(member.server, 'reboot')


@each('soft reboot')
def soft_reboot(member):
    member.server.act({'reboot': {'type': 'SOFT'}})
    member.server.wait()


@each('rescue and unrescue')
def rescue(member):
    member.server.act({'rescue': {}})
    member.server.wait('RESCUE')
    member.check_fresh('in rescue')
    member.server.act({'unrescue': None})
    member.server.wait()


@each('hard reboot')
def hard_reboot(member):
    member.server.act({'reboot': {'type': 'HARD'}})
    member.server.wait()


@each('stop and start')
def stop_start(member):
    member.server.act({'os-stop': None})
    member.server.wait('SHUTOFF')
    member.server.act({'os-start': None})
    member.server.wait()


@each('shutdown by the guest and start')
def guest_shutdown(member):
    hosts.tell_guest(member.server, 'shutdown')
    member.server.wait('SHUTOFF')
    member.server.act({'os-start': None})
    member.server.wait()


@each('rebuild')
def rebuild(member):
    image = cloud.connect('member').image.find_image(
        'memhotplug-' + member.arch, ignore_missing=False)
    member.server.act({'rebuild': {'imageRef': image.id}})
    member.server.wait()


@each('shelve and unshelve')
def shelve(member):
    member.server.act({'shelve': None})
    member.server.wait('SHELVED_OFFLOADED')
    if member.server.allocated_mb():
        raise AssertionError('a shelved server has an allocation')
    member.server.act({'unshelve': None})
    member.server.wait()


def _move(member, action, decision, user='member'):
    member.server.act(action, user=user)
    member.server.wait('VERIFY_RESIZE')
    member.server.act({decision: None})
    member.server.wait()


@each('cold migration, confirmed')
def migrate_confirm(member):
    _move(member, {'migrate': None}, 'confirmResize', user='admin')


@each('cold migration, reverted')
def migrate_revert(member):
    _move(member, {'migrate': None}, 'revertResize', user='admin')


@operation('evacuation')
def evacuate(members):
    """The host of all of them fails, and they go to the other one."""
    host = hosts.of(members[0].server)
    for member in members:
        if hosts.of(member.server) != host:
            hosts.migrate_live(member.server)
    hosts.crash(host)
    try:
        hosts.force_down(host, True)
        return hosts.at_once(_evacuate, members)
    finally:
        hosts.revive(host)


def _evacuate(member):
    source = hosts.of(member.server)
    member.server.act({'evacuate': {'onSharedStorage': True}}, user='admin')
    member.server.wait()
    # Nova sets the host a moment after it has set the task state.
    if not hosts.wait(lambda: hosts.of(member.server) != source, 30):
        raise AssertionError('the server is still on %s' % source)


@operation('reboot of the host')
def host_reboot(members):
    """With the option that starts the servers that ran before."""
    hosts.set_option('resume_guests_state_on_host_boot = true')
    try:
        for host in hosts.machines():
            hosts.crash(host)
        hosts.start()
        for member in members:
            member.server.wait()
    finally:
        hosts.set_option(None)
        hosts.start()


def _resizes(name, size):
    """Register a cold resize, confirmed and reverted."""
    def confirm(member):
        member.resized_to(size)
        _move(member, {'resize': {'flavorRef': member.flavor.id}},
              'confirmResize')

    def revert(member):
        flavor = member.fleet.flavor(size, member.model)
        _move(member, {'resize': {'flavorRef': flavor.id}}, 'revertResize')

    each('resize to %s, reverted' % name)(revert)
    each('resize to %s, confirmed' % name)(confirm)


_resizes('a larger flavor', 'larger')
_resizes('a smaller flavor', 'smaller')
_resizes('a plain flavor', 'plain')


@each('delete')
def delete(member):
    member.fleet.retire(member)
