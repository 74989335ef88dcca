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

from nova.api.openstack import common
from nova.api.openstack import wsgi
from nova.api import validation
from nova.compute import api as nova_compute_api
from nova import exception
import webob.exc

from nova_memhotplug.api import authorization
from nova_memhotplug.api import resize
from nova_memhotplug.api.schemas import server_memory as schema
from nova_memhotplug.api import views
from nova_memhotplug.core import errors
from nova_memhotplug.policies import server_memory as policies

#: Refusals of the request itself, and of the user. All others are about the
#: state of the server and are conflicts.
_STATUS = {
    errors.Unaligned.code: webob.exc.HTTPBadRequest,
    errors.AboveCeiling.code: webob.exc.HTTPBadRequest,
    errors.Shrink.code: webob.exc.HTTPBadRequest,
    errors.FlavorDiffers.code: webob.exc.HTTPBadRequest,
    errors.InvalidSpec.code: webob.exc.HTTPBadRequest,
    errors.OverQuota.code: webob.exc.HTTPForbidden,
}


class ServerMemoryController(wsgi.Controller):
    """``/servers/{id}/os-memory`` and the action ``resizeMemory``."""

    def __init__(self):
        super().__init__()
        self._nova_api = nova_compute_api.API()
        self._api = resize.API()

    @wsgi.expected_errors((400, 403, 404, 409, 503))
    @validation.query_schema(schema.show_query)
    def index(self, req, server_id):
        """Show a server's memory, and the plan for a wanted total."""
        context, instance = self._authorized(req, server_id, policies.SHOW)
        memory_mb = req.GET.get('memory_mb')
        with _http_errors(server_id):
            return views.show(self._api.get_memory(
                context, instance, memory_mb and int(memory_mb),
                may_resize=authorization.is_authorized(
                    context, policies.RESIZE, instance)))

    @wsgi.response(202)
    @wsgi.expected_errors((400, 403, 404, 409, 503))
    @wsgi.action('resizeMemory')
    @validation.schema(schema.resize_memory)
    def resize_memory(self, req, id, body):
        """Bring a server to a wanted total."""
        context, instance = self._authorized(req, id, policies.RESIZE)
        wanted = body['resizeMemory']
        with _http_errors(id):
            if 'flavorRef' in wanted:
                return self._resize_to_flavor(
                    context, instance, wanted['flavorRef'])
            return views.resized(self._api.resize_memory(
                context, instance, int(wanted['memory_mb'])))

    def _resize_to_flavor(self, context, instance, flavor_ref):
        flavor = self._api.get_flavor(context, instance, str(flavor_ref))
        memory_mb = (flavor or instance.flavor).memory_mb
        return views.resized(self._api.resize_memory(
            context, instance, memory_mb, flavor))

    def _authorized(self, req, server_id, rule):
        context = req.environ['nova.context']
        instance = common.get_instance(
            self._nova_api, context, server_id,
            expected_attrs=['flavor', 'services'])
        authorization.authorize(context, rule, instance)
        return context, instance


class _http_errors:
    """Turn the errors of ``api.resize`` into answers with a status."""

    def __init__(self, server_id):
        self._server_id = server_id

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc, traceback):
        if isinstance(exc, resize.PlanRefused):
            self._refuse(exc)
        # A locked instance is one in an invalid state, too, but has a
        # sentence of its own.
        if isinstance(exc, (exception.InstanceIsLocked,
                            exception.InstanceNotReady,
                            exception.InstanceUpdateConflict,
                            exception.InvalidInput)):
            raise webob.exc.HTTPConflict(explanation=exc.format_message())
        if isinstance(exc, exception.InstanceInvalidState):
            common.raise_http_conflict_for_instance_invalid_state(
                exc, 'resizeMemory', self._server_id)
        if isinstance(exc, exception.FlavorNotFound):
            raise webob.exc.HTTPBadRequest(explanation=exc.format_message())
        if isinstance(exc, exception.ServiceUnavailable):
            raise webob.exc.HTTPServiceUnavailable(
                explanation=exc.format_message())
        if isinstance(exc, exception.InstanceNotFound):
            raise webob.exc.HTTPNotFound(explanation=exc.format_message())

    @staticmethod
    def _refuse(exc):
        status = _STATUS.get(exc.code, webob.exc.HTTPConflict)
        raise status(explanation=str(exc))
