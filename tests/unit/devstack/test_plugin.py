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

"""The functions of devstack's plugin, run by bash as devstack runs them."""

import pathlib
import subprocess

import fixtures
import testtools

DEVSTACK = pathlib.Path(__file__).resolve().parents[3] / 'devstack'

# What devstack has: its configuration is a file of "option=value" here, and
# commands of root are run or, if they are not for a test, written down, as are
# commands that change the cloud.
SURROUNDINGS = """
set -o errexit -o nounset
define_plugin() { :; }
get_python_exec_prefix() { echo /venv/bin; }
iniset() { sed -i "/^$3=/d" "$1"; echo "$3=$4" >>"$1"; }
iniget() { sed -n "s/^$3=//p" "$1"; }
sudo() {
    case $1 in
    mkdir|tee|sed) "$@" ;;
    *) echo "$*" >>commands ;;
    esac
}
openstack() {
    case "$*" in
    *'flavor show -f value'*) echo "id-of-${!#}" ;;
    *'flavor show'*) false ;;
    *) echo "openstack $*" >>commands ;;
    esac
}
is_service_enabled() { [[ ${ENABLED:-} == "$1" ]]; }
echo_summary() { :; }
DEST=/opt/stack
NOVA_CONF=nova.conf
TEMPEST_CONFIG=tempest.conf
NOVA_MEMHOTPLUG_DIR=%(top)s
NOVA_MEMHOTPLUG_APPARMOR=$PWD/apparmor.d
source %(top)s/devstack/settings
source %(top)s/devstack/plugin.sh none none
"""

LIBVIRTD = '/usr/libexec/nova-memhotplug/qemu-memhotplug-shim PUx,\n'
GUESTS = '/usr/libexec/nova-memhotplug/qemu-memhotplug-shim rmix,\n'


class PluginTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.conf = self.root / 'nova.conf'
        self.conf.touch()
        self.profiles = self.root / 'apparmor.d'
        self.local = self.profiles / 'local'
        self.files = (self.local / 'usr.sbin.libvirtd',
                      self.local / 'abstractions' / 'libvirt-qemu')

    def _run(self, *functions):
        script = '\n'.join([
            SURROUNDINGS % {'top': DEVSTACK.parent}, *functions])
        subprocess.run(['bash', '-c', script], cwd=self.root, check=True,
                       capture_output=True)

    def _commands(self):
        path = self.root / 'commands'
        return path.read_text().splitlines() if path.exists() else []

    def _confine(self):
        self.local.mkdir(parents=True)
        (self.profiles / 'usr.sbin.libvirtd').touch()
        self.files[0].write_text('/opt/x PUx,\n')

    def test_properties_of_images(self):
        for before, after in (
                ('', 'cache_in_nova,bittorrent,memhotplug_guest,'
                 'memhotplug_no_room'),
                ('mine', 'mine,memhotplug_guest,memhotplug_no_room'),
                ('a, memhotplug_guest, b',
                 'a, memhotplug_guest, b,memhotplug_no_room'),
                ('memhotplug_no_room, memhotplug_guest',
                 'memhotplug_no_room, memhotplug_guest')):
            option = 'non_inheritable_image_properties=%s\n'
            self.conf.write_text(option % before if before else '')
            for _again in range(2):
                self._run('keep_memhotplug_note_out_of_images')
                self.assertEqual(option % after, self.conf.read_text())

    def test_compute(self):
        self._run('configure_memhotplug_compute')
        self.assertEqual(
            ['/venv/bin/nova-memhotplug-status shim install'],
            self._commands())
        self.assertFalse(self.profiles.exists())

    def test_apparmor(self):
        self._confine()
        for _again in range(2):
            self._run('allow_memhotplug_shim')
            self.assertEqual(
                ('/opt/x PUx,\n' + LIBVIRTD, GUESTS),
                tuple(file.read_text() for file in self.files))
        self.assertEqual(['systemctl reload apparmor'] * 2, self._commands())

    def test_tempest(self):
        config = self.root / 'tempest.conf'
        config.write_text('flavor_ref=42\n')
        phase = 'source %s/plugin.sh stack test-config' % DEVSTACK
        self._run(phase)
        self.assertEqual('flavor_ref=42\n', config.read_text())
        self._run('ENABLED=tempest', phase)
        self.assertEqual({
            'nova_memhotplug=True', 'flavor_ref=id-of-elastic',
            'flavor_ref_alt=id-of-elastic-large',
            'plain_flavor_ref=42', 'live_migration=True',
        }, set(config.read_text().splitlines()))
        (flavor,) = self._commands()
        self.assertIn('--ram 1024', flavor)
        self.assertTrue(flavor.endswith(' elastic-large'), flavor)

    def test_clean(self):
        self._confine()
        self._run('allow_memhotplug_shim', 'clean_memhotplug')
        self.assertEqual(('/opt/x PUx,\n', ''), tuple(
            file.read_text() for file in self.files))
        self.assertEqual('/venv/bin/nova-memhotplug-status shim remove',
                         self._commands()[-1])
