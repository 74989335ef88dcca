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

"""Images: the service, and what is uploaded to it."""

from stack import database
from stack import images
from stack import process
from stack import venv
from stack import wsgi

PROPERTIES = {
    'x86_64': {
        'hw_machine_type': 'q35',
        'os_command_line':
            'console=ttyS0 panic=-1 memhp_default_state=online',
    },
    'aarch64': {
        'hw_emulation_architecture': 'aarch64',
        'hw_machine_type': 'virt',
        'hw_firmware_type': 'uefi',
        'hw_disk_bus': 'virtio',
        'hw_cdrom_bus': 'virtio',
        'memhotplug_block_mb': '128',
        'os_command_line':
            'console=ttyAMA0 panic=-1 memhp_default_state=online',
    },
}
#: Suffix of the name: what is added to the command line of the kernel
VARIANTS = {
    '': '',
    '-movable': ' memhotplug.online=movable',
}
COMMON = {'hw_video_model': 'none', 'hw_qemu_guest_agent': 'yes'}


def sync(settings):
    config = settings.render('glance-api.conf',
                             settings.etc / 'glance' / 'glance-api.conf')
    for name in ('images', 'tasks', 'staging'):
        (settings.data / 'glance' / name).mkdir(parents=True, exist_ok=True)
    database.sync(settings, 'glance', [
        settings.bin('glance-manage'), '--config-file', config, 'db_sync'],
        venv.release(settings, 'glance'))


def start(settings):
    folder = settings.etc / 'glance'
    service = wsgi.service(
        settings, 'glance', 'glance.wsgi.api', [folder / 'glance-api.conf'],
        {'OS_GLANCE_CONFIG_DIR': str(folder)})
    process.start(settings, service)
    return service


def upload(settings):
    """Upload the guest images that the cloud does not have yet."""
    wanted = {
        'memhotplug-%s%s' % (architecture, suffix): {
            'folder': str(images.folder(settings, architecture)),
            'properties': _properties(architecture, options),
        } for architecture in images.ARCHITECTURES
        for suffix, options in VARIANTS.items()}
    venv.cloud(settings, 'upload.py',
               'The guest images could not be uploaded',
               {'recipe': images.recipe(), 'images': wanted})


def _properties(architecture, options):
    own = PROPERTIES[architecture]
    return {**COMMON, **own,
            'os_command_line': own['os_command_line'] + options}
