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
"""Servers whose memory is a virtio-mem, ours or one by hand (P9)."""

import time

from lxml import etree

from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import notes
from tests.functional import base
from tests.functional import fixtures

XML = """\
<memory model="virtio-mem">
  <target>
    <size unit="KiB">1048576</size><node>1</node>
    <block unit="KiB">2048</block><requested unit="KiB">%(kib)d</requested>
    <current unit="KiB">%(kib)d</current><address base="0x200000000"/>
  </target>
  <alias name="virtiomem0"/>
  <address type="pci" domain="0x0000" bus="0x01" slot="0x00" function="0x0"/>
</memory>"""


class TestByHand(base.MemoryTestBase):
    """What the guest has of it counts, not what it could have."""

    def setUp(self):
        super().setUp()
        self.server = self.boot_elastic()

    def set_current(self, size_mb):
        """Let somebody have the guest take so much of the device."""
        self.fake_domain(self.server).by_hand = [XML % {'kib': size_mb * 1024}]
        self.computes['compute1'].driver._reconciler.remember(
            self.instance(self.server))
        self.run_periodic_task()

    def assert_total(self, total_mb):
        self.assertEqual(total_mb, self.instance(self.server).memory_mb)
        self.assertEqual(total_mb, self.allocation(self.server))

    def test_nothing_requested(self):
        self.set_current(0)
        self.assert_total(base.BOOT_MB)
        memory = self.show(self.server)[1]['memory']
        (device,) = memory['devices']
        self.assertEqual(
            ('virtio-mem', 0, None, '0x200000000'),
            (device['model'], device['size_mb'], device['slot'],
             device['address']))
        # The rest of its capacity cannot be had by other means.
        self.assertEqual(
            (base.BOOT_MB, base.CEILING_MB - 1024, base.SLOTS, True),
            (memory['current_mb'], memory['max_mb'], memory['slots']['free'],
             memory['can_grow']))
        self.grow(self.server, 1024)
        self.assert_total(1024)

    def test_adopted(self):
        self.set_current(256)
        self.assert_total(base.BOOT_MB + 256)
        self.grow(self.server, 1024)
        self.assert_total(1024)
        self.set_current(512)
        self.assert_total(1280)
        self._reboot_server(self.server, hard=True)
        self.assert_books(self.server, 1280)


class VirtioMemTestBase(base.MemoryTestBase):

    def setUp(self):
        super().setUp()
        # Nova's tests have no thread that waits for libvirt's events.
        driver = self.computes['compute1'].driver
        handler = type(getattr(driver._host, '_event_handler', driver._host))
        self.stub_out(
            '%s.%s._queue_event' % (handler.__module__, handler.__name__),
            lambda _self, event: driver.emit_event(event))

    def boot_asked(self, *totals_mb, **more):
        server = self.boot_elastic(**{'memhotplug:model': 'virtio-mem'},
                                   **more)
        for total_mb in totals_mb:
            self.grow(server, total_mb)
            self.assert_books(server, total_mb)
        return server

    def has(self, amounts_mb, server=None):
        """Have guests come to these amounts, and no further.

        :param amounts_mb: by what is requested, in MiB; what is not there,
            they have
        :param server: one whose guest does so now
        """
        self.memory_libvirt.domain.takes = staticmethod(
            lambda alias, current, requested: amounts_mb.get(
                requested // 1024, requested // 1024) * 1024)
        if server is not None:
            self.fake_domain(server).let_guest_act()

    def look(self, server):
        """Have the periodic task look at a server."""
        self.computes['compute1'].driver._reconciler.remember(
            self.instance(server))
        self.run_periodic_task()

    def booked(self, server):
        instance = self.instance(server)
        return (instance.flavor.memory_mb, instance.memory_mb,
                self.allocation(server), self.used_mb('compute1'))

    def assert_booked(self, server, total_mb):
        """All books come to hold a total, in a moment."""
        for _wait in range(100):
            if self.booked(server) == (total_mb,) * 4:
                return
            time.sleep(0.05)
        self.assertEqual((total_mb,) * 4, self.booked(server))

    def amounts(self, server, flags=0):
        return [(dev.requested_mb, dev.current_mb)
                for dev in self.guest(server, flags).devices]

    def comes_to(self, server, verdict, mb, of_mb):
        """The last request comes to an outcome, in a moment."""
        for _wait in range(100):
            known = self.show(server)[1]['memory']['last_resize']['outcome']
            found = known and (known['verdict'], known['mb'], known['of_mb'])
            if found == (verdict, mb, of_mb):
                return
            time.sleep(0.05)
        self.assertEqual((verdict, mb, of_mb), found)

    def spec(self, server):
        return self.instance(server).flavor.extra_specs.get(
            memory_spec.BOOT_MEMORY_MB)


class TestBothWays(VirtioMemTestBase):

    def test_any_step(self):
        server = self.boot_asked()
        self.assertIsNone(self.spec(server))
        body = self.grow(server, 3072)
        self.assertEqual(
            [{'model': 'virtio-mem', 'node': 1, 'size_mb': 2560}],
            body['memory']['devices'])
        self.assert_books(server, 3072)
        self.assertEqual('512', self.spec(server))
        body = self.grow(server, 1024)
        self.assertEqual(
            ([], [{'model': 'virtio-mem', 'node': 1, 'size_mb': 2048}],
             'The guest is being asked to give back 2048 MiB.'),
            (body['memory']['devices'], body['memory']['removed'],
             body['memory']['message']))
        self.assert_booked(server, 1024)
        self.assert_books(server, 1024)
        self.comes_to(server, 'confirmed', 2048, 2048)
        self.grow(server, 2048)
        self.assert_books(server, 2048)
        self.assertEqual(2048, self.used_mb('compute1'))
        self.assertEqual('512', self.spec(server))
        # No slot is used, and what the device holds back can be had.
        memory, plan, codes = self.plan(server, 4096)
        self.assertEqual(
            ([], 0, 4096, 512, 512, 128),
            (codes, memory['slots']['used'], memory['max_mb'],
             memory['boot_mb'], self.show(server)[1]['memory']['min_mb'],
             memory['step_mb']))
        (dev,) = self.show(server)[1]['memory']['devices']
        self.assertEqual(
            (1536, 3584, 1536, 1536),
            (dev['size_mb'], dev['capacity_mb'], dev['requested_mb'],
             dev['taken_mb']))

    def test_totals_that_cannot_be_had(self):
        server = self.boot_asked(1024)
        before = self.state(server)
        for total_mb, code in ((384, 'below_present_size'),
                               (600, 'unaligned'), (1000, 'unaligned'),
                               (4224, 'above_ceiling')):
            status, body = self.resize(server, total_mb)
            self.assertEqual((400, code), (
                status, body['badRequest']['reason']), body)
        self.assertEqual(before, self.state(server))

    def test_without_its_device(self):
        """A server that was made before its flavor had this model."""
        server = self.boot_elastic()
        instance = self.instance(server)
        instance.flavor.extra_specs['memhotplug:model'] = 'virtio-mem'
        instance.save()
        status, body = self.resize(server, 1024)
        self.assertEqual((409, 'no_memory_device'), (
            status, body['conflictingRequest']['reason']))

    def test_flavor(self):
        specs = dict(base.ELASTIC, **{'memhotplug:model': 'virtio-mem'})
        small = self.create_flavor(specs, memory_mb=512)
        large = self.create_flavor(specs, memory_mb=1536)
        server = self._create_server(flavor_id=small, networks='none')
        for flavor_id, total_mb in (
                (large, 1536), (small, 512), (large, 1536)):
            status, body = self.call(
                self.api, 'POST', server['id'], 'action',
                {'resizeMemory': {'flavorRef': flavor_id}})
            self.assertEqual(202, status, body)
            self.wait_idle(server)
            self.assert_booked(server, total_mb)
            self.assertEqual(('512', flavor_id), (
                self.spec(server), self.instance(server).flavor.flavorid))

    def test_two_nodes(self):
        server = self.boot_asked(1024, 3072, 768, **{'hw:numa_nodes': '2'})
        self.assertEqual([(128, 128)] * 2, self.amounts(server))
        self.assertEqual([384, 384], [
            cell.memory for cell in
            self.instance(server).numa_topology.cells])

    def test_reset_of_the_guest(self):
        """It has nothing for a while, which no book follows."""
        server = self.boot_asked(1024)
        for amounts_mb in ({512: 0}, {}):
            self.has(amounts_mb, server)
            self.look(server)
            self.assert_books(server, 1024)
            (dev,) = self.show(server)[1]['memory']['devices']
            self.assertEqual(amounts_mb.get(512, 512), dev['taken_mb'])

    def test_guest_without_driver(self):
        """It takes nothing, and may take all of it at any moment."""
        self.has({2560: 0, 512: 0})
        server = self.boot_asked(3072)
        self.assertEqual([(2560, 0)], self.amounts(server))
        self.comes_to(server, 'pending', 0, 2560)
        # It has nothing to give back, so that is done at once.
        self.grow(server, 1024)
        self.assert_books(server, 1024)

    def test_libvirt_refuses_the_second(self):
        """What was asked of the first is taken back."""
        server = self.boot_asked(1024, **{'hw:numa_nodes': '2'})
        seen = []

        def refuse(domain, xml):
            seen.append(etree.fromstring(xml).findtext('target/requested'))
            if len(seen) == 2:
                raise fixtures.libvirt_error(1, 'not today')

        self.memory_libvirt.domain.before_update = staticmethod(refuse)
        for total_mb in (2048, 768):
            del seen[:]
            self.grow(server, total_mb)
            self.assert_details(server, 'not today')
            self.assert_booked(server, 1024)
            self.assert_books(server, 1024)
            self.assertEqual(4, len(seen))

    def test_host_is_full(self):
        """What is claimed can be given back, and nobody was asked."""
        server = self.boot_asked(1024)
        self.fill_host(free_mb=128)
        before = self.amounts(server)
        self.assertEqual(['host_full'], self.plan(server, 2048)[2])
        self.assertEqual(before, self.amounts(server))
        self.grow(server, 640)
        self.assert_booked(server, 640)
        self.grow(server, 1152)
        self.assert_booked(server, 1152)


class TestGivingBack(VirtioMemTestBase):
    """Books fall when the guest has let go, and not before (T10)."""

    def setUp(self):
        super().setUp()
        self.server = self.boot_asked(3072)

    def ask(self, amount_mb):
        """Ask for 1024 MiB; the guest keeps so much of its device."""
        self.has({512: amount_mb})
        self.grow(self.server, 1024)
        self.assertEqual((512 + amount_mb,) * 4, self.booked(self.server))
        self.assertEqual([(512, amount_mb)], self.amounts(self.server))

    def no_events(self):
        """Have libvirt tell nothing, as after the loss of a connection."""
        connection = self.computes['compute1'].driver._host.get_connection()
        del connection._event_callbacks[fixtures.SIZE_CHANGE]

    def be_late(self):
        self.stub_out('nova_memhotplug.compute.release.Releases._is_late',
                      lambda _self, _uuid: True)

    def test_later(self):
        """libvirt tells of each step, and the last one counts."""
        self.ask(2560)
        self.comes_to(self.server, 'pending', 0, 2048)
        for amount_mb in (2048, 1024):
            self.has({512: amount_mb}, self.server)
        self.has({}, self.server)
        self.comes_to(self.server, 'confirmed', 2048, 2048)
        self.assert_booked(self.server, 1024)
        self.assert_books(self.server, 1024)

    def test_half_of_it_at_once(self):
        self.ask(1536)
        self.has({}, self.server)
        self.assert_booked(self.server, 1024)

    def test_nobody_tells(self):
        """The periodic task follows, as long as there is something to do."""
        self.ask(2560)
        self.no_events()
        for amount_mb in (2048, 2048, 1024, 512):
            self.has({512: amount_mb}, self.server)
            self.run_periodic_task()
            self.assertEqual(
                (512 + amount_mb,) * 4, self.booked(self.server))
        self.assert_books(self.server, 1024)

    def test_service_is_restarted(self):
        self.ask(2560)
        self.restart_compute_service('compute1')
        self.has({}, self.server)
        self.run_periodic_task()
        self.assert_books(self.server, 1024)
        self.comes_to(self.server, 'confirmed', 2048, 2048)

    def test_too_late(self):
        """It keeps what it has, and is asked for nothing any more."""
        self.ask(1090)
        self.be_late()
        self.run_periodic_task()
        self.assertEqual([(1090, 1090)], self.amounts(self.server))
        self.assert_books(self.server, 1602)
        self.comes_to(self.server, 'partial', 1470, 2048)
        self.has({})
        self.grow(self.server, 1024)
        self.assert_booked(self.server, 1024)

    def test_another_total(self):
        """It takes the place of the first."""
        self.ask(2560)
        for total_mb, amount_mb, count_mb in (
                (2048, 1536, 3072), (1024, 512, 3072), (3072, 2560, 3072)):
            self.has({512: 2560, 1536: 2560})
            body = self.grow(self.server, total_mb)
            self.assertTrue(body['memory']['changed'])
            self.assertEqual(
                [(amount_mb, 2560)], self.amounts(self.server))
            self.assertEqual((count_mb,) * 4, self.booked(self.server))
        self.run_periodic_task()
        self.assert_books(self.server, 3072)

    def test_same_total(self):
        """It is looked at once more, and nothing else is asked for."""
        self.ask(2560)
        self.has({512: 1024}, self.server)
        body = self.grow(self.server, 1024)
        self.assertEqual(
            ([], [], 'The guest is being asked to give back 512 MiB.'),
            tuple(body['memory'][key] for key in (
                'devices', 'removed', 'message')))
        self.assertEqual((1536,) * 4, self.booked(self.server))
        self.has({}, self.server)
        self.assert_booked(self.server, 1024)

    def test_not_migrated_live(self):
        self.ask(2560)
        body = {'os-migrateLive': {
            'host': 'no-such-host', 'block_migration': 'auto'}}
        status, answer = self.call(
            self.admin_api, 'POST', self.server['id'], 'action', body)
        self.assertEqual(409, status)
        self.assertIn('giving back 2048 MiB',
                      answer['conflictingRequest']['message'])
        # It keeps all of it, and could go then.
        self.be_late()
        self.run_periodic_task()
        self.assert_books(self.server, 3072)
        self.assertFalse(
            notes.read(self.note(self.server)).guest.is_giving_back)

    def test_quota_counts_it(self):
        self.ask(2560)
        self.flags(ram=3072, group='quota')
        self.assertIn('over_quota', self.plan(self.server, 3200)[2])
        self.assertEqual([], self.plan(self.server, 2048)[2])
