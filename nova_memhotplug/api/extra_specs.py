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

"""Validators for ``memhotplug`` namespaced extra specs.

Nova loads this module through its entry-point namespace
``nova.api.extra_spec_validators`` and checks every extra spec with it when a
flavor is changed (API microversion 2.86). It sees one extra spec at a time;
what two of them say together is checked when a server boots.
"""

from nova.api.validation.extra_specs import base
from nova import exception

from nova_memhotplug.core import addresses
from nova_memhotplug.core import errors
from nova_memhotplug.core import memory_spec
from nova_memhotplug.models import registry


class _Validator(base.ExtraSpecValidator):
    """Accepts what a server boots with, since the same function reads it."""

    def validate(self, name: str, value: str) -> None:
        """Check one extra spec.

        :param name: its key
        :param value: its value
        :raises nova.exception.ValidationError: if it cannot be read
        """
        super().validate(name, value)
        # Without a ceiling, nothing else is read.
        extra_specs = {memory_spec.MAX_MEMORY_MB: '1', name: value}
        try:
            memory_spec.from_extra_specs(
                extra_specs, known_models=registry.models())
        except errors.InvalidSpec as exc:
            raise exception.ValidationError('Validation failed; %s' % exc)


def register() -> list[base.ExtraSpecValidator]:
    """Describe the extra specs to Nova.

    :returns: a list of ``ExtraSpecValidator``
    """
    return [_max_memory_mb(), _slots(), _zero_node(), _model(), _block_mb(),
            _boot_memory_mb()]


def _max_memory_mb() -> _Validator:
    return _Validator(
        name=memory_spec.MAX_MEMORY_MB,
        description=(
            'The most RAM a server may have, in MiB. Its presence lets the '
            'server grow while it runs. Must be above the RAM of the '
            'flavor.'),
        value={'type': int, 'min': 1, 'max': memory_spec.MAX_TOTAL_MB,
               'description': 'A size in MiB'})


def _slots() -> _Validator:
    return _Validator(
        name=memory_spec.SLOTS,
        description='How often a server can grow between two cold starts.',
        value={'type': int, 'min': memory_spec.MIN_SLOTS,
               'max': memory_spec.MAX_SLOTS,
               'description': 'A number of memory slots'})


def _zero_node() -> _Validator:
    return _Validator(
        name=memory_spec.ZERO_NODE,
        description=(
            'Whether to reserve an empty NUMA node for growth (true) or to '
            'plug memory into the last existing one (false). The default is '
            'true, for images with os_type=windows false.'),
        value={'type': bool, 'description': 'Whether to reserve a node'})


def _model() -> _Validator:
    return _Validator(
        name=memory_spec.MODEL,
        description='The memory model with which a server grows.',
        value={'type': str, 'enum': sorted(registry.models()),
               'description': 'The name of an installed memory model'})


def _block_mb() -> _Validator:
    return _Validator(
        name=memory_spec.BLOCK_MB,
        description=(
            "The memory block of the guest's kernel, in MiB: memory is added "
            'in whole blocks. The image property memhotplug_block_mb says '
            'the same of the image; the larger of both counts.'),
        value={'type': str, 'enum': list(map(str, addresses.BLOCKS_MB)),
               'description': 'A size in MiB'})


def _boot_memory_mb() -> _Validator:
    return _Validator(
        name=memory_spec.BOOT_MEMORY_MB,
        description=(
            'What a server boots with, in MiB, where its memory model does '
            'not make boot memory of what was added. It is kept in the '
            "server's own copy of the flavor, and need not be set in any."),
        value={'type': int, 'min': 1, 'max': memory_spec.MAX_TOTAL_MB,
               'description': 'A size in MiB, not above the RAM'})
