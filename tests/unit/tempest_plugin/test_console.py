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


"""What the Tempest plugin reads on the console of a guest."""

import testtools

from nova_memhotplug_tempest_plugin.common import console

BOOT = 'GUEST boot uptime=3.69 kernel=6.1.0 machine=x86_64\r\n'
FIRST = ('GUEST mem_total_kb=414820 nodes=0:414820,1:0 blocks_online=4 '
         'blocks_offline=0\r\n')
GROWN = ('GUEST mem_total_kb=939108 nodes=0:414820,1:524288 blocks_online=8 '
         'blocks_offline=0\r\n')


class ConsoleTestCase(testtools.TestCase):

    def test_nothing_said(self):
        self.assertIsNone(console.last_report(''))
        self.assertIsNone(console.last_report(BOOT + 'GUEST mem_total_kb=4'))

    def test_growth(self):
        first = console.last_report(BOOT + FIRST)
        self.assertEqual(console.Report(414820, {0: 414820}), first)
        grown = console.last_report(BOOT + FIRST + GROWN)
        self.assertEqual(939108, grown.total_kb)
        self.assertEqual({1: 524288}, grown.growth(first))
        self.assertEqual({1: -524288}, first.growth(grown))
        self.assertEqual({}, grown.growth(grown))

    def test_boots(self):
        self.assertEqual(0, console.boots(FIRST))
        self.assertEqual(2, console.boots(BOOT + FIRST + BOOT))
