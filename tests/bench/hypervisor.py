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

"""The guests of a host as libvirt and QEMU have them.

When new memory is online is told by QEMU: the guest's kernel reports the end
of every hot-plug to the firmware (``_OST``, which becomes QEMU's event
ACPI_DEVICE_OST), after it has brought the memory online itself, as the kernel
of the sandbox's guests does. That costs the guest nothing.
"""

import threading
import time

import libvirt
import libvirt_qemu

EVENT = 'ACPI_DEVICE_OST'
TIMEOUT = 60
DIMM = ('<memory model="dimm"><target><size unit="MiB">%d</size>'
        '<node>%d</node></target></memory>')
#: The empty NUMA node of a guest with one node of its own.
NODE = 1


def start_events():
    """Have libvirt deliver events to this process. Once, and first of all."""
    libvirt.virEventRegisterDefaultImpl()
    libvirt.registerErrorHandler(lambda *_: None, None)

    def run():
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=run, daemon=True).start()


class Hypervisor:
    """A connection to a host. Events have to be started before.

    :param uri: of its libvirt
    """

    def __init__(self, uri):
        self._connection = libvirt.open(uri)
        self._changed = threading.Condition()
        #: server ID -> when hot-plugs ended, in ns of the monotonic clock
        self._plugged = {}
        self._keep = libvirt_qemu.qemuMonitorEventRegister(
            self._connection, None, EVENT, self._plug_ended, None, 0)

    def _plug_ended(self, _connection, domain, _event, seconds, micros,
                    _details, _opaque):
        # QEMU's clock is the wall clock; it stands where it stood just now.
        late = time.time_ns() - (seconds * 10**9 + micros * 1000)
        when = time.monotonic_ns() - max(0, late)
        with self._changed:
            self._plugged.setdefault(domain.UUIDString(), []).append(when)
            self._changed.notify_all()

    def plugs(self, server_id):
        """Say how many hot-plugs of a guest have ended."""
        with self._changed:
            return len(self._plugged.get(server_id, ()))

    def wait_plugged(self, server_id, before):
        """Wait until the kernel of a guest has more memory than before.

        :param server_id: the server
        :param before: what ``plugs`` said before
        :returns: when the last hot-plug ended, in ns of the monotonic clock
        """
        with self._changed:
            if not self._changed.wait_for(
                    lambda: len(self._plugged.get(server_id, ())) > before,
                    TIMEOUT):
                raise RuntimeError('no hot-plug ended in %s' % server_id)
            return self._plugged[server_id][-1]

    def attach(self, server_id, size_mb):
        """Give a guest memory by hand: what a growth costs at least.

        :param server_id: the server
        :param size_mb: in MiB
        :returns: milliseconds until libvirt had answered and the memory was
            online
        """
        domain = self._connection.lookupByUUIDString(server_id)
        before = self.plugs(server_id)
        start = time.monotonic_ns()
        domain.attachDeviceFlags(
            DIMM % (size_mb, NODE), libvirt.VIR_DOMAIN_AFFECT_LIVE |
            libvirt.VIR_DOMAIN_AFFECT_CONFIG)
        attached = time.monotonic_ns()
        online = self.wait_plugged(server_id, before)
        return (max(attached, online) - start) / 1e6

    def versions(self):
        """Return the versions of libvirt and QEMU: {name: text}."""
        return {
            'libvirt': _dotted(self._connection.getLibVersion()),
            'QEMU': _dotted(self._connection.getVersion()),
        }


def _dotted(number):
    return '%d.%d.%d' % (number // 1000000, number // 1000 % 1000,
                         number % 1000)
