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

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import dataclasses
import re
import typing as ty

from lxml import etree
from nova.compute import power_state
from nova.virt.libvirt import guest as libvirt_guest
from nova.virt.libvirt import host as libvirt_host
from oslo_log import log as logging
from oslo_utils import importutils
import tenacity

from nova_memhotplug.common import options
from nova_memhotplug.core import balloon
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import planner
from nova_memhotplug.models import registry
from nova_memhotplug.virt import address_space
from nova_memhotplug.virt import agent
from nova_memhotplug.virt import config
from nova_memhotplug.virt import emulator
from nova_memhotplug.virt import metadata
from nova_memhotplug.virt import monitor
from nova_memhotplug.virt import regions

libvirt = importutils.try_import('libvirt')
libvirt_qemu = importutils.try_import('libvirt_qemu')

CONF = options.CONF

LOG = logging.getLogger(__name__)

#: QEMU, hw/mem/pc-dimm.c, pc_dimm_get_free_slot().
_SLOT_IS_BUSY = re.compile(r'slot \d+ is busy')

#: Seconds that a guest has to let go of a device, as libvirt itself waits
#: (src/qemu/qemu_hotplug.c, qemuDomainRemoveDeviceWaitTime), and between two
#: looks.
DETACH_TIMEOUT = 5
DETACH_INTERVAL = 0.2


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Turn libvirt's errors into ours."""
    try:
        yield
    except libvirt.libvirtError as exc:
        is_gone = exc.get_error_domain() in (
            libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE)
        kind = errors.HypervisorGone if is_gone else errors.HypervisorRefused
        raise kind(reason=exc)


def _wait_until_none(left: Callable[[], set[str]]) -> set[str]:
    """Give a guest time to let go of devices.

    :param left: says which it still has
    :returns: what it has kept
    """
    return tenacity.Retrying(
        stop=tenacity.stop_after_delay(DETACH_TIMEOUT),
        wait=tenacity.wait_fixed(DETACH_INTERVAL),
        retry=tenacity.retry_if_result(bool),
        retry_error_callback=lambda state: ty.cast(
            ty.Any, state).outcome.result())(left)


class Guests:
    """The guests of one host.

    :param host: Nova's handle on the hypervisor
    """

    def __init__(self, host: libvirt_host.Host):
        self._host = host

    def of(self, instance: ty.Any) -> 'LiveGuest':
        """Find the guest of an instance.

        :param instance: a ``nova.objects.Instance``
        :returns: its guest's memory
        :raises nova.exception.InstanceNotFound: if it has no domain
        """
        return LiveGuest(self._host, self._host.get_guest(instance))

    def find(self, uuid: str) -> 'LiveGuest | None':
        """Find a guest by the UUID of its server.

        :param uuid: of a server on any host
        :returns: its guest's memory; None if it has no domain here
        :raises HypervisorRefused: if libvirt does not tell
        """
        with _refusals():
            connection = self._host.get_connection()
            try:
                found = connection.lookupByUUIDString(uuid)
            except libvirt.libvirtError as exc:
                if exc.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    return None
                raise
        return LiveGuest(self._host, libvirt_guest.Guest(found))

    def totals(self, uuids: Iterable[str]) -> dict[str, int | None]:
        """Say what running guests have, in one listing of the host.

        :param uuids: UUIDs of the servers that are asked for
        :returns: RAM of each, in MiB, by the server's UUID; None for a guest
            that cannot be read
        :raises HypervisorRefused: if libvirt does not list them
        """
        wanted = set(uuids)
        return {uuid: _total_mb(uuid, live)
                for uuid, live in self.running().items() if uuid in wanted}

    def shim_users(self) -> dict[str, int]:
        """Count the guests of the host that name the emulator shim.

        :returns: how many do that are ``running``, that have such a
            ``stored`` definition, that are ``saved``
        :raises HypervisorRefused: if libvirt does not tell
        :raises UnreadableDomain: if what it tells is not XML
        """
        with _refusals():
            return {state: len(names) for state, names in emulator.users(
                self._host.get_connection(),
                CONF.memhotplug.shim_directory).items()}

    def running(self) -> dict[str, 'LiveGuest']:
        """List the guests of the host that run, paused ones included.

        :returns: the guests, by the UUID of the server
        :raises HypervisorRefused: if libvirt does not list them
        """
        with _refusals():
            return {one.uuid: LiveGuest(self._host, one)
                    for one in self._host.list_guests()}


def _total_mb(uuid: str, live: 'LiveGuest') -> int | None:
    try:
        return live.read().present_mb
    except errors.MemoryHotplugError as exc:
        LOG.warning('%s', exc, instance_uuid=uuid)
        return None


class LiveGuest:
    """The memory of one running guest.

    :param host: Nova's handle on the hypervisor
    :param guest: Nova's handle on the guest
    """

    def __init__(
        self, host: libvirt_host.Host, guest: libvirt_guest.Guest,
    ):
        self._host = host
        self._guest = guest

    def is_running(self) -> bool:
        """Tell whether there is a live domain; its guest may be paused."""
        with _refusals():
            return bool(self._guest.is_active())

    def is_paused(self) -> bool:
        """Tell whether the guest stands still and so cannot answer."""
        with _refusals():
            return (self._guest.get_power_state(self._host) ==
                    power_state.PAUSED)

    def read(self) -> domain.GuestMemory:
        """Read the live domain, which is the truth (design T2).

        :returns: what the guest has
        :raises UnreadableDomain: if the domain's XML lacks what is needed
        """
        return self._read(live=True)

    def balloon(self) -> balloon.Figures | None:
        """Read what the guest's balloon driver has told last.

        :returns: that; None if it has told nothing, or libvirt does not
            say
        """
        try:
            return balloon.figures(self._guest._domain.memoryStats())
        except libvirt.libvirtError as exc:
            LOG.debug('No statistics of the balloon: %s', exc,
                      instance_uuid=self._guest.uuid)
            return None

    def agent(self, is_patient: bool) -> agent.GuestAgent:
        """Get the guest's agent, whether or not it answers.

        :param is_patient: whether it is asked as part of a resize
        """
        return agent.GuestAgent(
            self._host._wrap_libvirt_proxy(libvirt_qemu),
            self._guest._domain, is_patient)

    def apply(self, change: planner.Change) -> None:
        """Make one change, live and persistent (design T4).

        :param change: what to attach, to update or to take away
        :raises HypervisorRefused: if libvirt or QEMU refuses; both have
            then undone what they did (facts-qemu-libvirt.md, section 3)
        :raises LostDevice: if a device is in the way that libvirt has lost,
            and the guest keeps it
        :raises GuestKeeps: if the guest keeps what is to be taken away
        """
        if change.action == planner.DETACH:
            self.take_back({ty.cast(str, change.device.alias)})
            return
        try:
            self._apply(change)
        except errors.HypervisorRefused as exc:
            if not _SLOT_IS_BUSY.search(str(exc)):
                raise
            self._take_lost()
            self._apply(change)

    def undo(self, changes: Iterable[planner.Change]) -> None:
        """Undo changes, as far as they have been made.

        :param changes: what was to be done
        :raises GuestKeeps: if the guest keeps anything that is new
        :raises HypervisorRefused: if libvirt does not do it
        """
        undos = [one.undo for one in changes if one.undo is not None]
        for undo in undos:
            if undo.action == planner.UPDATE:
                self.apply(undo)
        self.take_back(self.aliases() & {
            one.device.alias for one in undos
            if one.action == planner.DETACH})

    def _apply(self, change: planner.Change) -> None:
        with _refusals():
            if change.action == planner.UPDATE:
                self._guest._domain.updateDeviceFlags(
                    change.xml, libvirt.VIR_DOMAIN_AFFECT_LIVE |
                    libvirt.VIR_DOMAIN_AFFECT_CONFIG)
            else:
                self._guest.attach_device(
                    config.Verbatim(etree.fromstring(change.xml)),
                    persistent=True, live=True)

    def _take_lost(self) -> None:
        """Take away our devices that QEMU has and libvirt has lost."""
        qemu = self._monitor()
        with _refusals():
            lost = qemu.our_devices().keys() - self.aliases()
            LOG.warning('libvirt has lost memory devices: %s',
                        ', '.join(sorted(lost)) or 'none of ours',
                        instance_uuid=self._guest.uuid)
            for name in lost:
                qemu.unplug(name)
            kept = _wait_until_none(lambda: lost & qemu.our_devices().keys())
            if kept or not lost:
                raise errors.LostDevice()
        self.delete_orphans()

    def delete_orphans(self) -> None:
        """Give back memory of the host that no device of the guest uses.

        libvirt makes the backend of a device first. If it is killed then, it
        knows nothing of it. Nothing may be attached to the guest meanwhile.

        :raises HypervisorRefused: if QEMU does not do it
        """
        qemu = self._monitor()
        with _refusals():
            for name in sorted(qemu.orphans()):
                LOG.warning('Memory of the host that a cut short resize has '
                            'left behind is given back: %s', name,
                            instance_uuid=self._guest.uuid)
                qemu.delete_backend(name)

    def _monitor(self) -> monitor.Monitor:
        return monitor.Monitor(
            self._host._wrap_libvirt_proxy(libvirt_qemu), self._guest._domain)

    def take_back(self, aliases: set[str]) -> None:
        """Ask the guest to let go of devices.

        libvirt reports success before the guest has answered, so the live
        domain is looked at before the persistent one is changed
        (facts-qemu-libvirt.md, section 6).

        :param aliases: names of devices of the live domain
        :raises GuestKeeps: if the guest keeps any of them
        :raises HypervisorRefused: if libvirt does not ask it
        """
        asked = {alias for alias in sorted(aliases) if self._ask_for(alias)}
        # libvirt does not wait when a device is detached by its alias.
        kept = _wait_until_none(lambda: asked & self.aliases())
        kept |= (aliases - asked) & self.aliases()
        self.forget_gone()
        if kept:
            raise errors.GuestKeeps(devices=', '.join(sorted(kept)))

    def _ask_for(self, alias: str) -> bool:
        """Ask the guest to let go of a device.

        It may have done so already, or refuse: what it has then tells.

        :returns: whether it is being asked
        """
        try:
            with _refusals():
                self._guest._domain.detachDeviceAlias(
                    alias, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        except errors.HypervisorRefused as exc:
            LOG.warning('Memory device %(alias)s: %(reason)s',
                        {'alias': alias, 'reason': exc},
                        instance_uuid=self._guest.uuid)
            return False
        return True

    def forget_gone(self, guest: domain.GuestMemory | None = None) -> None:
        """Take what the guest has let go of out of the persistent domain.

        A guest may do that long after it was asked to.

        :param guest: what it has, if that was read just now
        :raises HypervisorRefused: if libvirt does not do it
        """
        live = self.aliases() if guest is None else _aliases(guest)
        for alias in sorted(self.aliases(live=False) - live):
            with _refusals():
                self._guest._domain.detachDeviceAlias(
                    alias, libvirt.VIR_DOMAIN_AFFECT_CONFIG)

    def tell_flavor(self, flavor: ty.Any) -> None:
        """Write a flavor into the domain's metadata, live and stored.

        :param flavor: the ``nova.objects.Flavor`` that the server has
        :raises HypervisorRefused: if libvirt does not do it
        :raises UnreadableDomain: if what is there is not XML
        """
        with _refusals():
            before = self._guest._domain.metadata(
                libvirt.VIR_DOMAIN_METADATA_ELEMENT, metadata.NAMESPACE,
                libvirt.VIR_DOMAIN_AFFECT_LIVE)
            self._guest._domain.setMetadata(
                libvirt.VIR_DOMAIN_METADATA_ELEMENT,
                metadata.with_flavor(before, flavor), metadata.PREFIX,
                metadata.NAMESPACE, libvirt.VIR_DOMAIN_AFFECT_LIVE |
                libvirt.VIR_DOMAIN_AFFECT_CONFIG)

    def aliases(self, live: bool = True) -> set[str]:
        """Name the memory devices that this package has attached.

        :param live: of the live or of the persistent domain
        """
        return _aliases(self._read(live))

    def _read(self, live: bool) -> domain.GuestMemory:
        with _refusals():
            xml = self._guest.get_xml_desc(dump_inactive=not live)
        found = domain.read(xml, registry.read)
        if found.is_amd is None:
            found = dataclasses.replace(
                found, is_amd=address_space.host_of(self._host).is_amd)
        return found.within(regions.read()) if found.servers else found


def _aliases(guest: domain.GuestMemory) -> set[str]:
    """Name the memory devices of a guest that this package has attached."""
    return {dev.alias for dev in guest.devices
            if dev.alias is not None and dev.is_ours}
