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

"""Memory devices of a guest: a value, its XML, and back.

The XML is libvirt's ``<memory>`` (libvirt, docs/formatdomain.rst, "Memory
devices").
"""

import dataclasses
import secrets

from lxml import etree

from nova_memhotplug.core import errors
from nova_memhotplug.core import units

DIMM = 'dimm'
VIRTIO_MEM = 'virtio-mem'

#: Elements of libvirt that are RAM of the guest; nvdimm, virtio-pmem and
#: sgx-epc are not.
RAM_ELEMENTS = frozenset((DIMM, VIRTIO_MEM))

#: Our devices have names of their own, so that they can be told from those
#: that somebody attached by hand, and taken away without describing them.
#: libvirt keeps an alias that starts with ``ua-`` for the life of a device,
#: across migration and restarts (libvirt, docs/formatdomain.rst).
ALIAS_PREFIX = 'ua-memhotplug-'

#: The smallest block of a virtio-mem that libvirt takes (src/conf/
#: domain_validate.c, virDomainMemoryDefValidate()), in KiB. One with huge
#: pages has the block of a page.
SMALLEST_BLOCK_KIB = 2048

#: libvirt, src/util/virutil.c, virScaleInteger(): the units it writes (KiB)
#: and those a person may have written.
_BYTES = {
    'b': 1, 'bytes': 1, 'KB': 1000, 'k': 1024, 'KiB': 1024,
    'MB': 1000 ** 2, 'M': 1024 ** 2, 'MiB': 1024 ** 2,
    'GB': 1000 ** 3, 'G': 1024 ** 3, 'GiB': 1024 ** 3,
}


@dataclasses.dataclass(frozen=True)
class Backing:
    """Where on the host a device has its memory.

    :param host_nodes: nodes of the host that it is bound to, as libvirt
        writes a set of nodes (``0`` or ``0-1,3``); None where it is bound to
        none
    :param page_kib: huge page, in KiB; 0 for none
    :param access: ``shared`` or ``private``; None where the guest as a whole
        decides
    """

    host_nodes: str | None
    page_kib: int = 0
    access: str | None = None


@dataclasses.dataclass(frozen=True)
class MemoryDevice:
    """A memory device, planned or plugged.

    :param model: libvirt's name of the model, for example ``dimm``
    :param size_mb: what the books count of it, in MiB: what the guest has or
        may take at any moment, whichever is more (design T10)
    :param node: the guest NUMA node it is on
    :param slot: memory slot; None where libvirt is to choose, or has none
    :param alias: libvirt's name of the device; None until it is plugged
    :param base: guest physical address, in bytes; None until it is plugged
    :param backing: where on the host it has its memory; None where libvirt
        is to choose
    :param capacity_mb: what it may give the guest at the most, in MiB; None
        for a device that gives all it has
    :param requested_mb: what the guest is asked to have of it, in MiB; None
        for all
    :param current_mb: what the guest has of it, in MiB; None for all, or
        where the guest does not run
    :param is_ram: whether the guest has it as ordinary memory
    :param definition: its XML as libvirt shows it, where its model needs that
        to change it
    """

    model: str
    size_mb: int
    node: int | None
    slot: int | None = None
    alias: str | None = None
    base: int | None = None
    backing: Backing | None = None
    capacity_mb: int | None = None
    requested_mb: int | None = None
    current_mb: int | None = None
    is_ram: bool = True
    definition: str | None = None

    @property
    def asked_mb(self) -> int:
        """What the guest is asked to have of it, in MiB."""
        return self.size_mb if self.requested_mb is None else self.requested_mb

    @property
    def taken_mb(self) -> int:
        """What the guest has of it, in MiB, as far as is known."""
        return self.asked_mb if self.current_mb is None else self.current_mb

    @property
    def extent_mb(self) -> int:
        """What it takes of the guest's addresses and of its ceiling, in MiB.

        libvirt counts all of a virtio-mem as memory, whatever the guest has
        of it (facts-qemu-libvirt.md, section 7).
        """
        return self.size_mb if self.capacity_mb is None else self.capacity_mb

    @property
    def is_ours(self) -> bool:
        """Whether this package has attached it."""
        return (self.alias or '').startswith(ALIAS_PREFIX)


def new_alias(model: str = '') -> str:
    """Name a device that is to be attached.

    No name is used twice: when libvirtd dies between the two steps of an
    attachment, QEMU keeps the backend of that name for the life of the guest.

    :param model: the memory model that it is of, where the name of its
        ``<memory>`` element does not tell
    :returns: an alias
    """
    owner = model and model + '-'
    return ALIAS_PREFIX + owner + secrets.token_hex(4)


def size_kib(element: etree._Element) -> int:
    """Read a size with libvirt's optional ``unit`` attribute.

    :param element: an element whose text is a number
    :returns: the size in KiB, rounded up as libvirt does
    :raises UnreadableDomain: if it is no size
    """
    text = (element.text or '').strip()
    unit = element.get('unit', 'KiB')
    if not text.isdecimal() or unit not in _BYTES:
        raise errors.UnreadableDomain(
            reason='<%s> is no size' % element.tag)
    return units.round_up(
        int(text) * _BYTES[unit], units.BYTES_PER_KIB) // units.BYTES_PER_KIB


def build(device: MemoryDevice) -> etree._Element:
    """Build the ``<memory>`` element of a device to attach.

    :param device: the device; slot, base and alias are left out where None
    :returns: an element for ``virDomainAttachDeviceFlags``
    """
    memory = etree.Element('memory', model=device.model)
    if device.backing is not None:
        _back(memory, device.backing)
    target = etree.SubElement(memory, 'target')
    size = etree.SubElement(target, 'size', unit='KiB')
    size.text = str(units.mb_to_kib(device.extent_mb))
    if device.node is not None:
        etree.SubElement(target, 'node').text = str(device.node)
    if device.capacity_mb is not None:
        _ask(target, device)
    if device.alias is not None:
        etree.SubElement(memory, 'alias', name=device.alias)
    if device.slot is not None:
        address = etree.SubElement(
            memory, 'address', type='dimm', slot=str(device.slot))
        if device.base is not None:
            address.set('base', hex(device.base))
    return memory


def _ask(target: etree._Element, device: MemoryDevice) -> None:
    """Say what the guest is to have of a device, and in what blocks."""
    etree.SubElement(target, 'block', unit='KiB').text = str(
        block_kib(device.backing))
    etree.SubElement(target, 'requested', unit='KiB').text = str(
        units.mb_to_kib(device.size_mb))


def block_kib(backing: Backing | None) -> int:
    """Say of what blocks a virtio-mem is, in KiB.

    :param backing: where on the host it has its memory
    """
    return max(SMALLEST_BLOCK_KIB, backing.page_kib if backing else 0)


def _back(memory: etree._Element, backing: Backing) -> None:
    if backing.access is not None:
        memory.set('access', backing.access)
    source = etree.SubElement(memory, 'source')
    if backing.page_kib:
        etree.SubElement(
            source, 'pagesize', unit='KiB').text = str(backing.page_kib)
    if backing.host_nodes is not None:
        etree.SubElement(source, 'nodemask').text = backing.host_nodes


def read(element: etree._Element) -> MemoryDevice:
    """Read a ``<memory>`` element of a domain.

    :param element: the element, live or persistent
    :returns: the device
    :raises UnreadableDomain: if it has no model or no size
    """
    model = element.get('model')
    size = element.find('target/size')
    if model is None or size is None:
        raise errors.UnreadableDomain(
            reason='a <memory> device has no model or no size')
    requested_mb = _mb(element.find('target/requested'))
    current_mb = _mb(element.find('target/current'))
    amounts_mb = [one for one in (requested_mb, current_mb) if one is not None]
    size_mb = units.kib_to_mb(size_kib(size))
    alias = element.find('alias')
    # Virtio devices have an address on a bus, and that of their memory here.
    address = element.find("address[@type='dimm']")
    place = element.find('target/address') if address is None else address
    return MemoryDevice(
        model=model,
        size_mb=max(amounts_mb, default=size_mb),
        node=_number(element.findtext('target/node')),
        slot=_number(None if address is None else address.get('slot')),
        alias=None if alias is None else alias.get('name'),
        base=_number(None if place is None else place.get('base')),
        backing=_backing(element),
        capacity_mb=size_mb if amounts_mb else None,
        requested_mb=requested_mb, current_mb=current_mb,
        is_ram=model in RAM_ELEMENTS)


def _mb(element: etree._Element | None) -> int | None:
    return None if element is None else units.kib_to_mb(size_kib(element))


def _backing(element: etree._Element) -> Backing | None:
    source = element.find('source')
    if source is None:
        return None
    page = source.find('pagesize')
    return Backing(
        host_nodes=source.findtext('nodemask'),
        page_kib=0 if page is None else size_kib(page),
        access=element.get('access'))


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text, 0)
    except ValueError:
        raise errors.UnreadableDomain(
            reason="'%s' is no number" % text)
