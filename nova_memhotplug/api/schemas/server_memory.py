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

"""Requests about the memory of a server."""

from nova.api.validation import parameter_types
from nova.db import constants

_MEMORY_MB = {
    'type': ['integer', 'string'],
    'pattern': r'^[0-9]+\Z',
    'minimum': 1,
    'maximum': constants.MAX_INT,
    'minLength': 1,
    'maxLength': 10,
}

resize_memory = {
    'type': 'object',
    'properties': {
        'resizeMemory': {
            'type': 'object',
            'properties': {
                'memory_mb': _MEMORY_MB,
                'flavorRef': parameter_types.flavor_ref,
            },
            # For clients of its legacy v2 API Nova drops what it does not
            # know, perhaps after it was counted.
            'anyOf': [{'required': ['memory_mb']},
                      {'required': ['flavorRef']}],
            'maxProperties': 1,
            'additionalProperties': False,
        },
    },
    'required': ['resizeMemory'],
    'additionalProperties': False,
}

#: Nova's own paging. What else there is in a query, it ignores.
list_query = {
    'type': 'object',
    'properties': {
        'limit': parameter_types.multi_params(
            parameter_types.non_negative_integer),
        'marker': parameter_types.multi_params({'type': 'string'}),
    },
    'additionalProperties': True,
}

#: A query parameter may be given several times, so Nova checks lists.
show_query = {
    'type': 'object',
    'properties': {
        'memory_mb': {
            'type': 'array',
            'items': _MEMORY_MB,
            'maxItems': 1,
        },
        'guest': {
            'type': 'array',
            'items': parameter_types.boolean,
            'maxItems': 1,
        },
    },
    'additionalProperties': False,
}
