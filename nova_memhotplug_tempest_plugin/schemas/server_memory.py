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

"""What the API answers.

A later release of the package may add keys, since the API has no
microversions of its own: what is not known here is allowed.
"""

import typing as ty

Schema = dict[str, ty.Any]


def _object(**properties: Schema) -> Schema:
    return {
        'type': 'object',
        'properties': properties,
        'required': sorted(properties),
    }


def _list(items: Schema) -> Schema:
    return {'type': 'array', 'items': items}


def _or_null(schema: Schema) -> Schema:
    return {**schema, 'type': [schema['type'], 'null']}


_BOOLEAN: Schema = {'type': 'boolean'}
_NUMBER: Schema = {'type': 'integer', 'minimum': 0}
_STRING: Schema = {'type': 'string', 'minLength': 1}

_REASONS = _list(_object(
    code={'type': 'string', 'pattern': '^[a-z0-9_]+$'}, message=_STRING))
#: A device to be added.
_PLANNED = _object(model=_STRING, node=_NUMBER, size_mb=_NUMBER)
#: A device that the guest has.
_DEVICE = _object(
    model=_STRING, node=_or_null(_NUMBER), size_mb=_NUMBER,
    slot=_or_null(_NUMBER), alias=_or_null(_STRING),
    address=_or_null({'type': 'string', 'pattern': '^0x[0-9a-f]+$'}))

_MEMORY = _object(
    boot_mb=_or_null(_NUMBER), current_mb=_NUMBER, requested_mb=_NUMBER,
    min_mb=_or_null(_NUMBER), max_mb=_or_null(_NUMBER),
    step_mb=_or_null(_NUMBER),
    slots=_or_null(_object(total=_NUMBER, used=_NUMBER, free=_NUMBER)),
    devices=_list(_DEVICE), zero_node=_or_null(_NUMBER),
    strategy=_or_null(_STRING), bounce_buffer_mb=_or_null(_NUMBER),
    guest=_or_null(_object(
        agent=_or_null(_BOOLEAN), online_mb=_or_null(_NUMBER),
        confirmed=_or_null(_BOOLEAN))),
    can_grow=_BOOLEAN, reasons=_REASONS,
    source=_STRING,
    last_resize=_or_null(_object(
        request_id=_STRING, status=_STRING, message=_or_null(_STRING))))
_MEMORY['properties']['plan'] = _object(
    memory_mb=_NUMBER, possible=_BOOLEAN, devices=_list(_PLANNED),
    removed={'type': 'array'}, reasons=_REASONS)

show: Schema = {
    'status_code': [200],
    'response_body': _object(memory=_MEMORY),
}

resize: Schema = {
    'status_code': [202],
    'response_body': _object(memory=_object(
        memory_mb=_NUMBER, current_mb=_NUMBER, changed=_BOOLEAN,
        devices=_list(_PLANNED), removed={'type': 'array'},
        message=_STRING)),
}
