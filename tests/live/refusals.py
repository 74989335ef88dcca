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

"""A resize that is refused."""

from tests.live import cloud


class RefusalMixin:
    """Ask for what is refused, in a ``base.LiveTest``."""

    def refuse(self, server, wanted_mb, status, *words, code=None):
        """A request is refused with these words, and changes nothing.

        :param code: what programs know the refusal by
        """
        before = self._state(server)
        answer = server.resize(wanted_mb)
        self.assertEqual(status, answer.status_code, answer.text)
        for word in words:
            self.assertIn(word, answer.text)
        self.assertEqual(code, cloud.reason(answer))
        self.assertEqual(before, self._state(server))

    def _state(self, server):
        fresh = server.fresh
        return (server.memory(user='admin'), server.books(), fresh.status,
                fresh.task_state, len(server.events()))
