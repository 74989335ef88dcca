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

"""Ask for something while something else is done."""

from collections.abc import Callable
from concurrent import futures
import typing as ty

Answer = ty.TypeVar('Answer')


def start(
    context: ty.Any, function: Callable[..., Answer], *arguments: ty.Any,
) -> futures.Future[Answer]:
    """Call a function in a thread of its own, which is a green one where the
    service is patched by eventlet.

    :param context: the request context, by which its log lines are known
    :param function: what to call; whatever it raises, whoever asks for the
        result gets
    :param arguments: of the function
    :returns: the result to be
    """
    def call() -> Answer:
        # oslo.context keeps the current one by thread.
        context.update_store()
        return function(*arguments)

    with_one = futures.ThreadPoolExecutor(max_workers=1)
    try:
        return with_one.submit(call)
    finally:
        with_one.shutdown(wait=False)
