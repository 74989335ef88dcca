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

"""Hosts: each a libvirtd in its own namespaces and a nova-compute."""

import os
import subprocess
import uuid

from stack import hook
from stack import hugepages
from stack import images
from stack import plugin
from stack import process
from stack import root
from stack import settings as settings_
from stack import venv

# What the private folders of a host are mounted on, see host.sh.
MOUNT_POINTS = ('/etc/libvirt', '/run/libvirt', '/var/lib/libvirt',
                '/var/cache/libvirt', '/var/log/libvirt',
                '/usr/share/qemu/firmware')
PLUGIN_DRIVER = 'memhotplug.MemHotplugLibvirtDriver'
PLUGIN_TRAIT = 'CUSTOM_MEMORY_HOTPLUG'
STOCK_DRIVER = 'libvirt.LibvirtDriver'
# What a server of the flavors of the sandbox takes of a host.
SMALLEST = {'VCPU': 1, 'MEMORY_MB': 512, 'DISK_GB': 1}


def address(host):
    """Return the loopback address of a host: lv1 has 127.0.0.11."""
    return '127.0.0.1%s' % host[2:]


def uri(settings, host):
    return 'qemu+unix:///system?socket=%s/run/libvirt-sock' % (
        settings.hosts / host)


def configure(settings):
    """Write the configuration of every host."""
    _make_mount_points(settings)
    driver = (PLUGIN_DRIVER if plugin.is_usable(settings)
              else STOCK_DRIVER)
    firmware = settings.etc / 'firmware'
    settings.render('firmware.json', firmware / '50-aarch64.json',
                    firmware=images.firmware(settings))
    for host in settings.hostnames:
        folder = settings.hosts / host
        for name in ('etc', 'run', 'lib', 'cache', 'log', 'nova',
                     'hugepages'):
            (folder / name).mkdir(parents=True, exist_ok=True)
        link = settings.hosts / address(host)
        if not link.is_symlink():
            link.symlink_to(host)
        values = {
            'host': host, 'host_state': folder,
            'host_address': address(host), 'compute_driver': driver,
            'host_uuid': uuid.uuid5(uuid.NAMESPACE_URL, str(folder))}
        settings.render('nova-compute.conf', settings.etc / (host + '.conf'),
                        **values)
        for name in ('libvirtd.conf', 'qemu.conf'):
            settings.render(name, folder / 'etc' / name, **values)


def _make_mount_points(settings):
    """Create folders that Debian's packages leave to systemd to create."""
    made = settings.run / 'mount-points'
    known = made.read_text().splitlines() if made.exists() else []
    for name in MOUNT_POINTS:
        if not os.path.isdir(name):
            os.makedirs(name)
            known.append(name)
    made.write_text(''.join('%s\n' % name for name in known))


def remove_mount_points(settings):
    """Remove the folders that were created, where they are empty.

    Not while another sandbox runs: removing a mount point would unmount what
    is on it in the namespaces of that one.
    """
    made = settings.run / 'mount-points'
    if not made.exists() or not process.is_alone(settings):
        return
    for name in made.read_text().splitlines():
        try:
            os.rmdir(name)
        except OSError:
            pass
    made.unlink()


def start_hypervisors(settings):
    services = []
    for host, release in zip(
            settings.hostnames, settings.releases, strict=True):
        folder = settings.hosts / host
        service = process.Service(
            'libvirtd-%s' % host,
            ['unshare', '--mount', '--uts', '--propagation', 'private',
             settings_.SANDBOX / 'stack' / 'host.sh', host, folder,
             settings.etc / 'firmware', root.path(settings, release),
             settings.state, '/usr/sbin/libvirtd', '--config',
             '/etc/libvirt/libvirtd.conf', '--pid-file',
             folder / 'run' / 'libvirtd.pid'],
            files=[folder / 'etc' / 'libvirtd.conf',
                   folder / 'etc' / 'qemu.conf',
                   hugepages.record(settings)],
            socket=folder / 'run' / 'libvirt-sock')
        process.start(settings, service)
        services.append(service)
    return services


def start(settings, restart=False):
    """Start nova-compute on every host.

    :param restart: also where it runs already
    """
    services = []
    for host in settings.hostnames:
        config = [settings.etc / 'nova-common.conf',
                  settings.etc / (host + '.conf')]
        services.append(process.Service(
            'nova-compute-%s' % host,
            [settings.bin('nova-compute'), '--config-file', config[0],
             '--config-file', config[1]],
            files=[*config, hugepages.record(settings),
                   *hook.files(settings)],
            env=hook.environment(settings),
            extra=plugin.state(settings)['digest']))
    if restart:
        process.stop(settings, *(service.name for service in services))
    for service in services:
        process.start(settings, service)
    return services


def stop_surplus(settings):
    """Stop hosts that an earlier "up" started and this one does not want."""
    for folder in settings.hosts.glob('lv*'):
        if folder.name not in settings.hostnames:
            process.stop(settings, 'nova-compute-%s' % folder.name)
            destroy_guests(settings, folder.name)
            process.stop(settings, 'libvirtd-%s' % folder.name,
                         'guest-%s' % folder.name)


def wait_ready(settings, for_servers=True):
    """Wait until every host, and what serves all hosts, takes requests.

    :param for_servers: and until servers can be created on every host, which
        has to be mapped to the cell for that
    """
    hosts = settings.hostnames
    flavor = {'resources': SMALLEST, 'required': [
        PLUGIN_TRAIT] if plugin.is_usable(settings) else []}
    venv.cloud(
        settings, 'ready.py', 'Nova did not become ready', {
            'hosts': hosts,
            'flavor': flavor if for_servers else None,
            'queues': ['conductor', 'scheduler'] + [
                'compute.%s' % host for host in hosts],
            'broker': {'host': '%s:%d' % (settings_.ADDRESS,
                                          settings.port('messaging')),
                       'userid': 'openstack',
                       'password': settings.password('messaging')},
            'timeout': 120})


def destroy_guests(settings, host):
    """Turn off every guest of a host; returns how many there were."""
    if not process.find(settings, 'libvirtd-%s' % host):
        return 0
    names = _virsh(settings, host, 'list', '--name').split()
    for name in names:
        _virsh(settings, host, 'destroy', name)
    return len(names)


def _virsh(settings, host, *args):
    try:
        return subprocess.run(
            ['virsh', '-q', '-c', uri(settings, host), *args], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ''


def all_hosts(settings):
    return sorted(path.name for path in settings.hosts.glob('lv*')
                  if not path.is_symlink())
