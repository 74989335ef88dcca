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

"""Few agents of a host are asked at the same time."""

import threading
import types
from unittest import mock

from oslo_serialization import jsonutils
import testtools

from nova_memhotplug.virt import agent

DOMAIN = mock.Mock()

MIB = 1024 * 1024
INFO = jsonutils.dumps({'return': {'size': 128 * MIB}})


class LibvirtError(Exception):
    """What libvirt raises."""


class AgentTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        patch = mock.patch.object(
            agent, 'libvirt', types.SimpleNamespace(libvirtError=LibvirtError))
        patch.start()
        self.addCleanup(patch.stop)
        self.qemu = mock.Mock()
        self.qemu.qemuAgentCommand.return_value = INFO

    def agent(self, is_patient):
        return agent.GuestAgent(self.qemu, DOMAIN, is_patient)

    def hold_all(self):
        """Have as many agents be asked as may be, until released.

        :returns: the event that lets them answer
        """
        go_on = threading.Event()
        arrived = threading.Semaphore(0)
        silent = mock.Mock()

        def wait(*args):
            arrived.release()
            go_on.wait(30)
            return INFO

        silent.qemuAgentCommand.side_effect = wait
        threads = [threading.Thread(target=agent.GuestAgent(
            silent, DOMAIN, True).block_mb)
            for _number in range(agent.MAX_CALLS)]
        for thread in threads:
            thread.start()
            self.addCleanup(thread.join, 30)
        self.addCleanup(go_on.set)
        for _thread in threads:
            self.assertTrue(arrived.acquire(timeout=30))
        return go_on

    def timeout(self):
        """Return the seconds that the last command was given."""
        return self.qemu.qemuAgentCommand.call_args.args[2]

    def test_who_looks_is_given_less_time(self):
        self.assertEqual(128, self.agent(False).block_mb())
        self.assertEqual(1, self.timeout())
        self.assertEqual(128, self.agent(True).block_mb())
        self.assertEqual(5, self.timeout())

    def test_who_looks_does_not_wait_for_others(self):
        self.hold_all()
        self.assertIsNone(self.agent(False).block_mb())
        self.qemu.qemuAgentCommand.assert_not_called()

    def test_a_resize_waits_for_others(self):
        go_on = self.hold_all()
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(self.agent(True).block_mb()))
        thread.start()
        self.qemu.qemuAgentCommand.assert_not_called()
        go_on.set()
        thread.join(30)
        self.assertEqual([128], answers)

    def test_a_refusal_keeps_no_place(self):
        self.qemu.qemuAgentCommand.side_effect = LibvirtError()
        for _number in range(agent.MAX_CALLS + 1):
            self.assertIsNone(self.agent(False).block_mb())
        self.assertEqual(
            agent.MAX_CALLS + 1, self.qemu.qemuAgentCommand.call_count)
