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

"""QEMU itself, where libvirt does not know what it has.

When libvirtd is killed while it adds a device, QEMU may have the device and
libvirt not: it writes down what it has done afterwards. No call of libvirt
takes such a device away, and QEMU refuses the next one in its slot
(hw/mem/pc-dimm.c, pc_dimm_get_free_slot).
"""

import typing as ty

from oslo_serialization import jsonutils

from nova_memhotplug.core import device
from nova_memhotplug.core import errors

_OBJECTS = '/objects/'
#: libvirt, src/qemu/qemu_hotplug.c, qemuDomainAttachMemory(): a backend has
#: the name of its device.
_OUR_BACKENDS = 'mem' + device.ALIAS_PREFIX


class Monitor:
    """The monitor of one running guest.

    libvirt marks a guest as tainted whose monitor was used, so this is for
    what cannot be mended otherwise.

    :param qemu: the module ``libvirt_qemu``, wrapped as Nova wraps libvirt
        where a call would otherwise block a whole eventlet process
    :param domain: a ``libvirt.virDomain``
    """

    def __init__(self, qemu: ty.Any, domain: ty.Any):
        self._qemu = qemu
        self._domain = domain

    def our_devices(self) -> dict[str, str]:
        """Name the memory devices that this package has attached.

        :returns: the name of each device's backend, by that of the device
        :raises HypervisorRefused: if QEMU does not say
        """
        found = (one['data'] for one in self._ask('query-memory-devices'))
        return {
            data['id']: data['memdev'].removeprefix(_OBJECTS)
            for data in found
            if data.get('id', '').startswith(device.ALIAS_PREFIX)}

    def orphans(self) -> set[str]:
        """Name the backends of ours that no device has.

        QEMU makes the backend of a device before the device.

        :raises HypervisorRefused: if QEMU does not say
        """
        found = {one['name'] for one in self._ask(
            'qom-list', {'path': _OBJECTS.rstrip('/')})
            if one['name'].startswith(_OUR_BACKENDS)}
        return found - set(self.our_devices().values())

    def unplug(self, name: str) -> None:
        """Ask the guest to let go of a device; it answers when it likes.

        :param name: of the device
        :raises HypervisorRefused: if QEMU refuses
        """
        self._ask('device_del', {'id': name})

    def delete_backend(self, name: str) -> None:
        """Delete the backend of a device that is gone, or never was.

        :param name: of the backend
        :raises HypervisorRefused: if QEMU refuses
        """
        self._ask('object-del', {'id': name})

    def _ask(self, command: str, arguments: ty.Any = None) -> ty.Any:
        question = {'execute': command}
        if arguments:
            question['arguments'] = arguments
        answer = jsonutils.loads(self._qemu.qemuMonitorCommand(
            self._domain, jsonutils.dumps(question), 0))
        if 'error' in answer:
            raise errors.HypervisorRefused(
                reason='%s: %s' % (command, answer['error'].get('desc')))
        return answer['return']
