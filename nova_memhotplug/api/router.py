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

"""Nova's router with the memory of servers and a list of it.

The actions of Nova that move a server are prepared first (``api.moves``).
``api-paste.ini`` names this router in one line::

    [app:osapi_compute_app_v21]
    paste.app_factory = nova_memhotplug.api.router:APIRouter.factory
"""

import typing as ty

from nova_memhotplug.common import contract

# First of all: what is gone may be what the controllers are made of.
contract.require_for_api()

from nova.api.openstack.compute import routes  # noqa: E402
from nova.api.openstack import wsgi  # noqa: E402

from nova_memhotplug.api import moves  # noqa: E402
from nova_memhotplug.api import server_memory  # noqa: E402

ACTION_ROUTE = '/servers/{id}/action'
ROUTES = (
    ('/servers/{server_id}/os-memory', {
        'GET': [lambda: wsgi.Resource(server_memory.ServerMemoryController()),
                'index'],
    }),
    ('/os-server-memory', {
        'GET': [lambda: wsgi.Resource(server_memory.ProjectController()),
                'index'],
    }),
)


class APIRouter(routes.APIRouterV21):
    """Nova's API, ``os-memory``, its list and the action ``resizeMemory``."""

    def __init__(self) -> None:
        super().__init__(custom_routes=ROUTES)
        resource = self._servers_resource()
        for controller in (
                server_memory.ServerMemoryController(),
                *moves.controllers(resource.wsgi_actions)):
            resource.register_subcontroller_actions(controller)

    def _servers_resource(self) -> ty.Any:
        """Find the resource that dispatches the actions of servers.

        All server actions share one resource, which the routes of both URL
        forms (with and without a project) refer to.
        """
        resources = {
            route.defaults['controller'] for route in self.map.matchlist
            if route.routepath.endswith(ACTION_ROUTE)}
        (resource,) = resources
        return resource
