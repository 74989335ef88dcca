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

"""See when Nova is done, without a request that Nova has to answer.

The database of the cell is asked every few milliseconds: an indexed query of
one row, on a connection of its own, takes about 0.3 ms. The API would take
100 times that, from the services that are measured.
"""

import time

import pymysql

#: Seconds between two looks.
INTERVAL = 0.004
TIMEOUT = 300

_EVENT = """
SELECT e.result, e.details FROM instance_actions_events e
JOIN instance_actions a ON a.id = e.action_id
WHERE a.request_id = %s AND e.event = %s AND e.finish_time IS NOT NULL"""
_STATE = """
SELECT vm_state, task_state FROM instances
WHERE uuid = %s AND deleted = 0"""


class Failed(Exception):
    """What was waited for has failed, or did not come."""


class Watcher:
    """One connection to the database. Not to be used by two threads.

    :param settings: of the sandbox
    """

    def __init__(self, settings):
        self._connection = pymysql.connect(
            host='127.0.0.1', port=settings.port('database'),
            user='openstack', password=settings.password('database'),
            database='nova_cell1', autocommit=True)

    def event(self, request, name):
        """Wait until an event of a request is recorded as successful.

        :param request: the ID of the request
        :param name: the event, as ``compute_pause_instance``
        :returns: when that was seen, in ns of the monotonic clock
        """
        seen, (result, details) = self._until(
            'the end of %s' % name, _EVENT, (request, name), bool)
        if result != 'Success':
            raise Failed('%s: %s: %s' % (name, result, details))
        return seen

    def state(self, server_id, vm_state):
        """Wait until a server is in a state and nothing goes on.

        :param server_id: the server
        :param vm_state: the state, as in Nova's database
        :returns: when that was seen, in ns of the monotonic clock
        """
        def is_there(row):
            if row and row[0] == 'error' and vm_state != 'error':
                raise Failed('%s is in error' % server_id)
            return row == (vm_state, None)

        seen, _row = self._until(
            '%s of %s' % (vm_state, server_id), _STATE, (server_id,),
            is_there)
        return seen

    def _until(self, what, query, arguments, is_there):
        deadline = time.monotonic() + TIMEOUT
        with self._connection.cursor() as cursor:
            while True:
                cursor.execute(query, arguments)
                row = cursor.fetchone()
                now = time.monotonic_ns()
                if is_there(row):
                    return now, row
                if time.monotonic() > deadline:
                    raise Failed('not within %d s: %s' % (TIMEOUT, what))
                time.sleep(INTERVAL)
