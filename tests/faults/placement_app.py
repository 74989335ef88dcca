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

"""A placement that answers some writes of allocations wrongly.

The sandbox's launcher serves it in the place of placement. It dies with the
process that started it, so that it is never left behind.
"""

import ctypes
import itertools
import json
import os
import signal

PR_SET_PDEATHSIG = 1
#: What the fault is given to the server by.
FAULT = 'MEMHOTPLUG_PLACEMENT_FAULT'


def _error(status, code):
    body = {'errors': [{
        'status': int(status.split()[0]), 'title': status, 'code': code,
        'detail': 'injected', 'request_id': 'req-injected'}]}
    return status, 'application/json', json.dumps(body).encode()


_CONFLICT = _error('409 Conflict', 'placement.concurrent_update')
_ERROR = _error('500 Internal Server Error', 'placement.undefined_code')
_GATEWAY = ('502 Bad Gateway', 'text/html', b'<h1>502 Bad Gateway</h1>')

#: fault -> (answer, how often, whether the write is done all the same)
FAULTS = {
    'conflict': (_CONFLICT, None, False),
    'conflict-twice': (_CONFLICT, 2, False),
    'error': (_ERROR, None, False),
    'bad-gateway': (_GATEWAY, None, False),
    'late-error': (_ERROR, 1, True),
}


class FaultyPlacement:
    """WSGI middleware.

    :param application: the real placement
    :param fault: a name from above
    """

    def __init__(self, application, fault):
        self._application = application
        self._answer, times, self._is_done = FAULTS[fault]
        self._turns = iter(
            itertools.count() if times is None else range(times))

    def __call__(self, environ, start_response):
        """Answer a request."""
        if not self._is_wrong(environ):
            return self._application(environ, start_response)
        if self._is_done:
            list(self._application(environ, lambda *_args: None))
        status, content_type, body = self._answer
        start_response(status, [('Content-Type', content_type),
                                ('Content-Length', str(len(body)))])
        return [body]

    def _is_wrong(self, environ):
        is_write = (environ['REQUEST_METHOD'] in ('POST', 'PUT') and
                    environ['PATH_INFO'].startswith('/allocations'))
        return is_write and next(self._turns, None) is not None


def _application():
    from placement.wsgi import api
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return FaultyPlacement(api.application, os.environ[FAULT])


application = _application() if FAULT in os.environ else None
