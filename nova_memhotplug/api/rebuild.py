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
"""A server whose memory can grow is not rebuilt to what excludes that.

Nova writes the new image into its record of the server and destroys the guest
before the driver sees the image. Only here nothing has been touched yet.
"""

from nova.api.openstack import wsgi
from nova.compute import api as nova_compute_api
from nova import exception
from nova import objects
from oslo_serialization import jsonutils
import webob.exc

from nova_memhotplug.api import moves
from nova_memhotplug.common import exclusions
from nova_memhotplug.core import compositions
from nova_memhotplug.core import errors
from nova_memhotplug.core import memory_spec


class RebuildGuard:
    """Looks at requests on their way to Nova's own controllers."""

    def __init__(self):
        self._compute_api = nova_compute_api.API()

    def check(self, environ) -> None:
        """Refuse a rebuild to an image that excludes growth.

        Nova itself answers requests that are wrong in any other way.

        :param environ: the WSGI environment of a request
        :raises webob.exc.HTTPBadRequest: with the sentence
        """
        server_id, image_id = moves.rebuilt_server(wsgi.Request(environ))
        if server_id is None:
            return
        try:
            asked = self._asked(environ['nova.context'], server_id, image_id)
        except (exception.NovaException, ValueError):
            return
        try:
            if asked is not None:
                compositions.check(asked)
        except errors.ExcludedComposition as exc:
            raise webob.exc.HTTPBadRequest(explanation=str(exc))

    def _asked(self, context, server_id, image_id):
        """Say what the server would have; None if it cannot grow anyway."""
        instance = self._compute_api.get(
            context, server_id, expected_attrs=['flavor'])
        if memory_spec.MAX_MEMORY_MB not in instance.flavor.extra_specs:
            return None
        image_meta = objects.ImageMeta.from_image_ref(
            context, self._compute_api.image_api, image_id)
        return exclusions.request_of(
            instance.flavor, image_meta,
            _declared_arch(image_meta) or _host_arch(context, instance))


def _declared_arch(image_meta) -> str | None:
    # As the driver: LibvirtDriver._check_emulation_arch.
    return (image_meta.properties.get('hw_emulation_architecture') or
            image_meta.properties.get('hw_architecture'))


def _host_arch(context, instance) -> str:
    """Read the architecture of a server's host; empty if it has none."""
    node = objects.ComputeNode.get_by_host_and_nodename(
        context, instance.host, instance.node)
    return jsonutils.loads(node.cpu_info or '{}').get('arch', '')
