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

"""The OpenStack APIs, each in a process of waitress."""

from stack import process
from stack import settings as settings_

SERVER = settings_.SANDBOX / 'cloud' / 'wsgi.py'


def service(settings, name, module, files, env, extra=''):
    """Return the service of an API.

    :param name: name of the service and of its port
    :param module: the module whose ``application`` is served
    :param files: its configuration
    :param env: how it finds its configuration
    """
    return process.Service(
        name, [settings.bin('python'), SERVER, module, settings_.ADDRESS,
               settings.port(name)],
        files=[SERVER, *files], env=env, port=settings.port(name), extra=extra)
