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
"""A virtio-mem that somebody has attached by hand (P9)."""

from tests.functional import base

XML = """\
<memory model="virtio-mem">
  <target>
    <size unit="KiB">1048576</size><node>1</node>
    <block unit="KiB">2048</block><requested unit="KiB">%(kib)d</requested>
    <current unit="KiB">%(kib)d</current><address base="0x200000000"/>
  </target>
  <alias name="virtiomem0"/>
  <address type="pci" domain="0x0000" bus="0x01" slot="0x00" function="0x0"/>
</memory>"""


class TestVirtioMem(base.MemoryTestBase):
    """What the guest has of it counts, not what it could have."""

    def setUp(self):
        super().setUp()
        self.server = self.boot_elastic()

    def set_current(self, size_mb):
        """Let somebody have the guest take so much of the device."""
        self.fake_domain(self.server).by_hand = [XML % {'kib': size_mb * 1024}]
        self.computes['compute1'].driver._reconciler.remember(
            self.instance(self.server))
        self.run_periodic_task()

    def assert_total(self, total_mb):
        self.assertEqual(total_mb, self.instance(self.server).memory_mb)
        self.assertEqual(total_mb, self.allocation(self.server))

    def test_nothing_requested(self):
        self.set_current(0)
        self.assert_total(base.BOOT_MB)
        memory = self.show(self.server)[1]['memory']
        (device,) = memory['devices']
        self.assertEqual(
            ('virtio-mem', 0, None, '0x200000000'),
            (device['model'], device['size_mb'], device['slot'],
             device['address']))
        # The rest of its capacity cannot be had by other means.
        self.assertEqual(
            (base.BOOT_MB, base.CEILING_MB - 1024, base.SLOTS, True),
            (memory['current_mb'], memory['max_mb'], memory['slots']['free'],
             memory['can_grow']))
        self.grow(self.server, 1024)
        self.assert_total(1024)

    def test_adopted(self):
        self.set_current(256)
        self.assert_total(base.BOOT_MB + 256)
        self.grow(self.server, 1024)
        self.assert_total(1024)
        self.set_current(512)
        self.assert_total(1280)
        self._reboot_server(self.server, hard=True)
        self.assert_books(self.server, 1280)
