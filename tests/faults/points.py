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

"""The places where a resize can be stopped: a plug of ``tests/hooks``.

At a point for which a test has put two named pipes into the folder, the
process writes to ``NAME``, which says that it was reached, and goes on when
``NAME.go`` is opened. ``pauses`` is the test's side.
"""

from collections.abc import Callable
import dataclasses
import functools
import os
import sys

BEFORE, AFTER = 'before', 'after'

BEFORE_CLAIM = 'before-claim'
AFTER_CLAIM = 'after-claim'
AFTER_ATTACH = 'after-attach'
BEFORE_COMMIT = 'before-commit'
AFTER_COMMIT = 'after-commit'
BEFORE_EVENT = 'before-event'
BEFORE_CAST = 'before-cast'
AFTER_CAST = 'after-cast'


@dataclasses.dataclass(frozen=True)
class Point:
    """A place: before or after a function, where one module calls it.

    Others call the same functions, to bring books to what a guest has: that
    is no resize, and nothing stops there.

    :param when: BEFORE, or AFTER it has returned
    :param function: "module:qualified.name"
    :param caller: the module that calls it
    """

    when: str
    function: str
    caller: str


_CLAIM = 'nova_memhotplug.compute.books:Books.claim'
_COMMIT = 'nova_memhotplug.compute.books:Books.commit'
_CONFIRM = 'nova_memhotplug.compute.look:Look.confirm'
_RUN = 'nova_memhotplug.compute.resize:MemoryResize.run'
_CAST = 'nova_memhotplug.common.rpcapi:MemHotplugAPI.resize_memory'
_RESIZE = 'nova_memhotplug.compute.resize'
_ENDPOINT = 'nova_memhotplug.compute.endpoint'
_API = 'nova_memhotplug.api.resize'

POINTS = {
    BEFORE_CLAIM: Point(BEFORE, _CLAIM, _RESIZE),
    AFTER_CLAIM: Point(AFTER, _CLAIM, _RESIZE),
    AFTER_ATTACH: Point(BEFORE, _CONFIRM, _RESIZE),
    BEFORE_COMMIT: Point(BEFORE, _COMMIT, _RESIZE),
    AFTER_COMMIT: Point(AFTER, _COMMIT, _RESIZE),
    BEFORE_EVENT: Point(AFTER, _RUN, _ENDPOINT),
    BEFORE_CAST: Point(BEFORE, _CAST, _API),
    AFTER_CAST: Point(AFTER, _CAST, _API),
}


def functions(folder):
    """Say what to wrap.

    :param folder: where to look for pipes
    :returns: {"module:qualified.name": decorator}
    """
    return reaching(functools.partial(_stop, folder))


def reaching(reach: Callable[[str], None]):
    """Say what to wrap, to have something else done at the points.

    :param reach: called with the name of a point
    :returns: {"module:qualified.name": decorator}
    """
    return {function: functools.partial(_around, reach, function)
            for function in {point.function for point in POINTS.values()}}


def _around(reach, name, function):
    def pass_points(when, caller):
        for point, place in POINTS.items():
            if place == Point(when, name, caller):
                reach(point)

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        caller = sys._getframe(1).f_globals['__name__']
        pass_points(BEFORE, caller)
        result = function(*args, **kwargs)
        pass_points(AFTER, caller)
        return result

    return wrapper


def _stop(folder, point):
    path = os.path.join(folder, point)
    if os.path.exists(path):
        with open(path, 'w') as arrived:
            arrived.write(point)
        with open(path + '.go') as go:
            go.read()
