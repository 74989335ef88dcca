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

"""Domain elements that Nova's own config objects do not have."""

import typing as ty

from lxml import etree
from nova.virt.libvirt import config as vconfig


class Emulator(vconfig.LibvirtConfigGuestDevice):
    """The ``<emulator>`` of a domain.

    :param path: the binary that libvirt is to run
    """

    def __init__(self, path: str):
        super().__init__(root_name='emulator')
        self.path = path

    def format_dom(self) -> ty.Any:
        """Return the element, as Nova's config objects do."""
        dev = super().format_dom()
        dev.text = self.path
        return dev


class Verbatim(vconfig.LibvirtConfigGuestDevice):
    """A device that somebody else has built.

    :param element: the device's element
    """

    def __init__(self, element: etree._Element):
        super().__init__(root_name=element.tag)
        self.element = element

    def format_dom(self) -> ty.Any:
        """Return the element, as Nova's config objects do."""
        return self.element
