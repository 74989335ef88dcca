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

"""What Tempest loads."""

import pathlib
import typing as ty

from tempest import config
from tempest.test_discover import plugins

from nova_memhotplug_tempest_plugin import config as options

PACKAGE = pathlib.Path(__file__).resolve().parent


class MemHotplugTempestPlugin(plugins.TempestPlugin):
    """The tests of servers that grow."""

    def load_tests(self) -> tuple[str, str]:
        """Say where the tests are.

        :returns: their folder, and what it is imported from
        """
        return str(PACKAGE / 'tests'), str(PACKAGE.parent)

    def register_opts(self, conf: ty.Any) -> None:
        """Register the options.

        :param conf: a ``ConfigOpts``
        """
        options.register_opts(conf)

    def get_opt_lists(self) -> list[tuple[str, list[ty.Any]]]:
        """List the options, for the sample of Tempest's configuration."""
        return options.list_opts()

    def get_service_clients(self) -> list[dict[str, ty.Any]]:
        """List the clients: the API is part of Nova's."""
        return [{
            **config.service_client_config('compute'),
            'name': 'memhotplug',
            'service_version': 'memhotplug',
            'module_path': 'nova_memhotplug_tempest_plugin.services.'
                           'server_memory',
            'client_names': ['ServerMemoryClient'],
        }]
