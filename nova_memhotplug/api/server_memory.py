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

"""The memory of a server: extract, authorise, act, serialise."""

from collections.abc import Callable
import functools
import typing as ty

from nova.api.openstack import common
from nova.api.openstack import wsgi
from nova.api import validation
from nova.compute import api as nova_compute_api
from nova import exception
from oslo_utils import strutils
import webob.exc

from nova_memhotplug.api import authorization
from nova_memhotplug.api import faults
from nova_memhotplug.api import planning
from nova_memhotplug.api import resize
from nova_memhotplug.api.schemas import server_memory as schema
from nova_memhotplug.api import views
from nova_memhotplug.common import history
from nova_memhotplug.core import errors
from nova_memhotplug.policies import server_memory as policies


def _with_refusals(
    function: Callable[..., views.Document],
) -> Callable[..., ty.Any]:
    """Let a method of a controller answer with what it has refused."""
    @functools.wraps(function)
    def wrapper(self: ty.Any, req: wsgi.Request, **kwargs: ty.Any) -> ty.Any:
        try:
            return function(self, req, **kwargs)
        except errors.MemoryHotplugError as refusal:
            return faults.Refusal(
                refusal, req.environ['nova.context'].is_admin)
        except exception.InstanceNotFound as exc:
            # It has been deleted since it was looked up.
            raise webob.exc.HTTPNotFound(explanation=exc.format_message())

    return wrapper


class ProjectController(wsgi.Controller):
    """``/os-server-memory``: the servers of a project, in pages."""

    def __init__(self) -> None:
        super().__init__()
        self._nova_api = nova_compute_api.API()

    @wsgi.expected_errors((400, 403))
    @validation.query_schema(schema.list_query)
    def index(self, req: wsgi.Request) -> views.Document:
        """List what is known of their memory without asking a host."""
        context = req.environ['nova.context']
        authorization.authorize(context, policies.LIST, context)
        limit, marker = common.get_limit_and_marker(req)
        try:
            found = self._nova_api.get_all(
                context, {'project_id': context.project_id,
                          'deleted': False}, limit, marker,
                ['flavor', 'system_metadata'])
        except exception.MarkerNotFound as exc:
            raise webob.exc.HTTPBadRequest(explanation=exc.format_message())
        return views.ProjectView().index(req, [
            (instance, planning.at_hand(instance)) for instance in found])


class ServerMemoryController(wsgi.Controller):
    """``/servers/{id}/os-memory`` and the action ``resizeMemory``."""

    def __init__(self) -> None:
        super().__init__()
        self._nova_api = nova_compute_api.API()
        self._api = resize.API()

    @wsgi.expected_errors((400, 403, 404, 409, 503))
    @validation.query_schema(schema.show_query)
    @_with_refusals
    def index(self, req: wsgi.Request, server_id: str) -> views.Document:
        """Show a server's memory, and the plan for a wanted total."""
        context, instance = self._find(req, server_id)
        authorization.authorize(context, policies.SHOW, instance)
        memory_mb = req.GET.get('memory_mb')
        report = self._api.get_memory(
            context, instance, memory_mb and int(memory_mb),
            may_resize=self._may_resize(context, instance),
            ask_guest=strutils.bool_from_string(req.GET.get('guest')))
        return views.show(
            report, history.last_resize(context, instance), context.is_admin)

    @wsgi.response(202)
    @wsgi.expected_errors((400, 403, 404, 409, 503))
    @wsgi.action('resizeMemory')
    @validation.schema(schema.resize_memory)
    @_with_refusals
    def resize_memory(
        self, req: wsgi.Request, id: str, body: views.Document,
    ) -> views.Document:
        """Bring a server to a wanted total."""
        context, instance = self._find(req, id)
        if not self._may_resize(context, instance):
            raise errors.NotAllowed()
        wanted = body['resizeMemory']
        if 'flavorRef' in wanted:
            return views.resized(*self._api.resize_to_flavor(
                context, instance, str(wanted['flavorRef'])))
        return views.resized(*self._api.resize_memory(
            context, instance, int(wanted['memory_mb'])))

    def _find(
        self, req: wsgi.Request, server_id: str,
    ) -> tuple[ty.Any, ty.Any]:
        context = req.environ['nova.context']
        return context, common.get_instance(
            self._nova_api, context, server_id,
            expected_attrs=['flavor', 'services'])

    @staticmethod
    def _may_resize(context: ty.Any, instance: ty.Any) -> bool:
        return authorization.is_authorized(
            context, policies.RESIZE, instance)
