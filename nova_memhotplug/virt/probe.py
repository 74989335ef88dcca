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

"""Finds out what this host can start, by starting it.

A strategy is tried when somebody wants to know: with a throw-away guest that
is built as servers are, by ``virt.designer`` from Nova's config objects, with
the machine type and the backing of memory that ``[libvirt]`` names. It has a
few MiB, no disk, no network, is paused (it never runs an instruction),
transient (libvirt keeps no definition) and auto-destroyed (libvirt ends it
when the connection goes, so that a crashed service leaves nothing behind).

The guest has a virtio-mem, as servers of that memory model have from their
boot on. Where that keeps it from starting, it is tried without.

Nothing is concluded from version numbers; they only tell when to try again.
"""

from collections.abc import Callable
from collections.abc import Iterable
import os
import re
import threading
import typing as ty
import uuid

from lxml import builder  # type: ignore[attr-defined]  # not in stubs
from nova.virt.libvirt import config as vconfig
from nova.virt.libvirt import utils as libvirt_utils
from oslo_log import log as logging
from oslo_utils import importutils

from nova_memhotplug.common import options
from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import strategies
from nova_memhotplug.core import units
from nova_memhotplug.models import registry
from nova_memhotplug.virt import config
from nova_memhotplug.virt import designer

libvirt = importutils.try_import('libvirt')

CONF = options.CONF

LOG = logging.getLogger(__name__)

ARCHS = ('x86_64', 'aarch64')
#: Names of the guests: they are the same each time, so that whoever counts
#: the guests of a host, or keeps a log of each, sees no new ones.
SERVICE_NAME, COMMAND_NAME = 'memhotplug-probe', 'memhotplug-status'
#: Nothing of it is touched: the guest never runs.
MEMORY_KIB = 64 * units.KIB_PER_MIB
SPEC = memory_spec.MemorySpec(
    max_memory_mb=256, slots=1, zero_node=True,
    model=memory_spec.DEFAULT_MODEL)
#: Seconds to wait while somebody else tries something.
PATIENCE = 60
#: Longest refusal that is kept, in characters.
REFUSAL_LENGTH = 400

#: What QEMU says of an empty cell that is a memory backend
#: (facts-qemu-libvirt.md, headline 1): no other device makes that good.
_EMPTY_CELL = re.compile("doesn't take value '0'")
#: What a message of libvirt says about the probe and not about the host.
_PROBE_ONLY = re.compile(
    r" \(vm='memhotplug-[^']*'\)|\d+-\d+-\d+T[\d:.]+Z ")
#: What a message says of the state of a host: strerror(3), and libvirt's
#: words for a daemon that goes away (src/rpc/virnetsocket.c) or does not
#: answer, and for a guest of that name which is not gone yet.
_PASSING = re.compile(
    'cannot allocate memory|resource temporarily unavailable|'
    'no space left on device|too many open files|end of file while reading|'
    'timed out|already exists|is already active', re.IGNORECASE)

E = builder.ElementMaker()


class _Trial(ty.NamedTuple):
    """What is tried, and all that decides how it ends.

    :param name: of the guest
    :param virt_type: domain type, for example ``kvm``
    :param arch: the guest's architecture
    :param emulator: what libvirt is to run
    :param strategy: one of ``strategies.ORDER``
    :param machine: machine type that Nova takes where an image names none
    :param is_file_backed: ``[libvirt] file_backed_memory``
    :param versions: those of libvirt and of QEMU
    :param ctimes: of the emulator and of what libvirt runs; None where there
        is none, or where it is in another container
    """

    name: str
    virt_type: str
    arch: str
    emulator: str
    strategy: str
    machine: str | None
    is_file_backed: bool
    versions: tuple[int, int]
    ctimes: tuple[int | None, ...]


class _Outcome(ty.NamedTuple):
    """How a trial ended.

    :param refusal: why the guest did not start; None if it did
    :param no_virtio_mem: why it started only without a virtio-mem; None if
        it started with one, or not at all
    """

    refusal: str | None
    no_virtio_mem: str | None = None


class Prober:
    """Says what a host can start. What it has tried, it remembers.

    :param connect: returns a ``libvirt.virConnect``, perhaps in Nova's proxy
    :param virt_type: ``[libvirt] virt_type``
    :param shim_directory: directory that has the links to the shim
    :param name: how the names of the guests begin
    """

    def __init__(
        self, connect: Callable[[], ty.Any], virt_type: str,
        shim_directory: str, name: str = SERVICE_NAME,
    ):
        self._connect = connect
        self._virt_type = virt_type
        self._shim_directory = shim_directory
        self._name = name
        self._lock = threading.Lock()
        self._outcomes: dict[_Trial, _Outcome] = {}

    def archs(self) -> tuple[str, ...]:
        """List the guest architectures of the host, its own one first.

        :raises libvirt.libvirtError: if libvirt does not tell
        :raises UnreadableDomain: if what it tells is not XML
        """
        return tuple(_emulators(
            self._connect().getCapabilities(), self._virt_type))

    def support(
        self, arch: str, wanted: Iterable[str], is_one_enough: bool = True,
    ) -> strategies.ArchSupport | None:
        """Try strategies, unless that is known already.

        :param arch: the guest's architecture
        :param wanted: the strategies, in the order in which to try them
        :param is_one_enough: whether to stop at the first that works
        :returns: what was found; None if libvirt offers no emulator for it
        :raises libvirt.libvirtError: if libvirt does not tell
        :raises UnreadableDomain: if what it tells is not XML
        """
        connection = self._connect()
        found = _emulators(connection.getCapabilities(), self._virt_type)
        if arch not in found:
            return None
        usable, refusals = {}, {}
        for strategy in wanted:
            outcome = self._outcome(connection, self._trial(
                connection, arch, strategy, *found[arch]))
            if outcome.refusal is not None:
                refusals[strategy] = outcome.refusal
                continue
            usable[strategy] = outcome.no_virtio_mem
            if is_one_enough:
                break
        return strategies.ArchSupport(
            arch=arch, emulator=found[arch][1], usable=tuple(usable),
            refusals=refusals, no_virtio_mem=next(
                iter(usable.values()), None))

    def _trial(
        self, connection: ty.Any, arch: str, strategy: str, virt_type: str,
        emulator: str,
    ) -> _Trial:
        binary = emulator
        if strategy == strategies.SHIM:
            binary = os.path.join(
                self._shim_directory, os.path.basename(emulator))
        return _Trial(
            name='%s-%s-%s' % (self._name, arch, strategy),
            virt_type=virt_type, arch=arch, emulator=binary,
            strategy=strategy,
            machine=libvirt_utils.get_default_machine_type(arch),
            is_file_backed=CONF.libvirt.file_backed_memory > 0,
            versions=(connection.getLibVersion(), connection.getVersion()),
            ctimes=(_ctime(emulator), _ctime(binary)))

    def _outcome(self, connection: ty.Any, trial: _Trial) -> _Outcome:
        """Say whether a strategy works.

        What the host could not do at this moment is tried again by whoever
        asks next.
        """
        # libvirt may never answer, so nobody waits for ever.
        if not self._lock.acquire(timeout=PATIENCE):
            return _Outcome('it is still being tried')
        try:
            if trial not in self._outcomes:
                outcome, is_passing = _try(connection, trial)
                if is_passing:
                    return outcome
                self._outcomes[trial] = outcome
            return self._outcomes[trial]
        finally:
            self._lock.release()


def probe(
    connection: ty.Any, virt_type: str, shim_directory: str,
) -> dict[str, strategies.ArchSupport]:
    """Try everything, for somebody who runs a command.

    :param connection: a ``libvirt.virConnect``
    :param virt_type: ``[libvirt] virt_type``, for example ``kvm``
    :param shim_directory: directory that has the links to the shim
    :returns: what can be started, by architecture; those for which libvirt
        offers no emulator with that ``virt_type`` are absent
    :raises libvirt.libvirtError: if libvirt does not tell its capabilities
    :raises UnreadableDomain: if they are not XML
    """
    prober = Prober(
        lambda: connection, virt_type, shim_directory, COMMAND_NAME)
    return {arch: ty.cast(strategies.ArchSupport, prober.support(
        arch, strategies.ORDER, is_one_enough=False))
        for arch in prober.archs()}


def is_probe(identity: str) -> bool:
    """Tell whether a domain is a trial guest, here or of the command.

    :param identity: its UUID
    """
    return identity in _IDENTITIES


def describe(support: strategies.ArchSupport) -> str:
    """Say in one line what a host can start, for its log.

    :param support: what ``Prober.support`` returned
    :returns: the line
    """
    refusals = ''.join(
        ' (no %s: %s)' % (strategy, reason)
        for strategy, reason in support.refusals.items())
    lack = support.no_virtio_mem
    return '%s can use %s%s%s' % (
        support.arch, ', '.join(support.usable) or 'no strategy', refusals,
        '' if lack is None else ', but not virtio-mem: ' + lack)


def _identity(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


_IDENTITIES = frozenset(
    _identity('%s-%s-%s' % (name, arch, strategy))
    for name in (SERVICE_NAME, COMMAND_NAME)
    for arch in ARCHS for strategy in strategies.ORDER)


def _ctime(path: str) -> int | None:
    try:
        return os.stat(path).st_ctime_ns
    except OSError:
        return None


def _emulators(
    capabilities: str, virt_type: str,
) -> dict[str, tuple[str, str]]:
    """Find the domain type and emulator of every architecture.

    Guests of another architecture than the host's are emulated, whatever the
    virt type (Nova, virt/libvirt/driver.py, _configure_guest_by_virt_type).

    :returns: them, the host's own architecture first
    """
    root = domain.parse(capabilities)
    own = root.findtext('host/cpu/arch')
    found = {}
    for arch in root.iterfind("guest[os_type='hvm']/arch"):
        name = arch.get('name', '')
        kind = virt_type if own in (None, name) else 'qemu'
        for offer in arch.iterfind('domain'):
            emulator = offer.findtext('emulator', arch.findtext('emulator'))
            if name in ARCHS and offer.get('type') == kind and emulator:
                found[name] = kind, emulator
    return dict(sorted(found.items(), key=lambda one: one[0] != own))


def _try(connection: ty.Any, trial: _Trial) -> tuple[_Outcome, bool]:
    """Try a strategy: with a virtio-mem, and without if that is in the way.

    :returns: how that ended, and whether it may be different in a moment
    """
    refusal, is_passing = _start(connection, trial, device.VIRTIO_MEM)
    if refusal is None or is_passing or _EMPTY_CELL.search(refusal):
        return _Outcome(refusal), is_passing
    without, is_passing = _start(connection, trial, device.DIMM)
    if without is None:
        return _Outcome(None, no_virtio_mem=refusal), False
    return _Outcome(without), is_passing


def _start(
    connection: ty.Any, trial: _Trial, model: str,
) -> tuple[str | None, bool]:
    """Start a guest and end it again.

    :param connection: libvirt's connection
    :param trial: what to try
    :param model: name of the memory model of the guest
    :returns: None if it started, else why it did not, and whether that may
        be different in a moment; whatever goes wrong must not keep the other
        strategies from being tried
    """
    flags = (libvirt.VIR_DOMAIN_START_PAUSED |
             libvirt.VIR_DOMAIN_START_AUTODESTROY)
    try:
        _remove_leftover(connection, trial)
        guest = connection.createXML(_guest(trial, model).to_xml(), flags)
    except libvirt.libvirtError as exc:
        return _sentence(exc), _is_passing(exc)
    except Exception as exc:
        LOG.exception('Probe %s failed', trial.name)
        return _sentence(exc), True
    try:
        guest.destroy()
    except Exception:
        LOG.warning('Probe %s started but could not be ended; it ends with '
                    'this service', trial.name, exc_info=True)
    return None, False


def _remove_leftover(connection: ty.Any, trial: _Trial) -> None:
    """End what a service has left behind that has just been killed.

    As a rule there is none. One that does not end makes the trial fail, and
    that says so.
    """
    try:
        connection.lookupByUUIDString(_identity(trial.name)).destroy()
    except libvirt.libvirtError as exc:
        LOG.debug('Probe %s: no leftover was ended: %s', trial.name, exc)


def _is_passing(exc: ty.Any) -> bool:
    """Tell whether a failure says nothing of what the host can start."""
    return (exc.get_error_domain() in (
        libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE) or
        exc.get_error_code() == libvirt.VIR_ERR_OPERATION_TIMEOUT or
        bool(_PASSING.search(str(exc))))


def _sentence(exc: Exception) -> str:
    text = _PROBE_ONLY.sub('', ' '.join(str(exc).split()))
    return text[:REFUSAL_LENGTH].rstrip('. ') or type(exc).__name__


def _guest(trial: _Trial, model: str) -> vconfig.LibvirtConfigGuest:
    """Build the guest: one vCPU, a few MiB, room to grow."""
    guest = vconfig.LibvirtConfigGuest()
    guest.virt_type = trial.virt_type
    guest.name = trial.name
    guest.uuid = _identity(trial.name)
    guest.memory = MEMORY_KIB
    guest.os_type = 'hvm'
    guest.os_arch = trial.arch
    guest.os_mach_type = trial.machine
    # aarch64 has ACPI only with UEFI, which the probe can do without: a
    # guest starts with room for growth either way.
    if trial.arch == 'x86_64':
        guest.features.append(vconfig.LibvirtConfigGuestFeatureACPI())
    guest.cpu = vconfig.LibvirtConfigGuestCPU()
    if trial.virt_type == 'kvm':
        # KVM starts no other processor than the host's own on every host.
        guest.cpu.mode = 'host-passthrough'
    if trial.is_file_backed:
        guest.membacking = vconfig.LibvirtConfigGuestMemoryBacking()
        guest.membacking.filesource = True
        guest.membacking.sharedaccess = True
    for element in (E.controller(type='usb', model='none'),
                    E.memballoon(model='none')):
        guest.add_device(config.Verbatim(element))
    designer.set_elastic_memory(
        guest, SPEC, trial.strategy, registry.get(model))
    if trial.strategy == strategies.SHIM:
        designer.set_emulator(guest, trial.emulator)
    return guest
