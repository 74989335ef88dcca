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


"""The quota of a project, with both of Nova's drivers for it."""

from unittest import mock

import fixtures
from nova.limit import utils as limit_utils
from nova.tests import fixtures as nova_fixtures
import oslo_messaging as messaging

from nova_memhotplug.common import rpcapi
from tests.functional import base

RESERVED = dict(base.ELASTIC, **{'resources:MEMORY_MB': '4096'})


class QuotaMixin:
    """What holds with each driver."""

    def set_limit(self, ram_mb):
        """Set what the project may have; -1 for as much as it likes."""
        raise NotImplementedError

    def used_mb(self):
        """Return what the project uses, as it is told itself."""
        return self.api.get_limits()['absolute']['totalRAMUsed']

    def assert_over_quota(self, server, wanted_mb, limit_mb, used_mb,
                          asked_mb):
        """Refused, planned as impossible, and nothing has changed."""
        sentence = ('Quota exceeded for ram: %d MiB more were asked for, but '
                    '%d of %d MiB are in use already.' % (
                        asked_mb, used_mb, limit_mb))
        before = self.state(server)
        status, body = self.resize(server, wanted_mb)
        self.assertEqual(403, status, body)
        self.assertEqual(
            {'code': 403, 'message': sentence, 'reason': 'over_quota'},
            body['forbidden'])
        status, body = self.show(server, wanted_mb)
        self.assertEqual(200, status, body)
        plan = body['memory']['plan']
        self.assertFalse(plan['possible'])
        self.assertEqual(
            [{'code': 'over_quota', 'message': sentence}], plan['reasons'])
        self.assertEqual(before, self.state(server))

    def assert_grows(self, server, wanted_mb):
        plan = self.show(server, wanted_mb)[1]['memory']['plan']
        self.assertEqual((True, []), (plan['possible'], plan['reasons']))
        self.grow(server, wanted_mb)
        self.assertEqual(wanted_mb, self.guest(server).present_mb)

    def test_limit(self):
        """All servers count, and of this one what is added."""
        server, other = self.boot_elastic(), self.boot_elastic()
        self.set_limit(1024)
        self.assert_over_quota(server, 640, 1024, 1024, 128)
        self.set_limit(1664)
        self.assert_over_quota(server, 1280, 1664, 1024, 768)
        # A cold resize would need 1152 MiB more.
        self.assert_grows(server, 1152)
        self.assert_books(server, 1152)
        self.assertEqual(1664, self.used_mb())
        self.assert_over_quota(other, 640, 1664, 1664, 128)

    def test_nothing_is_added(self):
        """A project that is over its limit may ask for what it has."""
        server = self.boot_elastic()
        self.set_limit(256)
        status, body = self.resize(server, 512)
        self.assertEqual((202, False), (status, body['memory']['changed']))
        plan = self.show(server, 512)[1]['memory']['plan']
        self.assertEqual((True, []), (plan['possible'], plan['reasons']))

    def test_to_a_flavor(self):
        server = self.boot_elastic()
        flavor_id = self.create_flavor(base.ELASTIC, memory_mb=1024)
        self.set_limit(768)
        before = self.state(server)
        status, body = self.call(
            self.api, 'POST', server['id'], 'action',
            {'resizeMemory': {'flavorRef': flavor_id}})
        self.assertEqual(403, status, body)
        self.assertEqual(before, self.state(server))

    def lose_casts(self):
        """Accept requests that do not reach their host."""
        self.useFixture(fixtures.MockPatchObject(
            rpcapi.MemHotplugAPI, 'resize_memory'))

    def test_accepted_requests_count(self):
        """Two servers cannot pass one after the other, however slow the
        first one's host is.
        """
        server, other = self.boot_elastic(), self.boot_elastic()
        self.set_limit(2048)
        self.lose_casts()
        self.assertEqual(202, self.resize(server, 1536)[0])
        self.assert_over_quota(other, 1536, 2048, 2048, 1024)
        self.assert_over_quota(other, 640, 2048, 2048, 128)

    def test_claimed_requests_count_once(self):
        """The host has claimed what it was asked for, and is not done."""
        server, other = self.boot_elastic(), self.boot_elastic()
        self.set_limit(1664)
        waiting, go_on = self.hold_attach()
        self.assertEqual(202, self.resize(server, 1024)[0])
        self.assertTrue(waiting.wait(30))
        self.assert_over_quota(other, 768, 1664, 1536, 256)
        plan = self.show(other, 640)[1]['memory']['plan']
        self.assertEqual((True, []), (plan['possible'], plan['reasons']))
        go_on.set()
        self.wait_idle(server)
        self.assertEqual(1536, self.used_mb())

    def test_requests_at_the_same_moment(self):
        """Both have been checked before one of them counts."""
        server, other = self.boot_elastic(), self.boot_elastic()
        self.set_limit(2048)
        self.lose_casts()
        before = self.state(server)
        answers = []
        self.before_start(
            lambda: answers.append(self.resize(other, 1536)))
        status, body = self.resize(server, 1536)
        self.assertEqual(202, answers[0][0])
        self.assertEqual(403, status, body)
        self.assertEqual(
            'Quota exceeded for ram: 1024 MiB more were asked for, but 2048 '
            'of 2048 MiB are in use already.', body['forbidden']['message'])
        self.assertEqual(before, self.state(server))

    def test_request_that_cannot_be_sent(self):
        """What was reserved is given back."""
        server = self.boot_elastic()
        before = self.state(server)
        with mock.patch.object(rpcapi.MemHotplugAPI, 'resize_memory',
                               side_effect=messaging.MessageDeliveryFailure):
            self.assertEqual(500, self.resize(server, 1024)[0])
        after = self.state(server)
        self.assertEqual(before['actions'] + 1, after['actions'])
        self.assertEqual(before, after | {'actions': before['actions']})
        self.assertEqual(512, self.used_mb())
        self.assert_grows(server, 1024)

    def test_no_limit(self):
        server = self.boot_elastic()
        self.set_limit(-1)
        self.assert_grows(server, 4096)
        self.assertEqual(4096, self.used_mb())


class TestLegacyQuota(QuotaMixin, base.MemoryTestBase):

    def setUp(self):
        super().setUp()
        self.assertEqual('nova.quota.DbQuotaDriver',
                         base.base.CONF.quota.driver)

    def set_limit(self, ram_mb):
        self._set(ram=ram_mb)

    def _set(self, user_id=None, **limits):
        self.admin_api.update_quota(
            dict(limits, force=True), self.api.project_id, user_id)

    def test_limit_of_a_user(self):
        server = self.boot_elastic()
        self._set(self.instance(server).user_id, ram=768)
        self.assert_over_quota(server, 1024, 768, 512, 512)
        self.assert_grows(server, 768)

    def test_memory_alone_counts(self):
        """More cores than the project may have are no matter."""
        server = self.boot_elastic()
        self._set(cores=1)
        self.assert_grows(server, 1024)

    def test_reserved(self):
        """The flavor counts, whatever is reserved in placement."""
        server = self.boot(RESERVED)
        self.set_limit(768)
        self.assert_over_quota(server, 1024, 768, 512, 512)
        self.assert_grows(server, 768)
        self.assertEqual(768, self.used_mb())

    def test_no_second_look(self):
        """[quota] recheck_quota is the operator's choice, as for Nova."""
        self.flags(recheck_quota=False, group='quota')
        server, other = self.boot_elastic(), self.boot_elastic()
        self.set_limit(2048)
        self.lose_casts()
        self.before_start(lambda: self.resize(other, 1536))
        self.assertEqual(202, self.resize(server, 1536)[0])

    def test_reserved_and_usage_from_placement(self):
        """What is reserved counts, and needs nothing more."""
        self.flags(count_usage_from_placement=True, group='quota')
        server, other = self.boot(RESERVED), self.boot_elastic()
        self.set_limit(4608)
        self.assert_grows(server, 1024)
        self.assertEqual(4608, self.used_mb())
        self.assert_over_quota(other, 640, 4608, 4608, 128)


class TestLegacyQuotaOfAllocations(QuotaMixin, base.MemoryTestBase):
    """The legacy driver, which asks placement what is used."""

    def setUp(self):
        super().setUp()
        self.flags(count_usage_from_placement=True, group='quota')

    def set_limit(self, ram_mb):
        self.admin_api.update_quota(
            {'ram': ram_mb, 'force': True}, self.api.project_id)


class TestUnifiedLimits(QuotaMixin, base.MemoryTestBase):

    def setUp(self):
        super().setUp()
        self.flags(driver=limit_utils.UNIFIED_LIMITS_DRIVER, group='quota')
        self._limits = self.useFixture(nova_fixtures.UnifiedLimitsFixture())
        # A process logs in to Keystone once.
        self.useFixture(fixtures.MonkeyPatch(
            'nova.limit.utils.IDENTITY_CLIENT', None))
        for name in ('servers', 'class:VCPU', 'class:DISK_GB'):
            self._limits.create_registered_limit(
                resource_name=name, default_limit=100)

    def set_limit(self, ram_mb):
        self._limits.limits_list = []
        self._register()
        self._limits.create_limit(
            project_id=self.api.project_id, resource_name='class:MEMORY_MB',
            resource_limit=ram_mb)

    def _register(self, default_mb=100000):
        self._limits.create_registered_limit(
            resource_name='class:MEMORY_MB', default_limit=default_mb)

    def test_default_limit(self):
        """A project without a limit of its own."""
        server = self.boot_elastic()
        self._register(768)
        self.assert_over_quota(server, 1024, 768, 512, 512)
        self.assert_grows(server, 768)

    def test_limit_of_zero(self):
        """It is a limit, other than none at all."""
        server = self.boot_elastic()
        self.set_limit(0)
        self.assert_over_quota(server, 640, 0, 512, 128)

    def test_no_limit_is_registered(self):
        """[quota] unified_limits_resource_list has the last word."""
        server = self.boot_elastic()
        self.assert_grows(server, 1024)
        self.flags(unified_limits_resource_list=['class:MEMORY_MB'],
                   group='quota')
        self.assert_over_quota(server, 1152, 0, 1024, 128)

    def test_reserved(self):
        """What is reserved counts, and needs nothing more."""
        server, other = self.boot(RESERVED), self.boot_elastic()
        self.set_limit(4608)
        self.assert_grows(server, 1024)
        self.assertEqual(4608, self.used_mb())
        self.assert_over_quota(other, 640, 4608, 4608, 128)
