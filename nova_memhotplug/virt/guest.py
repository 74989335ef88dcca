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

"""The memory of a running guest: read it, add to it, take back."""

import contextlib
import dataclasses

from lxml import etree
from nova.compute import power_state
from nova.virt.libvirt import guest as libvirt_guest
from nova.virt.libvirt import host as libvirt_host
from oslo_utils import importutils

from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import planner
from nova_memhotplug.models import registry
from nova_memhotplug.virt import agent
from nova_memhotplug.virt import config

libvirt = importutils.try_import('libvirt')

#: virDomainDeviceModifyFlags (libvirt, include/libvirt/libvirt-domain.h).
LIVE_AND_CONFIG = 3


@contextlib.contextmanager
def _refusals():
    """Turn libvirt's errors into ours."""
    try:
        yield
    except libvirt.libvirtError as exc:
        raise errors.HypervisorRefused(reason=exc)


class GuestMemory:
    """The memory of one running guest.

    :param guest: Nova's handle on the guest
    """

    def __init__(self, guest: libvirt_guest.Guest):
        self._guest = guest

    @classmethod
    def of(cls, host: libvirt_host.Host, instance) -> 'GuestMemory':
        """Find the guest of an instance.

        :param host: Nova's handle on the hypervisor
        :param instance: a ``nova.objects.Instance``
        :returns: its guest's memory
        :raises nova.exception.InstanceNotFound: if it has no domain
        """
        return cls(host.get_guest(instance))

    def is_running(self, host: libvirt_host.Host) -> bool:
        """Tell whether the guest runs; a paused one does not."""
        return self._guest.get_power_state(host) == power_state.RUNNING

    def read(self) -> domain.GuestMemory:
        """Read the live domain, which is the truth (design T2).

        :returns: what the guest has
        :raises UnreadableDomain: if the domain's XML lacks what is needed
        """
        return self._read(live=True)

    def agent(self) -> agent.GuestAgent:
        """Get the guest's agent, whether or not it answers."""
        return agent.GuestAgent(self._guest._domain)

    def apply(self, change: planner.Change) -> None:
        """Make one change, live and persistent (design T4).

        :param change: what to attach or to update
        :raises HypervisorRefused: if libvirt or QEMU refuses; both have
            then undone what they did (facts-qemu-libvirt.md, section 3)
        """
        with _refusals():
            if change.update:
                self._guest._domain.updateDeviceFlags(
                    change.xml, LIVE_AND_CONFIG)
            else:
                self._guest.attach_device(
                    config.Verbatim(etree.fromstring(change.xml)),
                    persistent=True, live=True)

    def take_back(self, devices: tuple[device.MemoryDevice, ...]) -> bool:
        """Ask the guest to let go of devices.

        :param devices: devices of the live domain
        :returns: whether the live domain is rid of all of them
        :raises HypervisorRefused: if the guest says no
        """
        with _refusals():
            for dev in devices:
                self._detach(dev)
        return not set(devices) & set(self.read().devices)

    def _read(self, live: bool) -> domain.GuestMemory:
        xml = self._guest.get_xml_desc(dump_inactive=not live)
        readers = {name: model.read
                   for name, model in registry.models().items()}
        return domain.read(xml, readers)

    def _detach(self, dev: device.MemoryDevice) -> None:
        conf = config.Verbatim(device.build(dev))
        self._guest.detach_device(conf, persistent=False, live=True)
        twin = self._persistent_twin(dev)
        if twin is not None and dev not in self.read().devices:
            conf = config.Verbatim(device.build(twin))
            self._guest.detach_device(conf, persistent=True, live=False)

    def _persistent_twin(
        self, dev: device.MemoryDevice,
    ) -> device.MemoryDevice | None:
        """Find the device in the persistent domain, newest first.

        There it has no alias and no base, and after a live detach it may
        have another slot (facts-qemu-libvirt.md, section 8).
        """
        def shape(one):
            return dataclasses.replace(one, alias=None, base=None, slot=None)

        twins = [one for one in self._read(live=False).devices
                 if shape(one) == shape(dev)]
        same_slot = [one for one in twins if one.slot == dev.slot]
        return (same_slot or twins or [None])[-1]
