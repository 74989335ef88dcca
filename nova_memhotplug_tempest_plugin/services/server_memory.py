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

"""The client of ``os-memory`` and ``resizeMemory``."""

import typing as ty
import urllib.parse

from oslo_serialization import jsonutils
from tempest.lib.common import rest_client
from tempest.lib.services.compute import base_compute_client

from nova_memhotplug_tempest_plugin.schemas import server_memory as schema


class ServerMemoryClient(base_compute_client.BaseComputeClient):
    """A part of the compute API."""

    def show_server_memory(self, server_id: str, **query: ty.Any) -> ty.Any:
        """Show the memory of a server.

        :param server_id: ID of the server
        :param query: ``memory_mb``, a total to plan for in MiB; ``guest``,
            whether its agent is asked
        :returns: a ``ResponseBody`` with the key ``memory``
        """
        url = 'servers/%s/os-memory' % server_id
        if query:
            url += '?' + urllib.parse.urlencode(query, doseq=True)
        return self._validated(schema.show, *self.get(url))

    def resize_server_memory(self, server_id: str, **wanted: ty.Any) -> ty.Any:
        """Resize the memory of a server.

        :param server_id: ID of the server
        :param wanted: ``memory_mb``, the total in MiB, or ``flavorRef``
        :returns: a ``ResponseBody`` with the key ``memory``
        """
        return self._validated(schema.resize, *self.post(
            'servers/%s/action' % server_id,
            jsonutils.dumps({'resizeMemory': wanted})))

    def _validated(
        self, expected: ty.Any, response: ty.Any, text: ty.Any,
    ) -> ty.Any:
        body = jsonutils.loads(text)
        self.validate_response(expected, response, body)
        return rest_client.ResponseBody(response, body)
