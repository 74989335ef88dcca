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

"""The audit, as an operator runs it."""

from tests.live import hosts

CLEAN, DIFFERENT, FAILED = 0, 1, 2


class AuditMixin:
    """Run the audit, in a ``base.LiveTest``."""

    def audit(self, code, *options):
        """Run it.

        :param code: the exit code that it must have
        :param options: for ``audit``
        :returns: what it printed
        """
        done = hosts.run('nova-memhotplug-manage', 'audit', *options)
        self.assertEqual(code, done.returncode, done.stdout + done.stderr)
        return done

    def assert_clean(self):
        last = self.audit(CLEAN).stdout.splitlines()[-1]
        self.assertEqual('0 differences', last)
