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

"""In which states of a server its books can be compared.

The states of Nova (``nova.compute.vm_states``), as both nova-api and
nova-compute look at them.
"""

import typing as ty

from nova.compute import vm_states

from nova_memhotplug.core import memory_spec

#: States in which nothing but this package changes a server's memory. In
#: others (being resized, migrated, built, deleted) Nova itself keeps the
#: books in transit.
SETTLED = (vm_states.ACTIVE, vm_states.PAUSED, vm_states.STOPPED,
           vm_states.RESCUED)

#: The states in which a domain runs, or could at once.
HAS_LIVE_DOMAIN = (vm_states.ACTIVE, vm_states.PAUSED)


def is_elastic(flavor: ty.Any) -> bool:
    """Tell whether a flavor lets the memory of its servers grow.

    :param flavor: a ``nova.objects.Flavor``
    """
    return memory_spec.MAX_MEMORY_MB in flavor.extra_specs


def is_settled(instance: ty.Any, task_state: str | None = None) -> bool:
    """Tell whether the books of a server say what it has.

    :param instance: a ``nova.objects.Instance``
    :param task_state: the task state in which the caller has put it
    :returns: whether they can be compared with its guest
    """
    return (instance.vm_state in SETTLED and
            instance.task_state == task_state and
            is_elastic(instance.flavor))
