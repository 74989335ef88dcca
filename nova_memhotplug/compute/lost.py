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

"""Release servers that wait for a request which never comes.

nova-api puts a server into the task state ``resize_prep`` and then casts the
request. If nova-api dies in between, or the broker loses the message, nobody
else knows of it.
"""

from nova.compute import task_states
from nova import conf as nova_conf
from nova import exception
from nova import objects
from nova import utils
from oslo_log import log as logging

from nova_memhotplug.common import history

CONF = nova_conf.CONF
LOG = logging.getLogger(__name__)


def release(context, host: str) -> None:
    """Release the servers of a host whose request has got lost.

    Whatever goes wrong with one server must not keep the others waiting.

    :param context: an admin's request context
    :param host: name of the host
    """
    waiting = objects.InstanceList.get_by_filters(
        context, {'host': host, 'task_state': task_states.RESIZE_PREP,
                  'deleted': False})
    for instance in waiting:
        try:
            # Whoever works on a request has the lock: it is not waited for.
            if _lost_request(context, instance):
                _release(context, instance, host)
        except exception.InstanceNotFound:
            LOG.debug('The server is gone.', instance=instance)
        except Exception:
            LOG.warning('It cannot be told whether a request has got lost; '
                        'the next periodic task tries again.',
                        instance=instance, exc_info=True)


def _release(context, instance, host):
    @utils.synchronized(instance.uuid)
    def locked():
        instance.refresh()
        request_id = _lost_request(context, instance)
        if request_id is None:
            return
        instance.task_state = None
        instance.save(expected_task_state=[task_states.RESIZE_PREP])
        LOG.warning(
            'Request %(request)s to resize the memory of this server has '
            'not arrived after %(seconds)d seconds: given up.', {
                'request': request_id,
                'seconds': CONF.memhotplug.lost_request_timeout},
            instance=instance)
        history.give_up(instance, request_id, host,
                        CONF.memhotplug.lost_request_timeout)

    locked()


def _lost_request(context, instance):
    return history.lost_request(
        context, instance, CONF.memhotplug.lost_request_timeout)
