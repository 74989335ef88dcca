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

"""A running guest gives memory back, and gets it again."""

from tempest import config
from tempest.lib import decorators
from tempest.lib import exceptions

from nova_memhotplug_tempest_plugin.tests import base

CONF = config.CONF


class ShrinkTest(base.MemoryTest):
    """With guests whose kernel keeps nothing of its own in new memory."""

    image_option = 'shrink_image_ref'

    @classmethod
    def skip_checks(cls):
        super().skip_checks()
        cls.skip_without(cls.image_option)

    @decorators.idempotent_id('83c5a2e7-1d9b-4f60-a7c4-e0b6d8f3912a')
    def test_down_and_up(self):
        server_id = self.boot(
            self.addCleanup, image=CONF.memhotplug[self.image_option])
        boot_mb, before = self.show(server_id)['boot_mb'], self.report(
            server_id)
        middle_mb = self.grow(server_id, 2)
        top_mb = self.grow(server_id, 4)
        self.wait_added(server_id, before, top_mb - boot_mb)
        memory = self.show(server_id)
        self.assertEqual(boot_mb, memory['min_mb'])
        # Half of a device cannot be taken away.
        self.refuse(exceptions.BadRequest, 'below_present_size', server_id,
                    memory_mb=middle_mb + memory['step_mb'])
        for total_mb in (middle_mb, boot_mb):
            answer, last = self.resize(server_id, memory_mb=total_mb)
            self.assertEqual(1, len(answer['removed']), answer)
            self.assertEqual('done', last['status'], last)
            self.assert_total(server_id, total_mb)
            self.wait_guest(server_id, lambda report: (
                0 <= report.total_kb - before.total_kb <=
                (total_mb - boot_mb) * base.KIB))
        self.grow(server_id, 4)
        self.assert_not_rebooted(server_id)


class ShrinkSecondImageTest(ShrinkTest):
    """The same with a guest of another architecture."""

    image_option = 'second_shrink_image_ref'

    @decorators.idempotent_id('bd61f4a0-5e7c-4893-9b2d-d7f0c8e3a546')
    def test_down_and_up(self):
        super().test_down_and_up()
