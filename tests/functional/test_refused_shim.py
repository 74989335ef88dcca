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

"""A host whose security module does not let guests start through the shim."""

from tests.functional import base
from tests.functional import test_guest_xml


class TestRefusedShim(test_guest_xml.GuestXmlTestBase):

    def test_no_other_kind_of_room(self):
        """Without the shim the host would use the strategy tiny."""
        self.memory_libvirt.domain.shim_directory = '/none'
        self.restart_compute_service('compute1')
        self.fails_to_boot(base.ELASTIC)
        self.assertIn('no x86_64 guest starts through it: internal error: '
                      'qemu unexpectedly closed', self.stdlog.logger.output)
        self.assertNotIn('CUSTOM_MEMORY_HOTPLUG', self._get_provider_traits(
            self.compute_rp_uuids['compute1']))

    def test_strategies_that_need_none(self):
        self.memory_libvirt.domain.shim_directory = '/none'
        for strategy in ('tiny', 'existing'):
            self.flags(zero_cell_strategy=strategy, group='memhotplug')
            self.restart_compute_service('compute1')
            memory = self.show(self.boot_elastic())[1]['memory']
            self.assertEqual(strategy, memory['strategy'])
        self.assertNotIn('guest starts through it', self.stdlog.logger.output)
