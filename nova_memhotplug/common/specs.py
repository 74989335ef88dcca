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

import contextlib
import dataclasses
import typing as ty

from nova import utils

from nova_memhotplug.common import options
from nova_memhotplug.core import errors
from nova_memhotplug.core import memory_spec
from nova_memhotplug.models import base
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


def block_mb_of(instance: ty.Any) -> int:
    """Say which memory block flavor and image of a server name.

    One that cannot be read names none: it is refused when a server is made.

    Nova keeps each property of the image that a server was made of, or
    rebuilt with, in the server's system metadata, also those that it does not
    know itself (nova/utils.py, get_system_metadata_from_image).

    :param instance: a ``nova.objects.Instance``
    :returns: the larger of both, in MiB; 0 if neither names one
    """
    sizes_mb = [0]
    with contextlib.suppress(errors.InvalidSpec):
        sizes_mb.append(image_block_mb_of(instance))
    with contextlib.suppress(errors.InvalidSpec):
        spec = spec_of(instance.flavor)
        sizes_mb.append(spec.block_mb if spec else 0)
    return max(sizes_mb)


def image_block_mb_of(instance: ty.Any) -> int:
    """Read the memory block that the image of a server names.

    :param instance: a ``nova.objects.Instance``
    :returns: the block, in MiB; 0 if it names none
    :raises InvalidImage: if it cannot be read
    """
    return memory_spec.block_mb_of_image(instance.system_metadata.get(
        utils.SM_IMAGE_PROP_PREFIX + memory_spec.IMAGE_BLOCK_MB))


def changed(
    spec: memory_spec.MemorySpec | None, flavor: ty.Any,
) -> memory_spec.MemorySpec | None:
    """Have the ceiling of a flavor count that a server changes to.

    :param spec: what the flavor says that it has; None without a ceiling
    :param flavor: the ``nova.objects.Flavor``; None if it keeps its own
    :returns: what counts for the change
    :raises InvalidSpec: if it cannot be read
    """
    new = None if flavor is None else spec_of(flavor)
    if spec is None or new is None:
        return spec
    return dataclasses.replace(spec, max_memory_mb=new.max_memory_mb)


def model_of(spec: memory_spec.MemorySpec | None) -> base.MemoryModel:
    """Get the memory model of a server.

    :param spec: what its flavor says; None without a ceiling
    :returns: the model
    :raises UnknownModel: if the flavor's model is not installed here
    """
    return registry.get(
        spec.model if spec else memory_spec.DEFAULT_MODEL)
