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


"""``nova-memhotplug-manage audit``, where an operator runs it."""

from tests.live import audit
from tests.live import base
from tests.live import cloud
from tests.live import hosts

BEHIND = 'request specs are behind; they are brought up to date with the next'
#: Since when placement takes the generation of a consumer.
MICROVERSION = '1.28'


class AuditTest(audit.AuditMixin, base.LiveTest):

    def assert_rows(self, expected, text, title):
        """A table has exactly these rows.

        :param expected: (server, what differs, has, flavor)
        """
        self.assertEqual(
            sorted((server.id, hosts.host_of(server), what, str(has_mb),
                    str(flavor_mb))
                   for server, what, has_mb, flavor_mb in expected),
            sorted(_rows(text, title)), text)

    def allocations(self, server):
        """Get the allocations, as they can be put again."""
        body = cloud.connect('admin').placement.get(
            '/allocations/' + server.id, microversion=MICROVERSION).json()
        for allocation in body['allocations'].values():
            allocation.pop('generation')
        return body

    def falsify(self, server, memory_mb):
        """Write something else into placement."""
        body = self.allocations(server)
        for allocation in body['allocations'].values():
            allocation['resources']['MEMORY_MB'] = memory_mb
        answer = cloud.connect('admin').placement.put(
            '/allocations/' + server.id, json=body,
            microversion=MICROVERSION)
        self.assertEqual(204, answer.status_code, answer.text)

    def force_down(self, host):
        self.addCleanup(hosts.force_down, host, False)
        hosts.force_down(host, True)

    def test_healthy(self):
        server = self.boot()
        self.grow(server, 1024)
        out = self.audit(audit.CLEAN).stdout
        self.assertEqual('0 differences', out.splitlines()[-1])
        self.assertIn('1 ' + BEHIND, out)
        self.assert_total(server, 1024)
        # The next move brings it up to date.
        server.prepare_move()
        self.assertNotIn(BEHIND, self.audit(audit.CLEAN).stdout)

    def test_names_and_corrects(self):
        by_hand, false, good = self.boot(), self.boot(), self.boot()
        hosts.attach(by_hand, 128)
        self.falsify(false, 4096)
        expected = [(by_hand, 'live domain', 640, 512),
                    (false, 'allocation', 4096, 512)]
        out = self.audit(audit.DIFFERENT).stdout
        self.assert_rows(expected, out, 'Different:')
        self.assertEqual('2 differences', out.splitlines()[-1])

        out = self.audit(audit.CLEAN, '--fix').stdout
        self.assert_rows(expected, out, 'Corrected:')
        self.assertNotIn('Different:', out)
        self.assertEqual('0 differences', out.splitlines()[-1])
        self.assert_clean()
        for server, total_mb in ((by_hand, 640), (false, 512), (good, 512)):
            self.assert_total(server, total_mb)
            self.assertEqual(total_mb, hosts.domain_mb(server))
        # It grows from there.
        self.grow(by_hand, 1024)
        self.assert_total(by_hand, 1024)

    def test_host_down(self):
        """What its guests have is not known; the rest is."""
        server = self.boot()
        hosts.attach(server, 128)
        self.falsify(server, 1024)
        host = hosts.host_of(server)
        self.force_down(host)
        expected = [(server, 'allocation', 1024, 512)]
        for options in ((), ('--fix',)):
            out = self.audit(audit.DIFFERENT, *options).stdout
            self.assert_rows(expected, out, 'Different:')
            self.assertNotIn('Corrected:', out)
        self.assertEqual(1024, server.allocated_mb())
        hosts.force_down(host, False)
        self.audit(audit.CLEAN, '--fix')
        self.assert_total(server, 640)

    def test_allocation_deleted(self):
        server = self.boot()
        self.grow(server, 1024)
        answer = cloud.connect('admin').placement.delete(
            '/allocations/' + server.id)
        self.assertEqual(204, answer.status_code, answer.text)
        expected = [(server, 'allocation', 0, 1024)]
        self.assert_rows(
            expected, self.audit(audit.DIFFERENT).stdout, 'Different:')
        done = self.audit(audit.FAILED, '--fix')
        self.assert_rows(expected, done.stdout, 'Different:')
        remedy = 'placement heal_allocations --instance %s' % server.id
        self.assertIn('nova-manage ' + remedy, done.stderr)
        # The sentence is right.
        healed = hosts.run('nova-manage', *remedy.split())
        self.assertEqual(0, healed.returncode, healed.stdout + healed.stderr)
        self.assert_clean()
        self.assert_total(server, 1024)


def _rows(text, title):
    """Read the rows of the table below a title."""
    lines = text.splitlines()
    if title not in lines:
        return
    rules = 0
    for line in lines[lines.index(title) + 1:]:
        if line.startswith('| ') and rules > 1:
            yield tuple(cell.strip() for cell in line.strip('|').split('|'))
        elif line.startswith('+'):
            rules += 1
        elif not line.startswith('|'):
            return
