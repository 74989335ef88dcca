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
"""What is counted, and the file that is scraped."""

import pathlib
import stat
import types
from unittest import mock

import fixtures
from oslo_config import fixture as config_fixture
from prometheus_client import parser
import testtools

from nova_memhotplug.compute import metrics
from nova_memhotplug.core import errors

MIB = 1024 * 1024


class MetricsTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.path = self.root / 'memhotplug.prom'
        self.config = self.useFixture(config_fixture.Config(metrics.CONF))
        self.config.config(group='memhotplug', metrics_file=str(self.path))
        self.log = self.useFixture(fixtures.FakeLogger())
        self.before = self.scrape(())

    def scrape(self, slots):
        """Write the file, and read it as Prometheus does.

        :param slots: free and used slots of each guest; None for one that
            cannot be read
        """
        guests = mock.Mock()
        guests.running.return_value = {number: mock.Mock(
            read=mock.Mock(side_effect=[errors.UnreadableDomain(reason='x')]
                           if one is None else None,
                           return_value=one and types.SimpleNamespace(
                               slots=sum(one), free_slots=one[0],
                               used_slots=one[1])))
            for number, one in enumerate(slots)}
        metrics.write(guests)
        return {(sample.name.removeprefix('nova_memhotplug_'),
                 *sample.labels.values()): sample.value
                for family in parser.text_string_to_metric_families(
                    self.path.read_text()) for sample in family.samples}

    def more(self):
        """Say what has been counted since the test began."""
        found = self.scrape(())
        return {key: value - self.before.get(key, 0)
                for key, value in found.items()
                if value != self.before.get(key, 0) and
                not key[0].endswith(('_created', '_bucket', '_sum'))}

    def resize(self, before_mb, after_mb, error=None):
        instance = types.SimpleNamespace(
            flavor=types.SimpleNamespace(memory_mb=before_mb))
        with metrics.counted(instance):
            if error:
                raise error
            instance.flavor.memory_mb = after_mb

    def test_done(self):
        self.resize(512, 1024)
        self.resize(1024, 768)
        self.resize(768, 768)
        self.assertEqual({
            ('resizes_total', '', 'done'): 3,
            ('resize_seconds_count', 'done'): 3,
            ('plugged_bytes_total',): 512 * MIB,
            ('given_back_bytes_total',): 256 * MIB}, self.more())

    def test_failed(self):
        for error in (errors.HostFull(free_mb=1, asked_mb=2),
                      errors.HostFull(free_mb=1, asked_mb=2), ValueError()):
            self.assertRaises(type(error), self.resize, 512, 1024, error)
        self.assertEqual({
            ('resizes_total', 'host_full', 'failed'): 2,
            ('resizes_total', '', 'failed'): 1,
            ('resize_seconds_count', 'failed'): 3}, self.more())

    def test_slots(self):
        """Also of guests that nothing was done to."""
        found = self.scrape([(8, 0), (3, 5), (0, 8), (0, 0), None])
        self.assertEqual((11, 13, 1), (
            found['slots', 'free'], found['slots', 'used'],
            found['guests_without_free_slot',]))

    def test_file(self):
        """Whole at any time, and read by whoever collects it."""
        self.assertEqual([self.path], list(self.root.iterdir()))
        self.assertEqual(0o644, stat.S_IMODE(self.path.stat().st_mode))

    def test_file_that_cannot_be_written(self):
        guests = mock.Mock(**{'running.return_value': {}})
        self.config.config(group='memhotplug',
                           metrics_file=str(self.root / 'none' / 'x.prom'))
        metrics.write(guests)
        self.assertIn('The metrics cannot be written', self.log.output)

    def test_not_wanted(self):
        guests = mock.Mock()
        self.config.config(group='memhotplug', metrics_file=None)
        metrics.write(guests)
        self.assertEqual([], guests.mock_calls)
