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


"""An administrator resets the state of a server while it grows.

Nova then knows nothing of the resize, which goes on. What is said of it in
the end is what became of it.
"""

import ddt

from tests.faults import points
from tests.functional import base
from tests.functional import fixtures

GROWN_MB = 1024


@ddt.ddt
class TestResetState(base.MemoryTestBase):

    def setUp(self):
        super().setUp()
        self.server = self.boot_elastic()

    def reset_at(self, point, state):
        """Grow, and have the state reset at a point of that."""
        def reach(name):
            if name == point:
                self.admin_api.post_server_action(
                    self.server['id'], {'os-resetState': {'state': state}})
                reset.append(name)

        reset = []
        with fixtures.PointsFixture(reach):
            status, body = self.resize(self.server, GROWN_MB)
            self.assertEqual(202, status, body)
            self._wait_for_assert(self.assert_ended, max_retries=60)
        self.assertEqual([point], reset)

    def assert_ended(self):
        (end,) = (event for event in self.events(self.server)[0]['events']
                  if event['event'] == 'compute_resize_memory')
        self.assertIsNotNone(end['finish_time'])

    def assert_done(self):
        last = self.show(self.server)[1]['memory']['last_resize']
        self.assertEqual(('done', None), (last['status'], last['message']))
        self.assert_books(self.server, GROWN_MB)
        self.assertIsNone(self.instance(self.server).task_state)

    @ddt.data(points.BEFORE_CLAIM, points.AFTER_ATTACH,
              points.BEFORE_COMMIT, points.AFTER_COMMIT)
    def test_active(self, point):
        self.reset_at(point, 'active')
        self.assert_done()
        self.assertEqual('active', self.instance(self.server).vm_state)

    def test_error(self):
        """It stays in the state that the administrator has given it."""
        self.reset_at(points.AFTER_ATTACH, 'error')
        self.assert_done()
        self.assertEqual('error', self.instance(self.server).vm_state)

    def test_usable_afterwards(self):
        self.reset_at(points.AFTER_COMMIT, 'active')
        self.grow(self.server, GROWN_MB + 128)
        self.assert_books(self.server, GROWN_MB + 128)
