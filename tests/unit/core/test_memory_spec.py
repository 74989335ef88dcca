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

import ddt
import testtools

from nova_memhotplug.core import errors
from nova_memhotplug.core import memory_spec

CEILING = {'memhotplug:max_memory_mb': '4096'}


def make(**kwargs):
    values = {'max_memory_mb': 4096, 'slots': 8, 'zero_node': True,
              'model': 'dimm'}
    return memory_spec.MemorySpec(**(values | kwargs))


@ddt.ddt
class FromExtraSpecsTest(testtools.TestCase):

    @ddt.data(
        {}, {'hw:numa_nodes': '2'}, {'memhotplug:slots': '4'},
        {'memhotplug:model': 'nonsense'})
    def test_off_without_ceiling(self, extra_specs):
        self.assertIsNone(memory_spec.from_extra_specs(extra_specs))

    @ddt.data(
        ({}, make()),
        ({'memhotplug:slots': '1'}, make(slots=1)),
        ({'memhotplug:slots': '255'}, make(slots=255)),
        ({'memhotplug:zero_node': 'False'}, make(zero_node=False)),
        ({'memhotplug:zero_node': 'no'}, make(zero_node=False)),
        ({'memhotplug:zero_node': 'yes'}, make()),
        ({'memhotplug:model': 'other'}, make(model='other')),
        ({'memhotplug:block_mb': '512'}, make(block_mb=512)),
        ({'memhotplug:block_mb': '2048'}, make(block_mb=2048)),
        ({'memhotplug:boot_memory_mb': '512'}, make(boot_memory_mb=512)),
        ({'hw:cpu_policy': 'dedicated'}, make()),
    )
    @ddt.unpack
    def test_values(self, more, expected):
        self.assertEqual(expected, memory_spec.from_extra_specs(
            CEILING | more, known_models=('dimm', 'other')))

    def test_default_slots(self):
        self.assertEqual(
            make(slots=32),
            memory_spec.from_extra_specs(CEILING, default_slots=32))

    @ddt.data(
        ('memhotplug:max_memory_mb', '0', 'from 1 to 2147483647'),
        ('memhotplug:max_memory_mb', '-1', 'from 1 to 2147483647'),
        ('memhotplug:max_memory_mb', 'much', 'from 1 to 2147483647'),
        ('memhotplug:max_memory_mb', '', 'from 1 to 2147483647'),
        ('memhotplug:max_memory_mb', '4_096', 'from 1 to 2147483647'),
        ('memhotplug:max_memory_mb', '+4096', 'from 1 to 2147483647'),
        ('memhotplug:max_memory_mb', '\u0664', 'from 1 to 2147483647'),
        ('memhotplug:max_memory_mb', '2147483648', 'from 1 to 2147483647'),
        ('memhotplug:max_memory_mb', '9' * 255, 'from 1 to 2147483647'),
        ('memhotplug:slots', '0', 'from 1 to 255'),
        ('memhotplug:slots', '256', 'from 1 to 255'),
        ('memhotplug:slots', '300', 'from 1 to 255'),
        ('memhotplug:slots', '1.5', 'from 1 to 255'),
        ('memhotplug:zero_node', 'perhaps', 'true or false'),
        ('memhotplug:boot_memory_mb', '0', 'from 1 to 2147483647'),
        ('memhotplug:model', 'balloon', 'one of dimm'),
        ('memhotplug:block_mb', '64', 'one of 128, 256, 512, 1024, 2048'),
        ('memhotplug:block_mb', '4096', 'one of 128, 256'),
        ('memhotplug:block_mb', '1_024', 'one of 128, 256'),
        ('memhotplug:block_mb', '', 'one of 128, 256'),
    )
    @ddt.unpack
    def test_refused(self, key, value, rule):
        exc = self.assertRaises(
            errors.InvalidSpec, memory_spec.from_extra_specs,
            CEILING | {key: value})
        self.assertEqual(
            "Flavor extra spec %s is '%s': " % (key, value),
            str(exc)[:str(exc).index(': ') + 2])
        self.assertIn(rule, str(exc))


@ddt.ddt
class ImageBlockTest(testtools.TestCase):

    @ddt.data((None, 0), ('128', 128), ('1024', 1024), (2048, 2048))
    @ddt.unpack
    def test_values(self, value, expected):
        self.assertEqual(expected, memory_spec.block_mb_of_image(value))

    @ddt.data('', '1', '384', 'large', '-128', '128 MiB', '9' * 255)
    def test_refused(self, value):
        exc = self.assertRaises(
            errors.InvalidImage, memory_spec.block_mb_of_image, value)
        self.assertEqual(
            "Image property memhotplug_block_mb is '%s': it must be one of "
            "128, 256, 512, 1024, 2048." % value, str(exc))


@ddt.ddt
class GrowthTest(testtools.TestCase):

    @ddt.data(
        # slots, ceiling, nodes, step
        (1, 640, 1, 128), (2, 768, 2, 128), (8, 1536, 1, 1024))
    @ddt.unpack
    def test_can_grow(self, slots, max_mb, nodes, step_mb):
        memory_spec.check_growth(
            make(slots=slots, max_memory_mb=max_mb), 512, nodes, step_mb,
            slots)

    @ddt.data(
        (1, 4096, 2, 128, 'memhotplug:slots', '2 NUMA nodes'),
        (8, 639, 1, 128, 'memhotplug:max_memory_mb', 'steps of 128 MiB'),
        (8, 767, 2, 128, 'memhotplug:max_memory_mb', 'steps of 256 MiB'),
        (8, 1535, 1, 1024, 'memhotplug:max_memory_mb', 'to 512 MiB'))
    @ddt.unpack
    def test_never_can(self, slots, max_mb, nodes, step_mb, key, words):
        exc = self.assertRaises(
            errors.InvalidSpec, memory_spec.check_growth,
            make(slots=slots, max_memory_mb=max_mb), 512, nodes, step_mb,
            slots)
        self.assertEqual(key, exc.key)
        self.assertIn(words, str(exc))


@ddt.ddt
class BootSizeTest(testtools.TestCase):

    @ddt.data(
        (4095, True), (4095, False), (512, True), (4096, False))
    @ddt.unpack
    def test_room(self, memory_mb, first_boot):
        memory_spec.check_boot_size(make(), memory_mb, first_boot)

    def test_less_boot_memory(self):
        """The server has room above what it boots with."""
        for boot_mb, memory_mb, first_boot in (
                (512, 4096, True), (512, 512, True), (4096, 4096, False)):
            memory_spec.check_boot_size(
                make(boot_memory_mb=boot_mb), memory_mb, first_boot)

    @ddt.data(True, False)
    def test_more_boot_memory_than_ram(self, first_boot):
        exc = self.assertRaises(
            errors.InvalidSpec, memory_spec.check_boot_size,
            make(boot_memory_mb=513), 512, first_boot)
        self.assertEqual('memhotplug:boot_memory_mb', exc.key)
        self.assertIn('RAM of 512 MiB', str(exc))

    def test_another_boot_memory(self):
        memory_spec.check_boot_memory(make(), 1024)
        memory_spec.check_boot_memory(make(boot_memory_mb=512), 512)
        exc = self.assertRaises(
            errors.InvalidSpec, memory_spec.check_boot_memory,
            make(boot_memory_mb=512), 1024)
        self.assertIn("'dimm' this server boots with 1024 MiB", str(exc))

    @ddt.data((4096, True), (4097, True), (4097, False))
    @ddt.unpack
    def test_no_room(self, memory_mb, first_boot):
        exc = self.assertRaises(
            errors.InvalidSpec, memory_spec.check_boot_size, make(), memory_mb,
            first_boot)
        self.assertIn("'4096'", str(exc))
        self.assertIn('%d MiB' % memory_mb, str(exc))
