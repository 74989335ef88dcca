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
"""What others are told of a resize, and the samples of the documentation."""

import copy
import os
import pathlib
from unittest import mock

import fixtures
from nova.tests import fixtures as nova_fixtures
from oslo_serialization import jsonutils

from nova_memhotplug.compute import notifications
from nova_memhotplug.core import errors
from tests.functional import base

SAMPLES = pathlib.Path(__file__).parents[2] / 'doc' / 'notification_samples'
#: What is different each time; its type counts.
VOLATILE = frozenset((
    'uuid', 'created_at', 'updated_at', 'launched_at', 'display_name',
    'host_name', 'flavorid', 'name', 'request_id', 'reservation_id',
    'image_uuid', 'tenant_id', 'user_id', 'action_initiator_project',
    'action_initiator_user', 'traceback', 'module_name', 'function_name'))


def constant(value):
    """Reduce what is different each time to its type."""
    if isinstance(value, list):
        return [constant(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: type(one).__name__ if key in VOLATILE else constant(one)
            for key, one in value.items()}


class TestNotifications(base.MemoryTestBase):

    def setUp(self):
        super().setUp()
        self.notifier = self.useFixture(
            nova_fixtures.NotificationFixture(self))
        self.flags(notification_format='versioned', group='notifications')

    def told(self, phase):
        """Wait for a notification of that phase; return it as it is sent."""
        found = self.notifier.wait_for_versioned_notifications(
            'instance.memory_resize.' + phase)[-1]
        return copy.deepcopy(found)

    def sent(self):
        """List what was told of resizes, with the RAM of the flavor."""
        return [(
            one['event_type'].rpartition('.')[2], one['priority'],
            payload['flavor']['nova_object.data']['memory_mb'],
            payload['wanted_memory_mb'], payload['code'])
            for one in self.notifier.versioned_notifications
            if one['event_type'].startswith('instance.memory_resize.')
            for payload in (one['payload']['nova_object.data'],)]

    def assert_sample(self, phase):
        found = self.told(phase)
        path = SAMPLES / ('instance-memory_resize-%s.json' % phase)
        sample = jsonutils.loads(path.read_text())
        self.assertEqual(constant(sample), constant(found))

    def test_growth_and_shrink(self):
        server = self.boot_elastic()
        self.grow(server, 1024)
        self.assert_sample('start')
        self.assert_sample('end')
        self.grow(server, 512)
        self.assertEqual([
            ('start', 'INFO', 512, 1024, None),
            ('end', 'INFO', 1024, 1024, None),
            ('start', 'INFO', 1024, 512, None),
            ('end', 'INFO', 512, 512, None)], self.sent())
        # As Nova is configured by default.
        self.flags(notification_format='unversioned', group='notifications')
        self.grow(server, 640)
        self.assertEqual(4, len(self.sent()))
        # That it cannot be sent is no reason to take the memory away again.
        self.flags(notification_format='versioned', group='notifications')
        self.stub_out('nova_memhotplug.compute.notifications.'
                      'MemoryResizeNotification.emit', mock.Mock(
                          side_effect=RuntimeError('broken')))
        self.grow(server, 768)
        self.assert_books(server, 768)
        self.assertEqual(4, len(self.sent()))

    def metrics(self):
        """Read the file as it is after the next periodic task."""
        path = os.path.join(
            self.useFixture(fixtures.TempDir()).path, 'memhotplug.prom')
        self.flags(metrics_file=path, group='memhotplug')
        self._run_periodics()
        with open(path) as stream:
            return {line.rpartition(' ')[0]: float(line.rpartition(' ')[2])
                    for line in stream if line[0] != '#'}

    def test_failure(self):
        def refuse(domain, xml):
            raise base.fakelibvirt.make_libvirtError(
                base.fakelibvirt.libvirtError, 'no memory',
                error_code=1, error_message='no memory')

        server = self.boot_elastic()
        before = self.metrics()
        self.memory_libvirt.domain.before_attach = staticmethod(refuse)
        self.grow(server, 1024)
        self.assert_sample('error')
        code = errors.HypervisorRefused.code
        self.assertEqual([('start', 'INFO', 512, 1024, None),
                          ('error', 'ERROR', 512, 1024, code)], self.sent())
        after = self.metrics()
        name = ('nova_memhotplug_resizes_total{code="%s",outcome="failed"}'
                % code)
        self.assertEqual(1, after[name] - before.get(name, 0))
        self.assertEqual(
            base.SLOTS, after['nova_memhotplug_slots{state="free"}'])
        self.assertEqual('ACTIVE', self.api.get_server(server['id'])['status'])
        self.assertEqual(
            sorted(notifications.MemoryResizeNotification.samples),
            sorted(path.name for path in SAMPLES.iterdir()))
