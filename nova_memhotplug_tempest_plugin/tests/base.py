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

"""What the tests have in common."""

import contextlib

from tempest.common import waiters
from tempest import config
from tempest.lib.common import api_version_utils
from tempest.lib.common.utils import data_utils
from tempest.lib.common.utils import test_utils
from tempest.lib import exceptions
from tempest import test

from nova_memhotplug_tempest_plugin.common import console

CONF = config.CONF
KIB = 1024
#: The part of new memory that the guest's kernel may keep for its page map.
PAGE_MAP = 1 / 50


def lasting(memory):
    """Pick what only a resize changes; the rest may be seen later."""
    return {key: memory[key] for key in (
        'boot_mb', 'current_mb', 'requested_mb', 'max_mb', 'step_mb', 'slots',
        'devices')}


class MemoryTest(api_version_utils.BaseMicroversionTest, test.BaseTestCase):
    """Tests with servers of an elastic flavor."""

    credentials = ['primary']
    #: Servers without networks came with 2.37, the flavor that a server has
    #: now in its own record with 2.47.
    min_microversion = '2.47'

    @classmethod
    def skip_checks(cls):
        super().skip_checks()
        if not CONF.service_available.nova_memhotplug:
            raise cls.skipException('[service_available] nova_memhotplug')
        cls.skip_without('flavor_ref')
        api_version_utils.check_skip_with_microversion(
            cls.min_microversion, cls.max_microversion,
            CONF.compute.min_microversion, CONF.compute.max_microversion)

    @classmethod
    def skip_without(cls, option):
        """Skip what needs an option of the group that is not set."""
        if not CONF.memhotplug[option]:
            raise cls.skipException('[memhotplug] %s is not set' % option)

    @classmethod
    def skip_without_feature(cls, feature, group='memhotplug_feature_enabled'):
        """Skip what is not to be tested."""
        if not getattr(CONF, group)[feature]:
            raise cls.skipException('[%s] %s is not set' % (
                group.replace('_', '-'), feature))

    @classmethod
    def setup_credentials(cls):
        with_network = CONF.memhotplug.networks == 'auto'
        cls.set_network_resources(
            network=with_network, subnet=with_network, dhcp=with_network)
        super().setup_credentials()

    @classmethod
    def setup_clients(cls):
        super().setup_clients()
        cls.servers = cls.os_primary.servers_client
        cls.memory = cls.os_primary.memhotplug.ServerMemoryClient()

    @classmethod
    def resource_setup(cls):
        super().resource_setup()
        cls.setup_api_microversion_fixture(
            compute_microversion=api_version_utils.select_request_microversion(
                cls.min_microversion, CONF.compute.min_microversion))

    # Servers

    @staticmethod
    def new_name():
        """Make a name by which "tempest cleanup" finds what has it."""
        return data_utils.rand_name(
            'memhotplug', prefix=CONF.resource_name_prefix)

    @classmethod
    def create(cls, cleanup, flavor=None, image=None, wait_until='ACTIVE'):
        """Create a server.

        :param cleanup: ``addClassResourceCleanup``, or ``addCleanup`` of a
            test
        :param flavor: ID of a flavor, by default the elastic one
        :param image: ID of an image, by default that of Tempest
        :param wait_until: status to wait for
        :returns: its ID
        """
        networks = CONF.memhotplug.networks
        server_id = cls.servers.create_server(
            name=cls.new_name(),
            imageRef=image or CONF.compute.image_ref,
            flavorRef=flavor or CONF.memhotplug.flavor_ref,
            networks=networks if networks in ('auto', 'none') else [
                {'uuid': networks}])['server']['id']
        cleanup(cls._delete, server_id)
        waiters.wait_for_server_status(
            cls.servers, server_id, wait_until,
            raise_on_error=wait_until != 'ERROR')
        return server_id

    @classmethod
    def boot(cls, cleanup, **how):
        """Create a server, and wait until its guest can be asked."""
        server_id = cls.create(cleanup, **how)
        cls.wait_guest(server_id)
        return server_id

    @classmethod
    def _delete(cls, server_id):
        test_utils.call_and_ignore_notfound_exc(
            cls.servers.delete_server, server_id)
        waiters.wait_for_server_termination(cls.servers, server_id)

    @classmethod
    def wait_guest(cls, server_id, has=bool):
        """Wait until a guest has booted, or has what it is to have.

        Without reports on the console its agent is waited for, if there is
        one.

        :param has: a function of the last report
        :returns: that report; None if there are none
        """
        features = CONF.memhotplug_feature_enabled
        if features.console_report:
            return cls.until(
                lambda: cls.report(server_id, has), cls.output, server_id)
        if features.guest_agent:
            cls.until(lambda: cls.show(
                server_id, guest='true')['guest']['confirmed'])
        return None

    @classmethod
    def output(cls, server_id):
        """Get what a guest has printed since it was started."""
        return cls.servers.get_console_output(server_id)['output']

    @classmethod
    def report(cls, server_id, has=bool):
        """Get the last report of a guest, if it has what it is to have.

        :returns: None if it has not, or if guests do not report
        """
        if not CONF.memhotplug_feature_enabled.console_report:
            return None
        report = console.last_report(cls.output(server_id))
        return report if report and has(report) else None

    @classmethod
    def until(cls, look, explain=str, *arguments):
        """Call a function until it returns something true, and return that.

        :param explain: a function that says more in the failure
        """
        found = []

        def is_over():
            found.append(look())
            return found[-1]

        if not test_utils.call_until_true(
                is_over, CONF.memhotplug.guest_timeout,
                CONF.compute.build_interval):
            raise exceptions.TimeoutException(explain(*arguments)[-2000:])
        return found[-1]

    def act(self, server_id, action, *arguments, status='ACTIVE', **more):
        """Do something else to a server, and wait for its end.

        :param action: a method of Tempest's client
        :param status: that the server has then
        """
        action(server_id, *arguments, **more)
        waiters.wait_for_server_status(self.servers, server_id, status)

    # Memory

    @classmethod
    def show(cls, server_id, **query):
        """Get ``os-memory``."""
        return cls.memory.show_server_memory(server_id, **query)['memory']

    @classmethod
    def resize(cls, server_id, **wanted):
        """Resize a server, and wait for the end.

        :param wanted: ``memory_mb`` or ``flavorRef``
        :returns: the answer; ``last_resize`` of ``os-memory`` then
        """
        answer = cls.memory.resize_server_memory(server_id, **wanted)
        request_id = answer.response['x-openstack-request-id']

        def ended():
            last = cls.show(server_id)['last_resize']
            return (last and last['request_id'] == request_id and
                    last['status'] != 'running' and last)

        return answer['memory'], cls.until(ended)

    def grow(self, server_id, steps=1):
        """Grow a server by steps.

        :returns: the total in MiB
        """
        memory = self.show(server_id)
        total_mb = memory['current_mb'] + steps * memory['step_mb']
        answer, last = self.resize(server_id, memory_mb=total_mb)
        self.assertEqual(
            (total_mb, memory['current_mb'], True),
            (answer['memory_mb'], answer['current_mb'], answer['changed']))
        self.assertEqual('done', last['status'], last)
        self.assert_total(server_id, total_mb)
        return total_mb

    def refuse(self, fault, reason, server_id, *words, client=None, **wanted):
        """A resize is refused with these words, and changes nothing.

        :param fault: the exception of Tempest
        :param reason: what programs know the refusal by; None for one of
            Nova's own
        :param client: of who asks, if not the owner
        :param wanted: ``memory_mb`` or ``flavorRef``
        """
        with self.unchanged(server_id):
            refused = self.assertRaises(
                fault, (client or self.memory).resize_server_memory,
                server_id, **wanted)
        self.assertEqual(reason, refused.resp_body.get('reason'))
        for word in words:
            self.assertIn(str(word), refused.resp_body['message'])

    @contextlib.contextmanager
    def unchanged(self, server_id):
        """What is done meanwhile changes nothing of a server."""
        before = self._state(server_id)
        yield
        self.assertEqual(before, self._state(server_id))

    def _state(self, server_id):
        server = self.servers.show_server(server_id)['server']
        return (lasting(self.show(server_id)), server['status'],
                server['flavor'], self.resizes(server_id))

    def resizes(self, server_id):
        """List the requests that have resized a server, the newest first."""
        actions = self.servers.list_instance_actions(server_id)
        return [action['request_id'] for action in actions['instanceActions']
                if action['action'] == 'resizeMemory']

    def assert_total(self, server_id, total_mb):
        """The guest was given what Nova's flavor of the server says."""
        memory = self.show(server_id)
        server = self.servers.show_server(server_id)['server']
        self.assertEqual(
            (total_mb, total_mb, total_mb, None),
            (memory['current_mb'], memory['requested_mb'],
             server['flavor']['ram'], server['OS-EXT-STS:task_state']),
            memory)

    def wait_added(self, server_id, before, added_mb):
        """Wait until a guest uses what was added, all on one node.

        :param before: its report before
        :returns: its report now; None if there are none
        """
        least_kb = int(added_mb * KIB * (1 - PAGE_MAP))
        after = self.wait_guest(server_id, lambda report: (
            report.total_kb - before.total_kb >= least_kb))
        if after is not None:
            (growth_kb,) = after.growth(before).values()
            self.assertLessEqual(growth_kb, added_mb * KIB)
        return after

    def assert_not_rebooted(self, server_id):
        """The guest has booted once on this console."""
        if CONF.memhotplug_feature_enabled.console_report:
            self.assertEqual(1, console.boots(self.output(server_id)))
