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

"""Named places where the fault tests stop a resize.

They do nothing unless the process was started with
``MEMHOTPLUG_PAUSE_POINTS`` naming a directory, and then only at points for
which a test has put two named pipes there: ``NAME`` says that the point was
reached, and ``NAME.go`` lets the process go on.
"""

import os

_DIRECTORY = os.environ.get('MEMHOTPLUG_PAUSE_POINTS')

BEFORE_CLAIM = 'before-claim'
AFTER_CLAIM = 'after-claim'
AFTER_ATTACH = 'after-attach'
BEFORE_COMMIT = 'before-commit'
AFTER_COMMIT = 'after-commit'
BEFORE_EVENT = 'before-event'
BEFORE_CAST = 'before-cast'
AFTER_CAST = 'after-cast'


def reach(name: str) -> None:
    """Pass a point of the transaction.

    :param name: the point
    """
    if _DIRECTORY is None:
        return
    path = os.path.join(_DIRECTORY, name)
    if os.path.exists(path):
        with open(path, 'w') as arrived:
            arrived.write(name)
        with open(path + '.go') as go:
            go.read()
