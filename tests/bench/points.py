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

"""What is measured inside the services: the one table of names.

The product knows nothing of the benchmark; functions of it and of what it
uses are wrapped from outside (``tests/hooks``, with ``recorder`` as the plug).
When a function of the product is renamed, this table is what has to follow. A
name is ``module:qualified.name``.
"""

import importlib
import json
import sys

from tests.hooks import wrap

#: The phases of one growth, in the order in which they are drawn. ``api`` is
#: seen by the client, ``look`` is all between the request's arrival and the
#: claim, ``end`` all behind the commit: they have no function of their own.
PHASES = ('api', 'look', 'claim', 'attach', 'guest', 'commit', 'end')
ARRIVAL = 'arrival'
#: Guests with an agent, and without one.
WITH_AGENT, WITHOUT_AGENT = KINDS = ('agent', 'no agent')

_ENDPOINT = 'nova_memhotplug.compute.endpoint:MemHotplugEndpoint.'
_BOOKS = 'nova_memhotplug.compute.books:Books.'
_GUEST = 'nova_memhotplug.virt.guest:'

#: The functions of nova-compute that a growth passes, by phase. The newest
#: layout of the product comes first; the first one of which every name exists
#: is used, so that an older build can be measured by the same benchmark.
LAYOUTS = (
    {
        ARRIVAL: (_ENDPOINT + 'resize_memory',),
        'claim': (_BOOKS + 'claim',),
        'attach': (_GUEST + 'LiveGuest.apply',),
        'guest': ('nova_memhotplug.compute.look:Look.confirm',),
        'commit': (_BOOKS + 'commit',),
    },
    {
        ARRIVAL: (_ENDPOINT + 'resize_memory',),
        'claim': (_BOOKS + 'allocate', _BOOKS + 'claim_nodes'),
        'attach': (_GUEST + 'GuestMemory.apply',),
        'guest': ('nova_memhotplug.compute.confirm:confirm',),
        'commit': (_BOOKS + 'commit',),
    },
)

#: Functions of others, by what their calls are counted as.
COUNTED = {
    'call': ('oslo_messaging.rpc.client:_BaseCallContext.call',),
    'cast': ('oslo_messaging.rpc.client:_BaseCallContext.cast',),
    'placement': ('placement.handler:PlacementHandler.__call__',),
    'sql': ('pymysql.cursors:Cursor.execute',),
    'dump': ('libvirt:virDomain.XMLDesc',),
    'agent': ('libvirt_qemu:qemuAgentCommand',),
}


class NoLayout(Exception):
    """The product that is installed has other functions."""


def check(name):
    """Check that there is a function of a name.

    :param name: ``module:qualified.name``
    :raises tests.hooks.wrap.Missing: if there is none
    """
    module = name.partition(':')[0]
    try:
        found = importlib.import_module(module)
    except ImportError as exc:
        raise wrap.Missing('There is no module for %s: %s.' % (name, exc))
    wrap.find(name, found)


def layout(layouts=LAYOUTS):
    """Choose the layout of the product that is installed.

    :param layouts: phase -> names, the newest first
    :returns: the first one of which every name exists
    :raises NoLayout: naming the first name that is missing of each
    """
    problems = []
    for candidate in layouts:
        try:
            for names in candidate.values():
                for name in names:
                    check(name)
        except wrap.Missing as exc:
            problems.append(str(exc))
        else:
            return candidate
    problems = ' '.join(problems)
    raise NoLayout(
        'tests/bench/points.py does not fit the product: ' + problems)


def wanted():
    """List what is to be wrapped: {name: [kind, phase]}.

    :raises NoLayout: if the product has other functions
    """
    found = {name: [kind, ''] for kind, names in COUNTED.items()
             for name in names}
    found.update((name, ['span', phase]) for phase, names in layout().items()
                 for name in names)
    return found


def main():
    """Print what is to be wrapped, as JSON.

    :returns: the exit code; or a sentence, if the product does not fit
    """
    try:
        json.dump(wanted(), sys.stdout)
    except NoLayout as exc:
        return str(exc)
