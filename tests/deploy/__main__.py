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
"""The files of ``deploy/``, read by the tools that they are for.

It runs in the environment of those tools, not in Nova's
(``tools/test.sh style``), with the standard library's test runner.
"""

import configparser
import importlib.util
import io
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import tempfile
import unittest

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / 'deploy'
LIBEXEC = ROOT / 'nova_memhotplug' / 'libexec'
SHIM_DIRECTORY = '/usr/libexec/nova-memhotplug'
DRIVER = 'memhotplug.MemHotplugLibvirtDriver'
FACTORY = 'nova_memhotplug.api.router:APIRouter.factory'
PASTE_APP = 'app:osapi_compute_app_v21'
#: The file that Nova brings.
API_PASTE = pathlib.Path(os.environ['NOVA_API_PASTE'])


def load(*path):
    """Read a YAML file of ``deploy/``."""
    return yaml.safe_load(DEPLOY.joinpath(*path).read_text())


def run(command, *arguments):
    """Run a tool of this environment; return its output.

    :raises AssertionError: if it fails
    """
    done = subprocess.run(
        [pathlib.Path(sys.executable).parent / command, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {'ANSIBLE_LOCALHOST_WARNING': 'false'})
    if done.returncode:
        raise AssertionError(done.stdout)
    return done.stdout


class KollaTest(unittest.TestCase):
    """``kolla-build --template-only``: Dockerfiles, but no images."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.root = pathlib.Path(folder.name)
        text = (DEPLOY / 'kolla' / 'kolla-build.conf').read_text()
        config = cls.root / 'kolla-build.conf'
        shim = cls.root / 'memhotplug-shim'
        shim.mkdir()
        (shim / 'qemu-memhotplug-shim').write_bytes(
            (LIBEXEC / 'qemu-memhotplug-shim').read_bytes())
        config.write_text(text.replace(
            '/opt/build/memhotplug-shim', str(shim)))
        # The blocks are those of all distributions: one is enough.
        run('kolla-build', '--config-file', str(config), '--template-only',
            '--work-dir', str(cls.root), '--base', 'debian',
            '--template-override',
            str(DEPLOY / 'kolla' / 'template-overrides.j2'),
            '^nova-(api|compute|libvirt)$')

    def dockerfile(self, image):
        return (self.root / 'docker' / 'nova' / image /
                'Dockerfile').read_text()

    def test_package(self):
        """In nova-base, from which the others are made."""
        self.assertRegex(self.dockerfile('nova-base'), (
            r'pip .*install .*-c /requirements/upper-constraints.txt '
            r'/nova nova-memhotplug\b'))

    def test_shim(self):
        text = self.dockerfile('nova-libvirt')
        self.assertIn('ADD additions-archive /', text)
        self.assertIn('install -m 0755 /additions/memhotplug-shim/', text)

    def test_paste_line(self):
        """The command of the image, run on the file that Nova brings."""
        command = re.search(
            r'^RUN (sed .*\n +&& grep .*)$', self.dockerfile('nova-api'),
            re.MULTILINE)[1]
        copy = self.root / 'api-paste.ini'
        before = API_PASTE.read_text()
        copy.write_text(before)
        subprocess.run(
            ['sh', '-e', '-c', command.replace(
                '/etc/nova/api-paste.ini', str(copy))], check=True)
        changed = [after for line, after in zip(
            before.splitlines(), copy.read_text().splitlines(), strict=True)
            if line != after]
        self.assertEqual(['paste.app_factory = ' + FACTORY], changed)


class KollaAnsibleTest(unittest.TestCase):

    def merged(self, name, *files):
        """Merge configuration as the action plugin merge_configs does."""
        path = pathlib.Path(sysconfig.get_path('data'), 'share',
                            'kolla-ansible', 'ansible', 'action_plugins',
                            'merge_configs.py')
        spec = importlib.util.spec_from_file_location('merge_configs', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        parser = module.OverrideConfigParser()
        for text in (*files, (
                DEPLOY / 'kolla' / 'config' / 'nova' / name).read_text()):
            parser.parse(io.StringIO(text))
        out = io.StringIO()
        parser.write(out)
        config = configparser.RawConfigParser()
        config.read_string(out.getvalue())
        return config

    def test_compute(self):
        """A later file wins; what it does not name stays."""
        config = self.merged(
            'nova-compute.conf', '[DEFAULT]\nmy_ip = 192.0.2.1\n'
            'compute_driver = libvirt.LibvirtDriver\n')
        self.assertEqual(DRIVER, config['DEFAULT']['compute_driver'])
        self.assertEqual('192.0.2.1', config['DEFAULT']['my_ip'])
        self.assertEqual(
            SHIM_DIRECTORY, config['memhotplug']['shim_directory'])

    def test_api(self):
        config = self.merged('nova-api.conf', '[DEFAULT]\n')
        self.assertIn('memhotplug_guest', config['DEFAULT'][
            'non_inheritable_image_properties'].split(','))

    def test_volumes(self):
        """Where the shim is, is where nova.conf says it is."""
        for volume in load('kolla', 'globals.yml')[
                'nova_libvirt_extra_volumes']:
            self.assertEqual(SHIM_DIRECTORY, volume.split(':')[1])


class AnsibleTest(unittest.TestCase):

    def test_playbook(self):
        """ansible-core's own check; the role's plugins are not on PyPI."""
        run('ansible-playbook', '--syntax-check', '-i', 'localhost,',
            str(DEPLOY / 'shim.yml'))

    def test_playbook_has_all_files(self):
        text = (DEPLOY / 'shim.yml').read_text()
        for path in LIBEXEC.iterdir():
            self.assertIn(path.name, text)

    def test_paste_line(self):
        """Merged as config_template does: section by section."""
        paste = configparser.RawConfigParser()
        paste.read(API_PASTE)
        overrides = load('openstack-ansible', 'user_variables_memhotplug.yml')
        for section, values in overrides[
                'nova_api_paste_ini_overrides'].items():
            self.assertTrue(paste.has_section(section))
            for key, value in values.items():
                self.assertTrue(paste.has_option(section, key))
                paste.set(section, key, value)
        self.assertEqual(FACTORY, paste.get(PASTE_APP, 'paste.app_factory'))

    def test_driver(self):
        self.assertEqual({
            'DEFAULT': {'compute_driver': DRIVER},
            'memhotplug': {'shim_directory': SHIM_DIRECTORY},
        }, load('openstack-ansible', 'group_vars', 'nova_compute',
                'memhotplug.yml')['nova_nova_conf_overrides'])


TEXT = {'type': 'string', 'minLength': 1}
SECTIONS = {'type': 'object', 'additionalProperties': {
    'type': 'object', 'additionalProperties': TEXT}}


def only(**properties):
    """Describe a map that has these keys, and no others."""
    return {'type': 'object', 'properties': properties,
            'required': list(properties), 'additionalProperties': False}


#: What the charts of openstack-helm take there (values.yaml of nova and
#: libvirt), and Kubernetes' API where they pass it on.
NOVA_VALUES = only(
    images=only(tags=only(nova_api=TEXT, nova_compute=TEXT)),
    conf=only(paste=SECTIONS, nova=SECTIONS))
LIBVIRT_VALUES = only(pod=only(mounts=only(libvirt=only(libvirt=only(
    volumeMounts={'type': 'array', 'items': only(
        name=TEXT, mountPath={'type': 'string', 'pattern': '^/'},
        readOnly={'type': 'boolean'})},
    volumes={'type': 'array', 'items': only(
        name=TEXT, configMap=only(
            name=TEXT, defaultMode={'enum': [0o555]}))})))))
CONFIG_MAP = only(
    apiVersion={'const': 'v1'}, kind={'const': 'ConfigMap'},
    metadata=only(name=TEXT, namespace=TEXT),
    data={'type': 'object', 'additionalProperties': TEXT, 'minProperties': 1,
          'propertyNames': {'pattern': r'^[-._a-zA-Z0-9]{1,253}$'}})


class KubernetesTest(unittest.TestCase):

    def test_nova(self):
        values = load('openstack-helm', 'nova.yaml')
        jsonschema.validate(values, NOVA_VALUES)
        self.assertEqual({PASTE_APP: {'paste.app_factory': FACTORY}},
                         values['conf']['paste'])
        nova = values['conf']['nova']
        self.assertEqual(DRIVER, nova['DEFAULT']['compute_driver'])
        self.assertEqual(SHIM_DIRECTORY, nova['memhotplug']['shim_directory'])

    def test_libvirt(self):
        values = load('openstack-helm', 'libvirt.yaml')
        jsonschema.validate(values, LIBVIRT_VALUES)
        mounts = values['pod']['mounts']['libvirt']['libvirt']
        self.assertEqual([(SHIM_DIRECTORY, 'memhotplug-shim')], [
            (one['mountPath'], one['name'])
            for one in mounts['volumeMounts']])
        self.assertEqual(['memhotplug-shim'], [
            one['name'] for one in mounts['volumes']])

    def test_data_plane(self):
        document = load('edpm', 'memhotplug.yaml')
        jsonschema.validate(document, CONFIG_MAP)
        (name, text), = document['data'].items()
        # The operator copies what matches, and Nova reads it in this order.
        self.assertRegex(name, r'nova.*\.conf$')
        self.assertGreater(name, '02-nova-override.conf')
        config = configparser.RawConfigParser()
        config.read_string(text)
        self.assertEqual(DRIVER, config['DEFAULT']['compute_driver'])


if __name__ == '__main__':
    unittest.main()
