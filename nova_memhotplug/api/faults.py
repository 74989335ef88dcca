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

"""How a refusal becomes an answer with a status."""

import typing as ty

from nova.api.openstack import wsgi
from oslo_serialization import jsonutils
import webob.dec
import webob.exc

from nova_memhotplug.core import errors

#: Refusals of the request itself, of the user, and where somebody is away.
#: All others are about the state of the server and its host, and conflicts.
_STATUS: ty.Mapping[str, ty.Any] = {
    errors.Unaligned.code: webob.exc.HTTPBadRequest,
    errors.AboveCeiling.code: webob.exc.HTTPBadRequest,
    errors.Shrink.code: webob.exc.HTTPBadRequest,
    errors.FlavorDiffers.code: webob.exc.HTTPBadRequest,
    errors.FlavorInelastic.code: webob.exc.HTTPBadRequest,
    errors.FlavorInvalid.code: webob.exc.HTTPBadRequest,
    errors.FlavorNotFound.code: webob.exc.HTTPBadRequest,
    errors.NotAllowed.code: webob.exc.HTTPForbidden,
    errors.OverQuota.code: webob.exc.HTTPForbidden,
    errors.HostDown.code: webob.exc.HTTPServiceUnavailable,
    errors.GuestUnreadable.code: webob.exc.HTTPServiceUnavailable,
}


class Refusal(wsgi.Fault):
    """An answer of Nova's form that has the code of a refusal, too.

    It is returned from a controller, not raised.

    :param refusal: the refusal
    :param is_admin: whether it is told to somebody who runs the cloud
    """

    def __init__(
        self, refusal: errors.MemoryHotplugError, is_admin: bool,
    ):
        status = _STATUS.get(refusal.code, webob.exc.HTTPConflict)
        super().__init__(status(explanation=refusal.sentence(is_admin)))
        self._reason = refusal.code

    @webob.dec.wsgify(RequestClass=wsgi.Request)
    def __call__(self, req: wsgi.Request) -> ty.Any:
        """Answer as Nova does, and add ``reason``."""
        response = super().__call__(req)
        fault = jsonutils.loads(response.text)
        for details in fault.values():
            details['reason'] = self._reason
        response.text = jsonutils.dumps(fault)
        return response
