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

"""Events of libvirt that Nova itself does not ask for."""

import typing as ty

from nova.virt import event as virtevent
from nova.virt.libvirt import host as libvirt_host
from oslo_utils import importutils

libvirt = importutils.try_import('libvirt')


class AgentConnected(virtevent.InstanceEvent):
    """The guest agent of a server has begun to listen.

    It does so after each start of the guest, after its own start, and on the
    host to which the guest was migrated (facts-events.md, question 3).
    """


class MemorySizeChanged(virtevent.InstanceEvent):
    """A guest has taken memory of a device, or has given some back.

    After a reset of the guest it is 0, and then what it was
    (facts-events.md, question 4).
    """


class GuestEvents:
    """Has Nova's driver told what happens to the guests of a host.

    :param host: Nova's handle on the hypervisor
    """

    def __init__(self, host: libvirt_host.Host):
        self._host = host
        self._connection: ty.Any = None

    def listen(self) -> bool:
        """Ask libvirt for the events, once for each connection to it.

        Nova makes a new connection after one was lost. What happened in
        between is told by nobody.

        :returns: whether it was done now, so that something may have been
            missed
        :raises nova.exception.HypervisorUnavailable: if there is no libvirt
        """
        connection = self._host.get_connection()
        if connection is self._connection:
            return False
        connection.domainEventRegisterAny(
            None, libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE,
            _queue_connected, self._host)
        connection.domainEventRegisterAny(
            None, libvirt.VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE,
            _queue_size_change, self._host)
        self._connection = connection
        return True


def _queue_connected(
    _connection: ty.Any, domain: ty.Any, state: int, _reason: int,
    host: libvirt_host.Host,
) -> None:
    """Put an event into Nova's own queue, which ends at the driver.

    libvirt calls this in a thread that may do nothing else
    (nova/virt/libvirt/host.py, _event_lifecycle_callback).
    """
    if state == (
            libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED):
        _queue(host, AgentConnected(domain.UUIDString()))


def _queue_size_change(
    _connection: ty.Any, domain: ty.Any, _alias: str, _size_kib: int,
    host: libvirt_host.Host,
) -> None:
    """Put an event into Nova's own queue, as above."""
    _queue(host, MemorySizeChanged(domain.UUIDString()))


def _queue(host: libvirt_host.Host, event: virtevent.InstanceEvent) -> None:
    # Before Nova 33 the host had no handler of its own for events.
    handler: ty.Any = getattr(host, '_event_handler', host)
    handler._queue_event(event)
