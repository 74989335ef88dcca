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
"""What the domain of a server says of its flavor.

Nova writes it when it makes a domain; exporters and Ceilometer read it.
"""

import typing as ty

from lxml import etree
from nova.virt.libvirt import config as vconfig

from nova_memhotplug.core import domain

NAMESPACE: str = vconfig.NOVA_NS
#: What libvirt makes the prefix of the element: that of Nova's new domains.
PREFIX = 'nova'


def with_flavor(xml: str, flavor: ty.Any) -> str:
    """Put a flavor in the place of the one in Nova's metadata.

    libvirt returns the element without its namespace, and puts that back
    (src/util/virxml.c, virXMLExtractNamespaceXML and virXMLInjectNamespace).

    :param xml: the element ``instance`` of a domain's metadata
    :param flavor: a ``nova.objects.Flavor``
    :returns: the element
    :raises UnreadableDomain: if it is not XML
    """
    root = domain.parse(xml)
    new = _element(flavor)
    namespace = etree.QName(root).namespace
    for one in new.iter():
        one.tag = etree.QName(namespace, etree.QName(one).localname).text
    etree.cleanup_namespaces(new)
    old = root.find('{*}flavor')
    if old is None:
        root.append(new)
    else:
        root.replace(old, new)
    return etree.tostring(root, encoding='unicode')


def _element(flavor: ty.Any) -> etree._Element:
    """Describe a flavor as Nova does (_get_guest_config_meta)."""
    described = vconfig.LibvirtConfigGuestMetaNovaFlavor()
    described.name = flavor.name
    described.id = flavor.flavorid
    described.memory = flavor.memory_mb
    described.vcpus = flavor.vcpus
    described.ephemeral = flavor.ephemeral_gb
    described.disk = flavor.root_gb
    described.swap = flavor.swap
    described.extra_specs = flavor.extra_specs
    return ty.cast(etree._Element, described.format_dom())
