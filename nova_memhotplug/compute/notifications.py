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
"""Tell others of resizes of memory: ``instance.memory_resize.*``.

They are versioned notifications in Nova's form, for whoever hears Nova's.
Nova's classes cannot say it: the actions that they know are a closed list
(``nova.objects.fields.NotificationAction``), so the type of the event is one
of this package's own. Where Nova sends no versioned notifications, nothing is
done.
"""

from collections.abc import Iterator
import contextlib
import typing as ty

from nova.notifications.objects import base
from nova.notifications.objects import exception as exception_payload
from nova.notifications.objects import instance as instance_payload
from nova.objects import base as objects_base
from nova.objects import fields
from nova import rpc
from oslo_log import log as logging

from nova_memhotplug.core import errors

LOG = logging.getLogger(__name__)

_NAMESPACE = 'nova_memhotplug'
_register = objects_base.NovaObjectRegistry.register_notification


@_register
class MemoryResizeEventType(base.EventType):
    """The type of the event, which names an action that Nova has not."""

    OBJ_PROJECT_NAMESPACE = _NAMESPACE
    # 1.0: the first
    VERSION = '1.0'
    fields = {'action': fields.StringField()}


@_register
class MemoryResizePayload(instance_payload.InstanceActionPayload):
    """What Nova tells of each action on a server, and what is asked for.

    The flavor in it is what the books say: before a resize that of then, after
    it the new one.

    :param context: a request context
    :param instance: a ``nova.objects.Instance``
    :param fault: the ``ExceptionPayload`` of a failure; None without one
    :param wanted_mb: RAM that the server is to have, in MiB
    :param code: of ``core.errors``; None without a failure, or without a code
    """

    OBJ_PROJECT_NAMESPACE = _NAMESPACE
    # 1.0: the first, on that of Nova's release
    VERSION = '1.0'
    fields = {'wanted_memory_mb': fields.IntegerField(),
              'code': fields.StringField(nullable=True)}

    def __init__(
        self, context: ty.Any, instance: ty.Any, fault: ty.Any,
        wanted_mb: int, code: str | None,
    ):
        super().__init__(context=context, instance=instance, fault=fault)
        self.wanted_memory_mb = wanted_mb
        self.code = code


@base.notification_sample('instance-memory_resize-start.json')
@base.notification_sample('instance-memory_resize-end.json')
@base.notification_sample('instance-memory_resize-error.json')
@_register
class MemoryResizeNotification(base.NotificationBase):
    """One of the three."""

    OBJ_PROJECT_NAMESPACE = _NAMESPACE
    # 1.0: the first
    VERSION = '1.0'
    fields = {'event_type': fields.ObjectField('MemoryResizeEventType'),
              'payload': fields.ObjectField('MemoryResizePayload')}


@contextlib.contextmanager
def told(
    context: ty.Any, instance: ty.Any, wanted_mb: int,
) -> Iterator[None]:
    """Tell when a resize begins, and how it ends.

    :param context: the request context
    :param instance: a ``nova.objects.Instance``, as far as the resize has
        brought it
    :param wanted_mb: RAM that it is to have, in MiB
    """
    _emit(context, instance, wanted_mb, fields.NotificationPhase.START)
    try:
        yield
    except Exception as exc:
        _emit(context, instance, wanted_mb, fields.NotificationPhase.ERROR,
              exc)
        raise
    _emit(context, instance, wanted_mb, fields.NotificationPhase.END)


@rpc.if_notifications_enabled
def _emit(
    context: ty.Any, instance: ty.Any, wanted_mb: int, phase: str,
    error: Exception | None = None,
) -> None:
    """Send a notification; a resize does not fail if that is impossible."""
    try:
        fault = (exception_payload.ExceptionPayload.from_exception(error)
                 if error else None)
        MemoryResizeNotification(
            priority=(fields.NotificationPriority.ERROR if error
                      else fields.NotificationPriority.INFO),
            publisher=base.NotificationPublisher(
                host=instance.host,
                source=fields.NotificationSource.COMPUTE),
            event_type=MemoryResizeEventType('instance', 'memory_resize',
                                             phase),
            payload=MemoryResizePayload(
                context, instance, fault, wanted_mb,
                error.code if isinstance(error, errors.MemoryHotplugError)
                else None)).emit(context)
    except Exception:
        LOG.warning('The notification instance.memory_resize.%s cannot be '
                    'sent.', phase, instance=instance, exc_info=True)
