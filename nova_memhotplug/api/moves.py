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

"""Before a server moves, its books say its real size (design T5).

Where the host of the server can be asked, it first brings flavor and
allocation to what the guest has; then the RequestSpec is brought to the
flavor.
"""

import re

from nova.api.openstack import wsgi
from nova.compute import api as nova_compute_api
from nova import exception
from oslo_serialization import jsonutils
import webob.exc

from nova_memhotplug.api import authorization
from nova_memhotplug.api import request_spec
from nova_memhotplug.api import resize
from nova_memhotplug.api import settle
from nova_memhotplug.core import errors

_ACTION_PATH = re.compile(
    r'(?:/[0-9a-f-]+)?/servers/(?P<id>[^/]+)/action(?:\.json)?/?\Z')

#: Server actions for which Nova asks the scheduler for a host.
MOVES = frozenset((
    'migrate', 'os-migrateLive', 'evacuate', 'unshelve', 'rebuild'))

#: What a path or a body can be wrong in; Nova itself answers such requests.
_MALFORMED = (exception.NovaException, ValueError, LookupError,
              AttributeError, TypeError, RecursionError)

#: Refusals that last until somebody does something about them. All others
#: are over when what is away (placement, a host, the hypervisor) is back.
_STATUS = {errors.ForeignDevices.code: webob.exc.HTTPConflict}


class MovePreparer:
    """Looks at requests on their way to Nova's own controllers."""

    def __init__(self):
        self._nova_api = nova_compute_api.API()
        self._api = resize.API()

    def prepare(self, environ) -> None:
        """Bring the books up to date if a request moves a server.

        Nova itself answers requests that are wrong in any way.

        :param environ: the WSGI environment of a request
        :raises webob.exc.HTTPException: if the server must not move, since
            nobody knows what it has
        """
        server_id, action = _moved_server(wsgi.Request(environ))
        if server_id is None:
            return
        context = environ['nova.context']
        try:
            instance = self._get(context, server_id)
            if self._settle(context, instance, action):
                instance = self._get(context, server_id)
        except exception.NovaException:
            return
        request_spec.sync(
            context, instance, any_task=action == 'evacuate')

    def _get(self, context, server_id):
        return self._nova_api.get(
            context, server_id, expected_attrs=['flavor', 'services'])

    def _settle(self, context, instance, action) -> bool:
        """Ask the host to settle the books, if there is one to ask.

        The host of a server that is evacuated is down, and a shelved server
        has none: they start with what their flavor says (design T4).

        :returns: whether the books may have changed
        """
        if not (action in authorization.MIGRATIONS and
                settle.is_wanted(instance) and
                authorization.may_move(context, action, instance)):
            return False
        try:
            self._api.settle(context, instance)
        except (exception.InstanceNotReady, exception.ServiceUnavailable):
            return False
        except settle.MoveRefused as exc:
            status = _STATUS.get(exc.code, webob.exc.HTTPServiceUnavailable)
            raise status(explanation=str(exc))
        return True


def _moved_server(request) -> tuple[str | None, str | None]:
    """Name the server that a request moves and how; None if it moves none."""
    try:
        match = _ACTION_PATH.match(request.path_info)
        if match is None or request.method != 'POST':
            return None, None
        action = wsgi.action_peek(request.body)
    except _MALFORMED:
        return None, None
    return (match['id'], action) if action in MOVES else (None, None)


def rebuilt_server(request) -> tuple[str | None, str | None]:
    """Name the server that a request rebuilds, and the image.

    :param request: a ``nova.api.openstack.wsgi.Request``
    :returns: the IDs of both; None for both if it is no such request
    """
    server_id, action = _moved_server(request)
    if action != 'rebuild':
        return None, None
    try:
        image_id = jsonutils.loads(request.body)['rebuild']['imageRef']
    except _MALFORMED:
        return None, None
    return (server_id, image_id) if isinstance(image_id, str) else (None, None)
