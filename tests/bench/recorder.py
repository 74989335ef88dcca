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

"""Write down what a service does: a plug of ``tests/hooks``.

Each process has a file of its own, ``SERVICE-PID.jsonl``, with one JSON object
a line: ``kind``, ``name``, ``request`` (the ID of the request that it was done
for, if known), ``start`` and ``end`` in nanoseconds of the monotonic clock,
which all processes of a machine share, and ``what``. A line takes about 10
microseconds.
"""

import functools
import json
import os
import sys
import time

#: In the folder: what is wrapped, written by ``points.wanted``.
WANTED = 'wanted.json'
_SERVICE = 'MEMHOTPLUG_SANDBOX_SERVICE'


def functions(folder):
    """Say what to wrap.

    :param folder: where the list of that is, and where to write
    :returns: {"module:qualified.name": decorator}
    """
    with open(os.path.join(folder, WANTED)) as wanted:
        wanted = json.load(wanted)
    recorder = Recorder(folder)
    return {name: functools.partial(_recorded, recorder, kind, phase)
            for name, (kind, phase) in wanted.items()}


class Recorder:
    """Appends to the file of this process.

    :param folder: where the files are
    """

    def __init__(self, folder):
        self._folder = folder
        self._file = None
        self._pid = None

    def write(self, **what):
        """Write down one thing; a folder that is gone is no matter."""
        line = json.dumps(what) + '\n'
        try:
            # One write is one line, whatever the other threads do.
            os.write(self._open(), line.encode())
        except OSError:
            pass

    def _open(self):
        if self._pid != os.getpid():
            # A service may fork after it was loaded.
            self._pid = os.getpid()
            self._file = os.open(os.path.join(
                self._folder, '%s-%d.jsonl' % (
                    os.environ.get(_SERVICE, 'unknown'), self._pid)),
                os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        return self._file


def _recorded(recorder, kind, phase, function):
    what_of = _WHAT.get(kind, _nothing)

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        start = time.monotonic_ns()
        # What the function does to its thread's context does not count.
        request = _request(args[1:])
        try:
            return function(*args, **kwargs)
        finally:
            end = time.monotonic_ns()
            given, what = what_of(args, kwargs)
            recorder.write(kind=kind, name=phase, request=given or request,
                           start=start, end=end, what=what)

    return wrapper


def _request(args):
    """Find the ID of the request that this thread works for."""
    for candidate in args[:2]:
        if hasattr(candidate, 'request_id'):
            return _id_of(candidate)
    oslo_context = sys.modules.get('oslo_context.context')
    current = oslo_context and oslo_context.get_current()
    return _id_of(current) if current else None


def _id_of(context):
    return (getattr(context, 'global_request_id', None) or
            context.request_id)


# What is known of a call: the ID of its request, if that is in it; and more.

def _nothing(args, kwargs):
    return None, ''


def _rpc(args, kwargs):
    """The topic and the method, and for objects what is done to which."""
    words = [args[0].target.topic, args[2]]
    if 'objmethod' in kwargs:
        name = kwargs.get('objname') or kwargs['objinst'].obj_name()
        words += [name, kwargs['objmethod']]
    return None, ' '.join(map(str, words))


def _domain(args, kwargs):
    return None, args[0].UUIDString()


def _agent(args, kwargs):
    return None, '%s %s' % (
        args[0].UUIDString(), json.loads(args[1]).get('execute'))


def _wsgi(args, kwargs):
    environ = args[1]
    return environ.get('HTTP_X_OPENSTACK_REQUEST_ID'), '%s %s' % (
        environ['REQUEST_METHOD'], environ['PATH_INFO'])


def _statement(args, kwargs):
    return None, args[1].split(None, 1)[0]


_WHAT = {'call': _rpc, 'cast': _rpc, 'dump': _domain, 'agent': _agent,
         'placement': _wsgi, 'sql': _statement}
