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


"""The sandbox as its operator sees it: commands on its hosts."""

import functools
import json
import subprocess
import sys
import tempfile

from nova_memhotplug.core import domain
from tests.live import agent
from tests.live import cloud

sys.path.insert(0, str(cloud.SANDBOX.parent))

from stack import compute  # noqa: E402
from stack import hugepages  # noqa: E402
from stack import process  # noqa: E402
from stack import settings as settings_  # noqa: E402

TIMEOUT = 300
_DIMM = ('<memory model="dimm"><target><size unit="MiB">%d</size>'
         '<node>%d</node></target></memory>')

#: More than is free of what the guest booted with.
_FILE_MIB = 450
_FILL = """
mkdir /mnt
mount -t ramfs ramfs /mnt
dd if=/dev/urandom of=/mnt/part bs=1M count=1
for part in $(seq %d); do cat /mnt/part; done > /mnt/file
""" % _FILE_MIB
_LOOK = """
read -r uptime _ < /proc/uptime
read -r boot < /proc/sys/kernel/random/boot_id
echo $uptime $boot $(stat -c %s /mnt/file) $(md5sum < /mnt/file)
"""


def host_of(server):
    """Name the host that a server is on."""
    return cloud.connect('admin').compute.get_server(server.id).compute_host


def migrate_live(server):
    """Migrate a server live, and wait until it is on another host."""
    source = host_of(server)
    server.start_live_migration()
    server.wait()
    if host_of(server) == source:
        raise AssertionError('the server is still on %s' % source)


def virsh(host, *arguments):
    """Run a command of virsh on a host.

    :returns: what it printed
    """
    return subprocess.run(
        ['virsh', '-q', '-c',
         compute.uri(settings_.from_environment(), host), *arguments],
        text=True, timeout=60, check=True, stdout=subprocess.PIPE).stdout


def fill(server):
    """Put a file into the memory of a guest that has grown to 1 GiB.

    :returns: what ``look_inside`` returns
    """
    _in_guest(server, _FILL)
    uptime, rest = look_inside(server)
    if rest[1] != str(_FILE_MIB << 20):
        raise AssertionError('the guest has no such file: %s' % rest)
    return uptime, rest


def look_inside(server):
    """Look into a guest with a file in its memory.

    :returns: its uptime in seconds; which boot this is, and size and
        checksum of the file
    """
    uptime, *rest = _in_guest(server, _LOOK).split()
    return float(uptime), rest


def _in_guest(server, script):
    return agent.run(
        functools.partial(virsh, host_of(server)), server.id, script)


def read_domain(server):
    """Read what the live domain of a server says of its memory."""
    return domain.read(virsh(host_of(server), 'dumpxml', server.id))


def domain_mb(server):
    """Read what the live domain of a server has, in MiB."""
    return read_domain(server).present_mb


def used_huge_pages_mb():
    """Read what is used of the huge pages of the machine, in MiB."""
    return hugepages.used() * hugepages.PAGE_MIB


def attach(server, size_mb, node=1):
    """Attach memory to a guest by hand."""
    with tempfile.NamedTemporaryFile('w', suffix='.xml') as device:
        device.write(_DIMM % (size_mb, node))
        device.flush()
        virsh(host_of(server), 'attach-device', server.id, device.name,
              '--live')


def attach_unseen(server, size_mb, slot, node=1):
    """Attach memory behind libvirt's back, as if it had been killed then.

    The device has a name as this package's have.
    """
    name = 'ua-memhotplug-unseen'
    ask_qemu(server, 'object-add', {
        'qom-type': 'memory-backend-ram', 'id': 'mem' + name,
        'size': size_mb << 20})
    ask_qemu(server, 'device_add', {
        'driver': 'pc-dimm', 'id': name, 'memdev': 'mem' + name,
        'slot': slot, 'node': node})


def ask_qemu(server, command, arguments=None):
    """Ask the QEMU of a server, and return its answer."""
    question = {'execute': command}
    if arguments:
        question['arguments'] = arguments
    answer = json.loads(virsh(
        host_of(server), 'qemu-monitor-command', server.id,
        json.dumps(question)))
    if 'error' in answer:
        raise AssertionError('%s: %s' % (command, answer['error']))
    return answer['return']


def run(command, *arguments, config='nova.conf'):
    """Run a command of the operator with Nova's configuration.

    :param command: nova-manage or one of this package's
    :param arguments: for it
    :param config: what is read beside the common configuration
    :returns: a ``subprocess.CompletedProcess`` with text; Nova's log is in
        what it wrote to standard error
    """
    settings = settings_.from_environment()
    return subprocess.run(
        [settings.bin(command),
         '--config-file', settings.etc / 'nova-common.conf',
         '--config-file', settings.etc / config, *arguments],
        env=process.environment(settings, command), text=True,
        timeout=TIMEOUT, capture_output=True)


def shim():
    """Find the emulator shim that the hosts share."""
    return settings_.from_environment().shim / 'qemu-memhotplug-shim'


def force_down(host, is_down):
    """Let Nova believe that a host is down, or look for itself."""
    _change_service(host, {'forced_down': is_down})


def disable(host, is_disabled=True):
    """Keep new servers from a host, or let them go there again."""
    _change_service(
        host, {'status': 'disabled' if is_disabled else 'enabled'})


def _change_service(host, body):
    nova = cloud.connect('admin').compute
    (service,) = nova.get(
        '/os-services?binary=nova-compute&host=%s' % host,
        microversion='2.53').json()['services']
    nova.put('/os-services/' + service['id'], microversion='2.53',
             json=body).raise_for_status()
