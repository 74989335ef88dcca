#!/bin/bash
#
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
#
# Nova 34.0.0 (2026.2): a suspended server whose resume fails once has lost what
# was saved of it.
#
# Expected: suspend has libvirt save the memory of the guest (managed save). If
#   the guest cannot be started at that moment, because the host is short of
#   memory for example, the server stays suspended, or can be resumed later.
# Seen: LibvirtDriver._create_guest_with_network cleans up after any failure as
#   after one of a new server: it undefines the domain, with the flag
#   VIR_DOMAIN_UNDEFINE_MANAGED_SAVE. The server ends in ERROR, and its next
#   start is a boot.
# What follows: whoever knows beforehand that a guest cannot be started has to
#   refuse before Nova tries (raise InstanceFaultRollback from the driver's
#   resume(): the server then stays suspended).
#
# Output seen with nova 34.0.0, Python 3.11, libvirt being Nova's own fake:
#   createWithFlags: Cannot allocate memory
#   undefineFlags: with the managed save
#   resume() raises: Cannot allocate memory

set -o nounset
constraints=$(cd "$(dirname "$0")/../sandbox" && pwd)/constraints.txt
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
{ python3 -m venv "$folder/venv" &&
    "$folder/venv/bin/pip" -q install -c "$constraints" nova==34.0.0 \
        fixtures oslotest openstack-placement wsgi-intercept; } >&2 || exit 2

cat >"$folder/look.py" <<'END'
from unittest import mock

from nova import conf
from nova import objects
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.virt.libvirt import driver
from nova.virt.libvirt import guest
from nova.virt.libvirt import host

objects.register_all()
conf.CONF([], project='nova', default_config_files=[])
for module in (driver, guest, host):
    module.libvirt = fakelibvirt

said = []


class Domain:
    """A domain with a managed save; libvirt cannot start it just now."""

    def createWithFlags(self, flags):
        said.append('createWithFlags: Cannot allocate memory')
        raise fakelibvirt.make_libvirtError(
            fakelibvirt.libvirtError, 'Cannot allocate memory',
            error_code=fakelibvirt.VIR_ERR_INTERNAL_ERROR)

    def XMLDesc(self, flags):
        return "<domain/>"

    def undefineFlags(self, flags):
        if flags & fakelibvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE:
            said.append('undefineFlags: with the managed save')

    def __getattr__(self, name):
        return mock.MagicMock()


instance = objects.Instance(
    id=1, uuid='b2a0cbb5-3b8c-4f5a-9f8e-0b0f5d8e8a11', vm_state='suspended',
    system_metadata={}, flavor=objects.Flavor(extra_specs={}),
    image_ref='', resources=None, numa_topology=None,
    pci_devices=objects.PciDeviceList())
this = driver.LibvirtDriver(mock.MagicMock())
domain = guest.Guest(Domain())
with (
        mock.patch.object(this._host, 'get_guest', return_value=domain),
        mock.patch.object(this._host, 'write_instance_config',
                          return_value=domain),
        mock.patch.object(this, '_get_existing_domain_xml',
                          return_value='<domain/>'),
        mock.patch.object(this._host, 'delete_secret')):
    try:
        this.resume(mock.MagicMock(), instance, [], {})
    except fakelibvirt.libvirtError as exc:
        said.append('resume() raises: %s' % exc)
print('\n'.join(said))
raise SystemExit(said != [
    'createWithFlags: Cannot allocate memory',
    'undefineFlags: with the managed save',
    'resume() raises: Cannot allocate memory'])
END
"$folder/venv/bin/python" -W ignore "$folder/look.py" 2>"$folder/log"
rc=$?
[ "$rc" -le 1 ] && ! grep -q ModuleNotFoundError "$folder/log" || exit 2
exit "$rc"
