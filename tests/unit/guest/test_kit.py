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

"""The files of ``guest/`` say the same, each in its own language."""

import json
import pathlib
import subprocess

import testtools
import yaml

GUEST = pathlib.Path(__file__).resolve().parents[3] / 'guest'
RULES = 'udev/80-memhotplug.rules'


def lines(text):
    """Return what is no comment."""
    return [line for line in text.splitlines()
            if line and not line.startswith('#')]


class GuestKitTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.user_data = (GUEST / 'cloud-init/user-data.yaml').read_text()

    def test_user_data(self):
        """The rule is that of the file, at the place that the file names."""
        written, = yaml.safe_load(self.user_data)['write_files']
        rules = (GUEST / RULES).read_text()
        self.assertTrue(self.user_data.startswith('#cloud-config\n'))
        self.assertEqual(lines(rules), lines(written['content']))
        self.assertIn(
            'Install as %s, then' % written['path'], rules)

    def test_udev_is_told(self):
        """What cloud-init runs is what a person is told to run."""
        rules = (GUEST / RULES).read_text()
        for command in yaml.safe_load(self.user_data)['runcmd']:
            self.assertIn('#   %s\n' % ' '.join(command), rules)

    def test_vendor_data(self):
        """Nova hands out a JSON document, cloud-init reads a key of it."""
        document = json.loads(
            (GUEST / 'cloud-init/vendor_data.json').read_text())
        self.assertEqual(['cloud-init'], list(document))
        self.assertTrue(
            document['cloud-init'].startswith('#cloud-config\n'))
        self.assertEqual(yaml.safe_load(self.user_data),
                         yaml.safe_load(document['cloud-init']))

    def test_grub(self):
        """What the kernel is told already stays."""
        told = subprocess.run(
            ['sh', '-euc', 'GRUB_CMDLINE_LINUX_DEFAULT=quiet; . "$1"; '
             'echo "$GRUB_CMDLINE_LINUX_DEFAULT"', 'sh',
             str(GUEST / 'kernel/80-memhotplug.cfg')],
            check=True, stdout=subprocess.PIPE, text=True).stdout
        self.assertEqual('quiet memhp_default_state=online_movable\n', told)
