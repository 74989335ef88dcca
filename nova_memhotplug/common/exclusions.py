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
"""What a flavor, an image and a host ask for together with growth."""

from collections.abc import Iterable
import typing as ty

from nova_memhotplug.core import compositions
from nova_memhotplug.core import errors


def request_of(
    flavor: ty.Any, image_meta: ty.Any, arch: str,
    cpu_flags: Iterable[str] = (),
) -> compositions.Request:
    """Collect what is asked for.

    :param flavor: a ``nova.objects.Flavor``
    :param image_meta: a ``nova.objects.ImageMeta``
    :param arch: the guest's architecture, as Nova names it
    :param cpu_flags: ``[libvirt] cpu_model_extra_flags`` of the host; as for
        Nova, '-' takes a flag away and '+' means nothing
    :returns: what the core decides about
    """
    return compositions.Request(
        arch=arch,
        extra_specs=flavor.extra_specs,
        image={name: image_meta.properties.get(name)
               for name in compositions.IMAGE_PROPERTIES},
        cpu_features=frozenset(
            flag.lower().lstrip('+') for flag in cpu_flags
            if not flag.startswith('-')))


def excluded(
    instance: ty.Any, arch: str, cpu_flags: Iterable[str] = (),
) -> errors.ExcludedComposition | None:
    """Say what a server has that does not go together with growth.

    It may have been made before that was refused.

    :param instance: a ``nova.objects.Instance``
    :param arch: the guest's architecture
    :param cpu_flags: ``[libvirt] cpu_model_extra_flags`` of its host
    :returns: the refusal; None if there is nothing
    """
    try:
        compositions.check(request_of(
            instance.flavor, instance.image_meta, arch, cpu_flags))
    except errors.ExcludedComposition as exc:
        return exc
    return None
