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

import types
from unittest import mock

import testtools

from nova_memhotplug.virt import events

UUID = '1f5a5d4e-52b4-4d8c-b2a4-6a3f0e5b7c11'
#: libvirt's numbers (include/libvirt/libvirt-domain.h).
LIBVIRT = types.SimpleNamespace(
    VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE=18,
    VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE=26,
    VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED=1)


class TestGuestEvents(testtools.TestCase):

    def setUp(self):
        super().setUp()
        patch = mock.patch.object(events, 'libvirt', LIBVIRT)
        patch.start()
        self.addCleanup(patch.stop)
        self.host = mock.Mock()
        self.events = events.GuestEvents(self.host)

    def test_once_for_each_connection(self):
        self.assertTrue(self.events.listen())
        self.assertFalse(self.events.listen())
        first = self.host.get_connection()
        self.assertEqual(
            [mock.call(None, number, mock.ANY, self.host)
             for number in (18, 26)],
            first.domainEventRegisterAny.mock_calls)
        self.host.get_connection.return_value = mock.Mock()
        self.assertTrue(self.events.listen())
        self.assertFalse(self.events.listen())

    def test_failure_is_no_registration(self):
        connection = self.host.get_connection()
        connection.domainEventRegisterAny.side_effect = RuntimeError
        self.assertRaises(RuntimeError, self.events.listen)
        connection.domainEventRegisterAny.side_effect = None
        self.assertTrue(self.events.listen())

    def registered(self, number):
        return next(
            call.args[2:] for call in
            self.host.get_connection().domainEventRegisterAny.mock_calls
            if call.args[1] == number)

    def test_each_size_is_told_of(self):
        self.events.listen()
        callback, host = self.registered(26)
        domain = mock.Mock()
        domain.UUIDString.return_value = UUID
        callback(mock.sentinel.connection, domain, 'ua-x', 131072, host)
        (event,), _more = self.host._event_handler._queue_event.call_args
        self.assertIsInstance(event, events.MemorySizeChanged)
        self.assertEqual(UUID, event.get_instance_uuid())

    def test_only_connected_agents_are_told_of(self):
        self._test_told(self.host._event_handler._queue_event)

    def test_before_nova_33(self):
        """The host itself has the queue (nova/virt/libvirt/host.py)."""
        self.host = mock.Mock(spec=('get_connection', '_queue_event'))
        self.events = events.GuestEvents(self.host)
        self._test_told(self.host._queue_event)

    def _test_told(self, queue):
        self.events.listen()
        callback, host = self.registered(18)
        domain = mock.Mock()
        domain.UUIDString.return_value = UUID
        callback(mock.sentinel.connection, domain, 2, 1, host)
        queue.assert_not_called()
        callback(mock.sentinel.connection, domain, 1, 2, host)
        (event,), _more = queue.call_args
        self.assertIsInstance(event, events.AgentConnected)
        self.assertEqual(UUID, event.get_instance_uuid())
