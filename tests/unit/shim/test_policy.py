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

"""What AppArmor and SELinux are to know, compiled by their own tools.

Nothing is loaded into a kernel.
"""

import pathlib
import shutil
import subprocess

import fixtures
import testtools

from nova_memhotplug.conf import memhotplug
from tests.unit.shim import runner

LIBEXEC = runner.SHIM.parent
#: Where the shim is by default.
SHIM = '%s/%s' % (
    {opt.name: opt for opt in memhotplug.OPTS}['shim_directory'].default,
    runner.SHIM.name)

# What is the same in the profiles that Debian's libvirt-daemon-system has.
PROFILE = """
abi <abi/3.0>,
include <tunables/global>
profile test {
  include <abstractions/base>
  /{usr/,}bin/{dash,bash} rmix,
  include "%s"
  %s
}
"""

# The least policy that SELinux takes, with the types of refpolicy's virt and
# qemu modules that matter here.
POLICY = """
(handleunknown allow)
(mls true)
(sid kernel)
(sidorder (kernel))
(class file (execute entrypoint))
(classorder (file))
(sensitivity s0)
(sensitivityorder (s0))
(user system_u)
(role object_r)
(role system_r)
(roletype object_r qemu_exec_t)
(userrole system_u object_r)
(userrole system_u system_r)
(userlevel system_u (s0))
(userrange system_u ((s0) (s0)))
(type svirt_t)
(type qemu_exec_t)
(roletype system_r svirt_t)
(allow svirt_t qemu_exec_t (file (execute entrypoint)))
(sidcontext kernel (system_u system_r svirt_t ((s0) (s0))))
"""


def _tool(name):
    """Find a tool that only root has on the path."""
    return shutil.which(name, path='/usr/sbin:/sbin:/usr/bin:/bin')


class PolicyTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def _run(self, *command):
        return subprocess.run(command, capture_output=True, text=True,
                              timeout=60, cwd=self.root)

    def _parse(self, snippet, more=''):
        """Compile a snippet as part of a profile."""
        profile = self.root / 'profile'
        profile.write_text(PROFILE % (snippet, more))
        return self._run(_tool('apparmor_parser'), '-Q', '-K', '-T', profile)

    def test_apparmor_takes_the_rules(self):
        for name in ('apparmor-libvirtd', 'apparmor-guests'):
            done = self._parse(LIBEXEC / name)
            self.assertEqual(0, done.returncode, done.stderr)

    def test_apparmor_reads_the_rules(self):
        """Where the same file may be run in two ways the parser objects."""
        for name, other in (('apparmor-libvirtd', 'ix'),
                            ('apparmor-guests', 'Ux')):
            done = self._parse(LIBEXEC / name, '%s %s,' % (SHIM, other))
            self.assertNotEqual(0, done.returncode)
            self.assertIn('conflicting x modifiers', done.stderr)
            done = self._parse(LIBEXEC / name, '%s-other %s,' % (SHIM, other))
            self.assertEqual(0, done.returncode, done.stderr)

    def test_apparmor_says_what_is_wrong(self):
        broken = self.root / 'broken'
        broken.write_text((LIBEXEC / 'apparmor-guests').read_text().replace(
            'rmix,', 'rmix'))
        self.assertNotEqual(0, self._parse(broken).returncode)

    def _compile(self, module):
        policy = self.root / 'policy.cil'
        policy.write_text(POLICY)
        return self._run(_tool('secilc'), '-M', 'true', '-o', 'policy.out',
                         '-f', 'contexts', policy, module)

    def test_selinux_labels_the_shim(self):
        done = self._compile(LIBEXEC / 'nova-memhotplug.cil')
        self.assertEqual(0, done.returncode, done.stderr)
        path, kind, label = (self.root / 'contexts').read_text().split()
        self.assertEqual(
            (SHIM, '--', 'system_u:object_r:qemu_exec_t:s0'),
            (path.replace('\\', ''), kind, label))

    def test_selinux_says_what_is_wrong(self):
        broken = self.root / 'broken.cil'
        text = (LIBEXEC / 'nova-memhotplug.cil').read_text()
        broken.write_text(text.replace('qemu_exec_t', 'no_such_t'))
        self.assertNotEqual(0, self._compile(broken).returncode)
