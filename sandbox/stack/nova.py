# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Nova's API, conductor and scheduler."""

import re

from stack import compute
from stack import database
from stack import hook
from stack import plugin
from stack import process
from stack import report
from stack import venv
from stack import wsgi

PASTE = 'nova-api-paste.ini'
PASTE_SECTION = '[app:osapi_compute_app_v21]'
PASTE_LINE = 'paste.app_factory = nova_memhotplug.api.router:APIRouter.factory'
ELASTIC = {
    'memhotplug:max_memory_mb': '4096',
    'memhotplug:slots': '8',
    'trait:%s' % compute.PLUGIN_TRAIT: 'required',
}


def configure(settings):
    """Write all configuration but that of the hosts."""
    settings.render('nova-common.conf')
    settings.render('nova.conf')
    _write_paste(settings, plugin.is_usable(settings))
    (settings.data / 'nova').mkdir(exist_ok=True)
    if plugin.is_usable(settings):
        _install_shim(settings)


def _write_paste(settings, with_plugin):
    """Write Nova's own file, with one line changed for the plugin."""
    text = (settings.venv / 'etc/nova/api-paste.ini').read_text()
    if with_plugin:
        text, count = re.subn(
            r'(?m)^(%s\n)paste\.app_factory *=.*$' % re.escape(PASTE_SECTION),
            lambda match: match.group(1) + PASTE_LINE, text)
        if count != 1:
            raise report.SandboxError(
                "Nova's api-paste.ini has no %s as this release of the "
                "sandbox expects it." % PASTE_SECTION)
    (settings.etc / PASTE).write_text(text)


def _install_shim(settings):
    """Let the plugin put its emulator shim where its configuration says."""
    command = settings.bin('nova-memhotplug-status')
    try:
        report.run([command, 'shim', 'install', '--directory', settings.shim],
                   settings.log('nova-shim'), 'The shim is not well installed',
                   env=process.environment(settings, 'shim'))
    except report.SandboxError as exc:
        report.warn(str(exc))


def _manage(settings):
    return [settings.bin('nova-manage'),
            '--config-file', settings.etc / 'nova-common.conf',
            '--config-file', settings.etc / 'nova.conf']


def sync(settings):
    manage = _manage(settings)
    url = settings.template_values()['database_url']
    release = venv.release(settings, 'nova')
    database.sync(settings, 'nova-api',
                  manage + ['api_db', 'sync'], release)
    database.sync(settings, 'nova-cell0',
                  manage + ['cell_v2', 'map_cell0', '--database_connection',
                            url + '/nova_cell0'], url)
    # Both cells.
    database.sync(settings, 'nova-cells', manage + ['db', 'sync'], release)
    database.sync(settings, 'nova-cell1',
                  manage + ['cell_v2', 'create_cell', '--name', 'cell1',
                            '--verbose'], url)


def start(settings):
    """Start what needs the database."""
    config = [settings.etc / 'nova-common.conf', settings.etc / 'nova.conf']
    extra = plugin.state(settings)['digest']
    api = wsgi.service(
        settings, 'nova', 'nova.wsgi.osapi_compute',
        [settings.etc / PASTE, *config, *hook.files(settings)],
        {**hook.environment(settings),
         'OS_NOVA_CONFIG_DIR': str(settings.etc),
         'OS_NOVA_CONFIG_FILES': '%s;nova-common.conf;nova.conf' % PASTE},
        extra)
    services = [api] + [
        process.Service(name, [settings.bin(name), '--config-file',
                               config[0], '--config-file', config[1]],
                        files=[*config, *hook.files(settings)],
                        env=hook.environment(settings))
        for name in ('nova-conductor', 'nova-scheduler')]
    for service in services:
        process.start(settings, service)
    return services


def discover(settings):
    """Map every host to the cell, once it has reported itself."""
    stamp = settings.data / 'hosts.discovered'
    hosts = ' '.join(settings.hostnames)
    if stamp.exists() and stamp.read_text() == hosts:
        return
    compute.wait_ready(settings, for_servers=False)
    report.run(_manage(settings) + ['cell_v2', 'discover_hosts'],
               settings.log('schemas'),
               'The computes could not be mapped to the cell',
               env=process.environment(settings, 'nova-manage'))
    stamp.write_text(hosts)


def register(settings):
    """Create the flavors."""
    venv.cloud(settings, 'flavors.py', 'The flavors could not be created',
               {'elastic': (512, ELASTIC),
                'elastic-large': (1024, ELASTIC),
                'elastic-numa': (512, {**ELASTIC, 'hw:numa_nodes': '1'}),
                'elastic-vmem': (512, {**ELASTIC,
                                       'memhotplug:model': 'virtio-mem'}),
                'fixed': (512, {})})
