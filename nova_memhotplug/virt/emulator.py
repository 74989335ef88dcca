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

"""Asks libvirt what it can do with an emulator, the shim above all.

libvirt may run in another root file system than this process.
"""

from collections.abc import Iterator
import dataclasses
import errno
import posixpath
import typing as ty

from nova import exception
from oslo_log import log as logging
from oslo_utils import importutils

from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import strategies

libvirt = importutils.try_import('libvirt')

LOG = logging.getLogger(__name__)


def refusal(connection: ty.Any, path: str, arch: str) -> str | None:
    """Ask libvirt what it can do with an emulator.

    It starts the emulator to find out, unless it knows, but no guest.

    :param connection: a ``libvirt.virConnect``, perhaps in Nova's proxy
    :param path: of the emulator, where libvirt is
    :param arch: the architecture of the guests
    :returns: None if it can use it, '' if there is no such file, or else why
        it cannot
    """
    try:
        connection.getDomainCapabilities(path, arch, None, None, 0)
    except libvirt.libvirtError as exc:
        # The words are those of the language of libvirt's host
        # (virQEMUCapsNewForBinaryInternal, virReportSystemErrorFull).
        if (exc.get_error_code() == libvirt.VIR_ERR_SYSTEM_ERROR and
                exc.get_int1() == errno.ENOENT):
            return ''
        return str(exc)
    return None


def check_saved(host: ty.Any, instance: ty.Any) -> None:
    """Check that libvirt can use the emulator of a suspended guest.

    A server whose domain is not there, or cannot be read, is Nova's: it makes
    the domain anew.

    :param host: Nova's handle on the hypervisor
    :param instance: a ``nova.objects.Instance``
    :raises EmulatorGone: if it cannot
    """
    try:
        saved = domain.read(host.get_guest(instance).get_xml_desc())
    except (exception.InstanceNotFound, errors.UnreadableDomain):
        return
    reason = refusal(host.get_connection(), saved.emulator, saved.arch)
    if reason is not None:
        raise errors.EmulatorGone(
            path=saved.emulator, reason=reason and ' (%s)' % reason)


def users(connection: ty.Any, directory: str) -> dict[str, list[str]]:
    """Name the guests that are started through the shim, or will be.

    :param connection: a ``libvirt.virConnect``, perhaps in Nova's proxy
    :param directory: ``[memhotplug] shim_directory``
    :returns: names of the domains that ``running`` guests have, of those
        with such a ``stored`` definition, and of those with a guest that is
        ``saved``, as Nova's suspend does
    :raises libvirt.libvirtError: if libvirt does not tell
    :raises UnreadableDomain: if what it tells is not XML
    """
    found: dict[str, list[str]] = {'running': [], 'stored': [], 'saved': []}
    for guest in connection.listAllDomains(
            libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE |
            libvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE):
        try:
            for state, xml in _definitions(guest):
                path = domain.parse(xml).findtext('devices/emulator', '')
                if posixpath.dirname(path) == directory.rstrip('/'):
                    found[state].append(guest.name())
        except libvirt.libvirtError as exc:
            # It has gone meanwhile.
            if exc.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
    return found


def _definitions(guest: ty.Any) -> Iterator[tuple[str, str]]:
    """Read all that libvirt has of a guest."""
    if guest.isActive():
        yield 'running', guest.XMLDesc(0)
    if guest.isPersistent():
        yield 'stored', guest.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    if guest.hasManagedSaveImage(0):
        yield 'saved', guest.managedSaveGetXMLDesc(0)


def look(
    connection: ty.Any, support: strategies.ArchSupport, configured: str,
    directory: str,
) -> strategies.ArchSupport:
    """Look for the shim where it is needed and no guest starts through it.

    :param connection: a ``libvirt.virConnect``, perhaps in Nova's proxy
    :param support: what the host can start, for an architecture
    :param configured: ``[memhotplug] zero_cell_strategy``
    :param directory: ``[memhotplug] shim_directory``
    :returns: the same, with what libvirt says of the shim
    """
    path = support.shim_path(directory)
    if not support.needs_shim or refusal(
            connection, path, support.arch) == '':
        return support
    support = dataclasses.replace(support, has_shim=True)
    reason = strategies.refused_shim(configured, support)
    if reason:
        LOG.error(
            'The emulator shim %(path)s is there, but no %(arch)s guest '
            'starts through it: %(reason)s. This host takes no new servers '
            'that want an empty node, rather than giving them the strategy '
            'tiny, with which they could not move to other hosts. See what '
            '"nova-memhotplug-status check" says, and whether AppArmor or '
            'SELinux lets libvirt run it (the page about the shim has the '
            'rules); then restart nova-compute. Or remove the shim, or set '
            '[memhotplug] zero_cell_strategy.',
            {'path': path, 'arch': support.arch, 'reason': reason})
    return support
