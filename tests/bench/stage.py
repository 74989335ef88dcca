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

"""The servers, flavors and images of the benchmark, and their removal."""

import re

from tests.live import cloud

#: Whatever the benchmark makes has a name that begins so.
PREFIX = 'bench-'
ARCHS = cloud.ARCHS
BOOT_MB = 512
BLOCK_MB = 128
CEILING_MB = 16384
TIMEOUT = 300
#: What the project may have while the benchmark runs. Nova counts what it has
#: as ever, which it might not without any limit.
QUOTA = {'instances': 1000, 'cores': 1000, 'ram': 10**7}


class Stage:
    """What the benchmark has made, to be removed by ``clean``."""

    def __init__(self):
        self._admin = cloud.connect('admin')

    def lift_quota(self):
        """Let the project have as many servers as the host can bear."""
        self._admin.compute.update_quota_set(
            cloud.connect('member').current_project_id, force=True, **QUOTA)

    def flavor(self, name, ram=BOOT_MB, slots=16, **extra_specs):
        """Make a flavor whose servers can grow.

        :param name: without the prefix
        :param ram: in MiB
        :param slots: for devices
        :param extra_specs: more, with ``__`` for ``:``
        :returns: its whole name
        """
        name = PREFIX + name
        compute = self._admin.compute
        flavor = compute.find_flavor(name)
        if flavor is None:
            flavor = compute.create_flavor(
                name=name, ram=ram, vcpus=1, disk=1, is_public=True)
            compute.create_flavor_extra_specs(flavor, {
                'memhotplug:max_memory_mb': str(CEILING_MB),
                'memhotplug:slots': str(slots),
                'trait:CUSTOM_MEMORY_HOTPLUG': 'required',
                **{key.replace('__', ':'): value
                   for key, value in extra_specs.items()}})
        return name

    def silent_image(self, arch):
        """Make an image whose guests have no agent.

        :param arch: of the guests
        :returns: its name
        """
        name = PREFIX + 'silent-' + arch
        cloud.copy_image(arch, name, without=('hw_qemu_guest_agent',))
        return name

    def empty_image(self):
        """Make an image with nothing to boot, for guests that do nothing.

        :returns: its name
        """
        name = PREFIX + 'empty'
        cloud.copy_image('x86_64', name, without=(
            'kernel_id', 'ramdisk_id', 'os_command_line',
            'hw_qemu_guest_agent'))
        return name

    def create(self, name, flavor, arch='x86_64', image=None):
        """Create a server without waiting for it.

        :param name: without the prefix
        :param flavor: name of its flavor
        :param arch: of its guest
        :param image: name of another image than that of the architecture
        :returns: a ``tests.live.cloud.Server``
        """
        return cloud.create_server(arch, flavor, PREFIX + name, image=image)

    def boot(self, *names, **how):
        """Create servers and wait until their guests have booted.

        :param names: of the servers
        :param how: for ``create``
        :returns: the servers
        """
        servers = [self.create(name, **how) for name in names]
        for server in servers:
            server.wait(seconds=TIMEOUT)
            server.wait_guest('first report', bool, TIMEOUT)
        return servers

    def delete(self, *servers):
        """Delete servers and wait until they are gone."""
        compute = self._admin.compute
        for server in servers:
            compute.delete_server(server.id, ignore_missing=True)
        for server in servers:
            cloud.until(TIMEOUT, 'server gone', lambda: compute.find_server(
                server.id, all_projects=True) is None)

    def clean(self):
        """Remove all that a run has made, also one that was killed."""
        compute, image = self._admin.compute, self._admin.image
        self.delete(*(
            one for one in compute.servers(all_projects=True)
            if _is_ours(one)))
        for flavor in compute.flavors(is_public=None):
            if _is_ours(flavor):
                compute.delete_flavor(flavor)
        for one in image.images():
            if _is_ours(one):
                image.delete_image(one)
        # Back to what the configuration says.
        compute.revert_quota_set(cloud.connect('member').current_project_id)


def _is_ours(thing):
    return re.match(re.escape(PREFIX), thing.name) is not None


def check_grown(server, added_mb):
    """Check that a guest uses all that it was given (before it is deleted).

    :param server: the server
    :param added_mb: what has been added since it was booted, in MiB
    """
    said = server.wait_guest(
        '%d MiB more on node 1' % added_mb,
        lambda report: report['nodes'].get(1) == added_mb * 1024)
    if said['blocks_offline']:
        raise AssertionError('%d memory blocks are offline: %s' % (
            said['blocks_offline'], said))
