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
"""What a host tries, and when."""

from unittest import mock

import fixtures as fixtures_library
from lxml import etree
from nova import context
from nova import objects
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.virt import event as virtevent
from oslo_utils.fixture import uuidsentinel as uuids

from nova_memhotplug.virt import abilities
from nova_memhotplug.virt import probe
from tests.functional import base
from tests.functional import fixtures


class ProbeTestBase(base.MemoryTestBase):

    def setUp(self):
        self.tried = []
        create = fakelibvirt.Connection.createXML

        def remember(this, xml, flags):
            self.tried.append(etree.fromstring(xml).findtext('name'))
            self.before_trial()
            return create(this, xml, flags)

        self.stub_out(
            'nova.tests.fixtures.libvirt.Connection.createXML', remember)
        super().setUp()

    def before_trial(self):
        """Have something go wrong."""

    def has_trait(self):
        return abilities.TRAIT in self.traits()

    def traits(self):
        """Those of this package that the host has."""
        return {trait for trait in self._get_provider_traits(
            self.compute_rp_uuids['compute1'])
            if trait.startswith(abilities.TRAIT)}


class TestTrials(ProbeTestBase):

    def test_service_start(self):
        """The first strategy of the host's own architecture that works."""
        self.assertEqual(['memhotplug-probe-x86_64-native',
                          'memhotplug-probe-x86_64-shim'], self.tried)
        self.assertTrue(self.has_trait())
        server = self.boot_elastic()
        self.grow(server, 1024)
        self._reboot_server(server, hard=True)
        self.run_periodic_task()
        self.assertEqual(2, len(self.tried))

    def test_on_demand(self):
        self.boot_elastic(**{'memhotplug:zero_node': 'false'})
        self.assertEqual(
            ['memhotplug-probe-x86_64-existing'], self.tried[2:])

    def test_events(self):
        """The database is not asked for servers that are none."""
        seen = []
        self.useFixture(fixtures_library.MockPatchObject(
            self.computes['compute1'].driver, '_compute_event_callback',
            seen.append))
        for identity in (probe._identity(self.tried[0]), uuids.server):
            self.computes['compute1'].driver.emit_event(
                virtevent.LifecycleEvent(
                    identity, virtevent.EVENT_LIFECYCLE_STOPPED))
        self.assertEqual([uuids.server],
                         [event.get_instance_uuid() for event in seen])


class TestScheduling(ProbeTestBase):
    """What the scheduler of stock Nova is told, and what it does with it."""

    def test_traits_follow_the_strategy(self):
        """Nothing is tried for them that servers do not get."""
        for strategy, names, trials in (
                ('auto', ['', '_EMPTY_NODE', '_SHIM', '_VIRTIO_MEM'], 2),
                ('tiny', ['', '_TINY', '_VIRTIO_MEM'], 3)):
            self.flags(zero_cell_strategy=strategy, group='memhotplug')
            self.run_periodic_task()
            self.assertEqual({abilities.TRAIT + name for name in names},
                             self.traits())
            self.assertEqual(trials, len(self.tried))

    def test_ceiling(self):
        """Nova's ComputeCapabilitiesFilter reads the stats of the host."""
        key = 'capabilities:stats:%spc' % abilities.CEILING_STAT
        largest_mb = self.instance_node().stats[
            abilities.CEILING_STAT + 'pc']
        server = self.boot(dict(base.ELASTIC, **{
            key: '>= %s' % largest_mb}))
        self.assertEqual('compute1', self.instance(server).host)
        server = self.boot(dict(base.ELASTIC, **{
            key: '>= %d' % (int(largest_mb) + 1)}), expected_state='ERROR')
        self.assertIn('No valid host', server['fault']['message'])

    def test_ceiling_that_cannot_be_told(self):
        """The service starts, and tells it when it can."""
        with mock.patch(
                'nova_memhotplug.virt.address_space.ceilings',
                side_effect=RuntimeError('odd')):
            self.restart_compute_service('compute1')
            self.assertNotIn(
                abilities.CEILING_STAT + 'pc', self.instance_node().stats)
        self.run_periodic_task()
        self.assertIn(
            abilities.CEILING_STAT + 'pc', self.instance_node().stats)

    def instance_node(self):
        return objects.ComputeNode.get_first_node_by_host_for_old_compat(
            context.get_admin_context(), 'compute1')


class TestHostThatCannotNow(ProbeTestBase):
    """A fault that is over soon costs nothing later."""

    def test_tried_again(self):
        failure = mock.patch.object(self, 'before_trial', side_effect=(
            fixtures.libvirt_error(1, 'cannot set up guest memory: Cannot '
                                   'allocate memory')))
        with failure as trial:
            self.restart_compute_service('compute1')
            self.assertFalse(self.has_trait())
            self.assertLess(0, trial.call_count)
        self.run_periodic_task()
        self.assertTrue(self.has_trait())
        server = self.boot_elastic()
        self.grow(server, 1024)
        self.assert_books(server, 1024)

    def test_no_answer(self):
        """libvirt does not even tell its capabilities; the service starts."""
        archs = probe.Prober.archs
        with mock.patch.object(
                probe.Prober, 'archs', autospec=True, side_effect=(
                    fixtures.libvirt_error(38, 'not now'),
                    archs(self.computes['compute1'].driver._prober))):
            self.restart_compute_service('compute1')
        self.run_periodic_task()
        self.assertTrue(self.has_trait())
