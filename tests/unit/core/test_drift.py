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

import dataclasses

import ddt
import testtools

from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import drift
from nova_memhotplug.core import errors
from nova_memhotplug.core import units

GOOD = drift.Record(flavor_mb=1024, instance_mb=1024, allocated_mb=1024)
NUMA = {'flavor_mb': 1024, 'cells_mb': (512, 512)}


def guest(boot_mb=1024, cells_mb=(), added_mb=0, is_ours=True):
    """Make a guest that a device was added to."""
    alias = device.ALIAS_PREFIX + '1' if is_ours else 'dimm0'
    devices = (device.MemoryDevice(
        model='dimm', size_mb=added_mb, node=0, slot=0, alias=alias),)
    return domain.GuestMemory(
        arch='x86_64', emulator='', boot_kib=units.mb_to_kib(boot_mb),
        max_kib=None, slots=8, page_kib=0, has_agent=False,
        cells=tuple(
            domain.Cell(number, units.mb_to_kib(cell_mb), True)
            for number, cell_mb in enumerate(cells_mb)),
        devices=devices if added_mb else ())


@ddt.ddt
class CompareTest(testtools.TestCase):

    def compare(self, live, **changes):
        return drift.compare(dataclasses.replace(GOOD, **changes), live)

    @ddt.data(
        (None, {}),
        (guest(), {}),
        (guest(512, added_mb=512), {}),
        # Not compared.
        (guest(), {'allocated_mb': None}),
        # What an operator reserves in advance.
        (guest(), {'allocated_mb': 4096,
                   'extra_specs': {'resources:MEMORY_MB': '4096'}}),
        (guest(), {'allocated_mb': 0,
                   'extra_specs': {'resources:MEMORY_MB': '0'}}),
        (guest(1024, (512, 512)), NUMA),
        (None, NUMA))
    @ddt.unpack
    def test_none(self, live, changes):
        found = self.compare(live, **changes)
        self.assertEqual(
            (False, False, 0),
            (found.exists, found.instance_differs, found.missing_mb))

    @ddt.data(
        # A crash after the attach; an older flavor that was put back.
        (guest(1024, added_mb=512), {}, (1536, True, 512)),
        (guest(1024, added_mb=512), {'allocated_mb': 1536},
         (1536, True, 0)),
        (guest(1024, added_mb=512),
         {'instance_mb': 1536, 'allocated_mb': 1536}, (1536, True, 0)),
        # A claim that nothing came of.
        (guest(), {'allocated_mb': 1536}, (1024, False, -512)),
        (guest(), {'instance_mb': 1536}, (1024, True, 0)),
        (None, {'allocated_mb': 512}, (1024, False, 512)),
        # Nothing is claimed twice.
        (guest(1024, added_mb=512), {
            'allocated_mb': 4096,
            'extra_specs': {'resources:MEMORY_MB': '4096'}},
         (1536, True, 0)))
    @ddt.unpack
    def test_some(self, live, changes, expected):
        found = self.compare(live, **changes)
        self.assertTrue(found.exists)
        self.assertEqual(expected, (
            found.present_mb, found.instance_differs, found.missing_mb))

    @ddt.data(
        (guest(1024, (512, 512)), (1024, 512), (512, 512)),
        (guest(1024, (256, 768)), (512, 512), (256, 768)),
        # Without a guest, as the flavor says.
        (None, (1024, 512), (512, 512)))
    @ddt.unpack
    def test_cells(self, live, cells_mb, expected):
        found = self.compare(live, cells_mb=cells_mb)
        self.assertTrue(found.instance_differs)
        self.assertEqual(expected, found.cells_mb)

    def test_other_cells(self):
        error = self.assertRaises(
            errors.AccountingFailed, self.compare, guest(1024, (1024,)),
            **NUMA)
        self.assertIn('the guest has 1 NUMA nodes, Nova has 2', str(error))

    def test_foreign(self):
        live = guest(1024, added_mb=512, is_ours=False)
        error = self.assertRaises(
            errors.ForeignDevices, drift.compare, GOOD, live,
            adopts_foreign=False)
        self.assertEqual(512, error.foreign_mb)
        self.assertEqual(1536, drift.compare(GOOD, live).present_mb)
        # What is in the books already was adopted once.
        adopted = drift.Record(1536, 1536, 1536)
        self.assertFalse(drift.compare(
            adopted, live, adopts_foreign=False).exists)
