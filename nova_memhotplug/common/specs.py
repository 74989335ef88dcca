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

"""What the flavor of a server says about its memory."""

import typing as ty


from nova_memhotplug.common import options
from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import planner
from nova_memhotplug.models import registry

CONF = options.CONF


def spec_of(flavor: ty.Any) -> memory_spec.MemorySpec | None:
    """Read what a flavor says.

    :param flavor: a ``nova.objects.Flavor``
    :returns: the spec; None without a ceiling
    :raises InvalidSpec: if it cannot be read
    """
    return memory_spec.from_extra_specs(
        flavor.extra_specs, CONF.memhotplug.default_slots,
        registry.models())


def grow_of(spec: memory_spec.MemorySpec | None) -> planner.Grow:
    """Get the way in which a server grows.

    :param spec: what its flavor says; None without a ceiling
    :returns: the memory model's ``grow``
    :raises UnknownModel: if the flavor's model is not installed here
    """
    return registry.get(
        spec.model if spec else memory_spec.DEFAULT_MODEL).grow
