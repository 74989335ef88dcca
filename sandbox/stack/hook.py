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

"""Have something done around functions of Nova's services and Placement.

How is said in ``tests/hooks``. Nothing of it is in the plugin.
"""

from stack import settings as settings_

HOOKS = settings_.CHECKOUT / 'tests' / 'hooks'
SITE = HOOKS / 'site'


def environment(settings):
    """Return what loads the plug into a service; nothing without one."""
    if settings.hook is None:
        return {}
    settings.hook_folder.mkdir(exist_ok=True)
    return {'PYTHONPATH': str(SITE),
            'MEMHOTPLUG_HOOK': str(settings.hook),
            'MEMHOTPLUG_HOOK_FOLDER': str(settings.hook_folder)}


def files(settings):
    """List the files that make a restart necessary when they change."""
    if settings.hook is None:
        return []
    return [settings.hook, HOOKS / 'wrap.py', SITE / 'sitecustomize.py']
