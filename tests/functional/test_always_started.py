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

"""A server that has run is started, whatever is refused (design T9)."""

import re
from unittest import mock

import ddt
from nova import exception

from nova_memhotplug.core import compositions
from nova_memhotplug.core import errors
from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import notes
from nova_memhotplug.core import planner
from nova_memhotplug.core import strategies
from nova_memhotplug.models import dimm
from tests.functional import base
from tests.functional import fixtures
from tests.functional import test_moves
from tests.functional import test_opting_in

OPERATIONS = ('hard_reboot', 'stop_and_start', 'reboot_of_the_host',
              'evacuate', 'unshelve')
_FACT = re.compile(r'%\((\w+)\)(.)')


def refusals(kind=errors.MemoryHotplugError):
    """Make one error of each class of the package."""
    facts = {name: 1 if conversion == 'd' else name
             for name, conversion in _FACT.findall(kind.msg_fmt)}
    yield kind(**facts)
    for subclass in kind.__subclasses__():
        yield from refusals(subclass)


def where_refused():
    """List what is refused when a guest starts, and where that happens."""
    for row in compositions.COMPOSITIONS:
        if row.is_asked is not None:
            yield compositions, 'check', row.refusal
    for key in (memory_spec.MAX_MEMORY_MB, memory_spec.SLOTS,
                memory_spec.ZERO_NODE, memory_spec.MODEL):
        yield memory_spec, 'from_extra_specs', errors.InvalidSpec(
            key=key, value='x', rule='it must not be')
    for strategy in (strategies.AUTO, *strategies.ORDER):
        yield strategies, 'choose', errors.StrategyUnavailable(
            strategy=strategy, arch='x86_64', reason='not today')
    for refusal in (RuntimeError('a bug'), KeyError()):
        yield dimm.DimmModel, 'boot', refusal


class AlwaysStartedBase(test_moves.MovesTestBase):

    #: There are many to be started: a cast returns when all is done.
    CAST_AS_CALL = True

    def setUp(self):
        super().setUp()
        self.flags(resume_guests_state_on_host_boot=True)
        self.grow(self.server, 1024)

    def _boot(self):
        # With the trait required, no host would do that can reserve nothing.
        return self.boot(test_opting_in.WITHOUT_TRAIT)

    # What ends with a start of the guest

    def hard_reboot(self):
        self._reboot_server(self.server, hard=True)

    def stop_and_start(self):
        self._stop_server(self.server)
        self._start_server(self.server)

    def reboot_of_the_host(self):
        """Nova starts guests that a host has lost with its power."""
        host = self.instance(self.server).host
        self.fake_domain(self.server).destroy()
        self.start_again(host)

    def evacuate(self):
        """The host dies, another starts the server, the host is back."""
        host = self.instance(self.server).host
        self.force_down(host)
        self._evacuate_server(self.server, expected_task_state=None)
        self.start_again(host)
        self.force_down(host, False)
        self._start_server(self.server)

    def unshelve(self):
        self._shelve_server(self.server)
        self._unshelve_server(self.server)

    def start_again(self, host):
        service = self.computes[host]
        service.manager.init_host(service.service_ref)

    # What there is to see then

    def assert_started(self, why):
        """It runs, with all that it has, and why it cannot grow is known."""
        self.assertTrue(self.fake_domain(self.server).isActive())
        guest = self.guest(self.server)
        self.assertEqual((1024, None), (guest.present_mb, guest.max_mb))
        instance = self.instance(self.server)
        self.assertEqual(('active', None, why[:notes.MAX_LENGTH]), (
            instance.vm_state, instance.task_state,
            instance.system_metadata[notes.NO_ROOM]))

    def assert_without_room(self, why):
        """It runs, and growth is refused with reasons."""
        self.assert_started(why)
        memory = self.reasons(self.admin_api)
        self.assertFalse(memory['can_grow'])
        sentences = {reason['code']: reason['message']
                     for reason in memory['reasons']}
        self.assertIn(why[:200], sentences['booted_inelastic'])
        self.assertNotIn('/', str(self.reasons(self.api)['reasons']))
        status, body = self.resize(self.server, 2048)
        self.assertEqual(409, status, body)

    def reasons(self, api):
        status, body = self.show(self.server, api=api)
        self.assertEqual(200, status, body)
        return body['memory']

    def assert_with_room(self):
        guest = self.guest(self.server)
        self.assertEqual((1024, base.CEILING_MB),
                         (guest.present_mb, guest.max_mb))
        self.assertEqual([], self.reasons(self.api)['reasons'])
        self.grow(self.server, 1280)
        self.assert_books(self.server, 1280)


@ddt.ddt
class TestWhateverIsRefused(AlwaysStartedBase):

    @ddt.data(*OPERATIONS)
    def test_started(self, operation):
        operate = getattr(self, operation)
        for owner, name, refusal in where_refused():
            with mock.patch.object(owner, name, side_effect=refusal):
                operate()
            self.assert_without_room(
                str(refusal) or type(refusal).__name__)
        operate()
        self.assert_with_room()

    def test_every_error(self):
        """A model of somebody else may raise any."""
        for refusal in refusals():
            with mock.patch.object(
                    dimm.DimmModel, 'boot', side_effect=refusal):
                self.hard_reboot()
            self.assert_started(str(refusal))
        self.hard_reboot()
        self.assert_with_room()


class TestHypervisorRefuses(AlwaysStartedBase):
    """What a host could start when that was tried is possible no more."""

    def test_without_room(self):
        tried = []

        def refuse(domain):
            tried.append(domain._root.find('maxMemory') is not None)
            if tried[-1]:
                raise fixtures.libvirt_error(1, 'phys-bits too low (40)')

        with mock.patch.object(
                self.memory_libvirt.domain, '_refuse_empty_backend', refuse):
            self.hard_reboot()
        self.assertEqual([True, False], tried)
        self.assert_without_room('phys-bits too low (40)')
        self.hard_reboot()
        self.assert_with_room()

    def test_in_any_case(self):
        """What has nothing to do with room is Nova's to say."""
        with mock.patch.object(
                self.memory_libvirt.domain, '_refuse_empty_backend',
                side_effect=fixtures.libvirt_error(1, 'no such disk')):
            self.call(self.api, 'POST', self.server['id'], 'action',
                      {'reboot': {'type': 'HARD'}})
        self.assertEqual('libvirtError', self.api.get_server(
            self.server['id'])['fault']['message'])

    def test_domain_that_was_made_before(self):
        """What has not been started is not started in its place."""
        instance = self.instance(self.server)
        driver = self.computes[instance.host].driver
        self.api.post_server_action(self.server['id'], {'suspend': {}})
        self._wait_for_state_change(self.server, 'SUSPENDED')
        with mock.patch.object(
                driver._host, 'get_guest',
                side_effect=exception.InstanceNotFound(
                    instance_id=instance.uuid)):
            driver._get_existing_domain_xml(instance, [], {})
        tried = []

        def refuse(domain):
            tried.append(domain._root.find('maxMemory') is not None)
            raise fixtures.libvirt_error(1, 'no such disk')

        with mock.patch.object(
                self.memory_libvirt.domain, '_refuse_empty_backend', refuse):
            self.call(self.api, 'POST', self.server['id'], 'action',
                      {'resume': None})
        self._wait_for_state_change(self.server, 'ERROR')
        self.assertEqual([True], tried)

    def test_new_server(self):
        """It is refused, for Nova to try another host."""
        tried = []

        def refuse(domain):
            tried.append(domain)
            raise fixtures.libvirt_error(1, 'phys-bits too low (40)')

        with mock.patch.object(
                self.memory_libvirt.domain, '_refuse_empty_backend', refuse):
            self.boot(base.ELASTIC, expected_state='ERROR')
        self.assertEqual(2, len(tried))

    def test_rescue(self):
        """Unrescued, it has what it had before; so has the reason."""
        why = errors.InvalidSpec(key='k', value='v', rule='no')
        with mock.patch.object(
                memory_spec, 'from_extra_specs', side_effect=why):
            self.hard_reboot()
        before = self.reasons(self.admin_api)
        self.assertIn(str(why), before['reasons'][0]['message'])
        with mock.patch.object(
                memory_spec, 'from_extra_specs', side_effect=why):
            self._rescue_server(self.server)
        self._unrescue_server(self.server)
        self.assertEqual(before, self.reasons(self.admin_api))


class TestCeilingOfTheFlavor(AlwaysStartedBase):
    """A server has grown to a flavor whose ceiling is lower (P1)."""

    def setUp(self):
        super().setUp()
        self.low = self.create_flavor(
            dict(test_opting_in.WITHOUT_TRAIT, **{
                memory_spec.MAX_MEMORY_MB: '1536'}), 1024)
        self.assertEqual(202, self.resize_to(self.low)[0])
        self.assert_books(self.server, 1024)

    def resize_to(self, flavor_id):
        answer = self.call(
            self.api, 'POST', self.server['id'], 'action',
            {'resizeMemory': {'flavorRef': flavor_id}})
        self.wait_idle(self.server)
        return answer

    def test_refused(self):
        """The guest has room for 4096 MiB, its flavor allows 1536."""
        before = self.state(self.server)
        memory, plan, codes = self.plan(self.server, 2048)
        self.assertEqual(['above_ceiling'], codes)
        self.assertEqual(1536, memory['max_mb'])
        self.assertEqual(
            '2048 MiB is above the ceiling of 1536 MiB of the flavor that '
            'this server has.', plan['reasons'][0]['message'])
        status, body = self.resize(self.server, 2048)
        self.assertEqual((400, 'above_ceiling'), (
            status, body['badRequest']['reason']))
        self.assertEqual(before, self.state(self.server))

    def test_hard_reboot(self):
        self.grow(self.server, 1536)
        self.hard_reboot()
        self.assert_books(self.server, 1536)
        self.assertEqual(['at_ceiling'], [
            reason['code']
            for reason in self.reasons(self.api)['reasons']])

    def test_flavor_with_a_higher_ceiling(self):
        """It is the new flavor's that counts."""
        higher = self.create_flavor(test_opting_in.WITHOUT_TRAIT, 2048)
        status, body = self.resize_to(higher)
        self.assertEqual(202, status, body)
        self.assert_books(self.server, 2048)
        self.grow(self.server, 4096)
        self.assert_books(self.server, 4096)

    def test_record_that_says_otherwise(self):
        """Such servers have been made before that was refused."""
        with mock.patch.object(planner, 'ceiling_mb', return_value=4096):
            self.grow(self.server, 2048)
        self.assert_books(self.server, 2048)
        for operation in OPERATIONS:
            getattr(self, operation)()
            self.assertEqual(2048, self.guest(self.server).present_mb)
            memory = self.reasons(self.api)
            self.assertEqual((2048, False), (
                memory['max_mb'], memory['can_grow']))
            self.assertIn('at_ceiling', [
                reason['code'] for reason in memory['reasons']])
