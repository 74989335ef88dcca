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

from nova_memhotplug.core import errors
from nova_memhotplug.core import flavors

OLD = flavors.Flavor(
    name='small', memory_mb=512, vcpus=1, root_gb=1, ephemeral_gb=0, swap=0,
    extra_specs={'memhotplug:max_memory_mb': '4096', 'trait:X': 'required'})


def changed(**kwargs):
    return dataclasses.replace(OLD, **kwargs)


def with_cells(memory_mb, *cells_mb):
    return changed(memory_mb=memory_mb, extra_specs={
        'hw:numa_mem.%d' % number: cell_mb
        for number, cell_mb in enumerate(cells_mb)})


@ddt.ddt
class ChangeTest(testtools.TestCase):

    @ddt.data(
        changed(name='large', memory_mb=1024),
        changed(extra_specs={'trait:X': 'required'}),
        changed(extra_specs={'trait:X': 'required',
                             'memhotplug:max_memory_mb': '8192',
                             'memhotplug:slots': '2'}),
        changed(extra_specs={'trait:X': 'required',
                             'memhotplug:model': 'dimm',
                             'memhotplug:boot_memory_mb': '512'}))
    def test_memory_alone(self, new):
        flavors.check_change(OLD, new)

    @ddt.data((1024, '512', '512'), (768, '384', '384'))
    @ddt.unpack
    def test_cells_grow_evenly(self, memory_mb, *cells_mb):
        flavors.check_change(
            with_cells(512, '256', '256'), with_cells(memory_mb, *cells_mb))

    @ddt.data(
        (with_cells(1024, '256', '768'),
         'extra specs hw:numa_mem.0, hw:numa_mem.1.'),
        (with_cells(1024), 'extra specs hw:numa_mem.0, hw:numa_mem.1.'),
        (with_cells(1024, '512', '512', '0'), 'extra specs hw:numa_mem.2.'))
    @ddt.unpack
    def test_cells_differ(self, new, words):
        exc = self.assertRaises(
            errors.FlavorDiffers, flavors.check_change,
            with_cells(512, '256', '256'), new)
        self.assertIn(words, str(exc))

    @ddt.data(
        (changed(vcpus=2), 'vcpus is 2 instead of 1'),
        (changed(root_gb=2), 'root_gb is 2 instead of 1'),
        (changed(ephemeral_gb=1), 'ephemeral_gb is 1 instead of 0'),
        (changed(swap=64), 'swap is 64 instead of 0'),
        (changed(extra_specs={}), 'extra specs trait:X.'),
        (changed(extra_specs=dict(OLD.extra_specs, **{'hw:pmem': 'a'})),
         'extra specs hw:pmem.'),
        (changed(extra_specs={'trait:X': 'required',
                              'memhotplug:model': 'virtio-mem'}),
         'extra specs memhotplug:model.'),
        (changed(vcpus=2, swap=64), 'vcpus is 2 instead of 1; swap is 64'))
    @ddt.unpack
    def test_more_than_memory(self, new, words):
        exc = self.assertRaises(
            errors.FlavorDiffers, flavors.check_change, OLD, new)
        self.assertIn(words, str(exc))

    def test_values_of_extra_specs_are_not_told(self):
        """Nova has a policy of its own for who may read them."""
        old = changed(extra_specs={'aggregate:secret': 'before'})
        new = changed(extra_specs={'aggregate:secret': 'after'})
        exc = self.assertRaises(
            errors.FlavorDiffers, flavors.check_change, old, new)
        self.assertIn('aggregate:secret', str(exc))
        self.assertNotIn('before', str(exc))
        self.assertNotIn('after', str(exc))
