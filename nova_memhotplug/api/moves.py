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

"""Nova's own actions that move a server, each prepared first (design T5).

Each is replaced, in the resource that dispatches the actions of servers, by
one that prepares the server and then calls what was there. So whatever Nova
routes there is prepared, however its URL is spelled. The rules are in the
document :doc:`/contributor/decisions`, "Before a move".
"""

from collections.abc import Callable
from collections.abc import Mapping
import functools
import typing as ty

from nova.api.openstack import common
from nova.api.openstack import wsgi
from nova.compute import api as nova_compute_api
from nova import exception
from nova import objects
from nova import servicegroup
from oslo_serialization import jsonutils
import webob.exc

from nova_memhotplug.api import authorization
from nova_memhotplug.api import request_spec
from nova_memhotplug.api import settle
from nova_memhotplug.common import exclusions
from nova_memhotplug.common import states
from nova_memhotplug.core import compositions
from nova_memhotplug.core import errors
from nova_memhotplug.core import notes

#: Server actions for which Nova asks the scheduler for a host.
MOVES = ('migrate', 'os-migrateLive', 'resize', 'evacuate', 'unshelve',
         'rebuild')
#: Those before which the host of the server is asked to settle its books. A
#: server that is evacuated has a host that is down, a shelved one has none,
#: and one that is rebuilt stays where it is.
_ASK_HOST = frozenset(('migrate', 'os-migrateLive', 'resize'))

#: Refusals that last until somebody does something about them. All others
#: are over when what is away (placement, a host, the hypervisor) is back.
_STATUS = {errors.ForeignDevices.code: webob.exc.HTTPConflict}

#: What is wrong with an image for which Nova itself refuses a rebuild.
_IMAGE_UNUSABLE = (exception.NotFound, exception.Invalid,
                   exception.ImageNotAuthorized, ValueError)

#: A method of Nova's controllers, called with ``req``, ``id`` and ``body``.
Action = Callable[..., ty.Any]


def controllers(nova_actions: Mapping[str, Action]) -> list[ty.Any]:
    """Make the sub-controllers that take the place of Nova's actions.

    :param nova_actions: ``wsgi_actions`` of the resource of servers
    :returns: one ``wsgi.Controller`` for each of ``MOVES``
    """
    preparer = Preparer()
    return [_controller(name, nova_actions[name], preparer)
            for name in MOVES]


def _controller(
    name: str, nova_action: Action, preparer: 'Preparer',
) -> ty.Any:

    class PreparedController(wsgi.Controller):

        # Nova's resource reads the status of the answer from the attributes
        # of the method that it calls.
        @wsgi.action(name)
        @functools.wraps(nova_action)
        def run(self, req: ty.Any, id: str, body: ty.Any) -> ty.Any:
            preparer.prepare(req, id, name, body)
            return nova_action(req=req, id=id, body=body)

    return PreparedController()


class Preparer:
    """Brings the books of a server to what it has, before it moves."""

    def __init__(self) -> None:
        self._nova_api = nova_compute_api.API()
        self._services = servicegroup.API()
        self._settler = settle.Settler(self._services)

    @wsgi.expected_errors((400, 409, 503))
    def prepare(
        self, req: ty.Any, server_id: str, action: str, body: ty.Any,
    ) -> None:
        """Prepare a server for an action of Nova's.

        Nova itself answers requests that are wrong in any way. Nothing is
        done for users whom it refuses.

        :param req: the ``wsgi.Request``
        :param server_id: the ID of the server, as the user has written it
        :param action: one of ``MOVES``
        :param body: the body of the request, not yet checked
        :raises webob.exc.HTTPException: if the server must not move
        """
        context = req.environ['nova.context']
        wanted = body.get(action) if isinstance(body, dict) else None
        if not isinstance(wanted, dict):
            wanted = {}
        try:
            instance = self._get(context, server_id)
            if not (states.is_elastic(instance.flavor) and
                    authorization.may_move(req, action, wanted, instance)):
                return
            _check_idle(instance, server_id, action)
            if action == 'rebuild':
                self._check_image(context, instance, wanted.get('imageRef'))
            if action in _ASK_HOST:
                instance = self._settled(
                    context, instance, server_id, action)
            if action == 'os-migrateLive':
                _check_complete(instance)
        except exception.InstanceNotFound:
            return
        request_spec.sync(context, instance, is_host_down=(
            action == 'evacuate' and self._is_host_down(instance)))

    def _get(self, context: ty.Any, server_id: str) -> ty.Any:
        return self._nova_api.get(
            context, server_id, expected_attrs=['flavor', 'services'])

    def _is_host_down(self, instance: ty.Any) -> bool:
        return not any(
            self._services.service_is_up(service)
            for service in instance.services
            if service.binary == 'nova-compute')

    def _settled(
        self, context: ty.Any, instance: ty.Any, server_id: str, action: str,
    ) -> ty.Any:
        """Have the host settle the books, if there is one to ask.

        :returns: the instance as it is then
        """
        if not states.is_settled(instance):
            return instance
        try:
            self._settler.settle(context, instance)
        except (exception.InstanceNotReady, exception.ServiceUnavailable):
            # No host, or one that is down: Nova's own answer.
            return instance
        except settle.MoveRefused as exc:
            if exc.code == errors.Busy.code:
                _refuse_busy(
                    self._get(context, server_id), server_id, action)
            raise _STATUS.get(exc.code, webob.exc.HTTPServiceUnavailable)(
                explanation=str(exc))
        instance = self._get(context, server_id)
        _check_idle(instance, server_id, action)
        return instance

    def _check_image(
        self, context: ty.Any, instance: ty.Any, image_id: ty.Any,
    ) -> None:
        """Refuse a rebuild to an image that excludes growth.

        Nova writes the new image into its record of the server and destroys
        the guest before the driver sees the image. Only here nothing has been
        touched yet.

        :raises webob.exc.HTTPBadRequest: with the sentence
        """
        if not isinstance(image_id, str):
            return
        try:
            compositions.check(self._asked(context, instance, image_id))
        except _IMAGE_UNUSABLE:
            return
        except errors.ExcludedComposition as exc:
            raise webob.exc.HTTPBadRequest(explanation=str(exc))

    def _asked(
        self, context: ty.Any, instance: ty.Any, image_id: str,
    ) -> compositions.Request:
        """Say what a server would have with an image."""
        image_meta = objects.ImageMeta.from_image_ref(
            context, self._nova_api.image_api, image_id)
        return exclusions.request_of(
            instance.flavor, image_meta,
            _declared_arch(image_meta) or _host_arch(context, instance))


def _check_complete(instance: ty.Any) -> None:
    """Refuse to migrate a guest live that is giving memory back.

    QEMU answers it that it is busy then (hw/virtio/virtio-mem.c,
    virtio_mem_is_busy()). What the guest has is in the note, which its host
    writes when that is over.

    :raises webob.exc.HTTPConflict: with the sentence
    """
    seen = notes.read(instance.system_metadata.get(notes.KEY))
    if seen is not None and seen.guest.is_giving_back:
        guest = seen.guest
        raise webob.exc.HTTPConflict(explanation=str(errors.GivingBack(
            left_mb=guest.taken_mb - guest.asked_mb,
            taken_mb=guest.taken_mb)))


def _check_idle(instance: ty.Any, server_id: str, action: str) -> None:
    """Refuse to move a server with which something goes on, as Nova does.

    Nova reads the server again, a moment later. If a resize of its memory
    ended in between, it would go on with the old RequestSpec.

    :raises webob.exc.HTTPConflict: unless the server is to be evacuated, from
        which nothing keeps Nova
    """
    if instance.task_state is not None and action != 'evacuate':
        _refuse_busy(instance, server_id, action)


def _refuse_busy(instance: ty.Any, server_id: str, action: str) -> None:
    """Say that something goes on with a server, in Nova's words.

    :raises webob.exc.HTTPConflict: always
    """
    common.raise_http_conflict_for_instance_invalid_state(
        exception.InstanceInvalidState(
            attr='task_state', instance_uuid=instance.uuid,
            state=instance.task_state, method=action),
        action, server_id)


def _declared_arch(image_meta: ty.Any) -> str | None:
    # As the driver: LibvirtDriver._check_emulation_arch.
    arch: str | None = (
        image_meta.properties.get('hw_emulation_architecture') or
        image_meta.properties.get('hw_architecture'))
    return arch


def _host_arch(context: ty.Any, instance: ty.Any) -> str:
    """Read the architecture of a server's host; empty if it is unknown."""
    node = objects.ComputeNode.get_by_host_and_nodename(
        context, instance.host, instance.node)
    arch: str = jsonutils.loads(node.cpu_info or '{}').get('arch', '')
    return arch
