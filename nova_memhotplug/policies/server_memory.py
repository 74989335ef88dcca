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

"""Who may look at the memory of a server, and who may grow it."""

import typing as ty

from oslo_policy import policy

SHOW = 'memhotplug:server_memory:show'
LIST = 'memhotplug:server_memory:list'
RESIZE = 'memhotplug:server_memory:resize'

# Nova's own personas (nova/policies/base.py).
_READER = 'rule:project_reader_or_admin'
_MEMBER = 'rule:project_member_or_admin'

RULES = [
    policy.DocumentedRuleDefault(
        name=SHOW,
        check_str=_READER,
        description='Show the memory of a server and plan its growth.',
        operations=[{'method': 'GET',
                     'path': '/servers/{server_id}/os-memory'}],
        scope_types=['project']),
    policy.DocumentedRuleDefault(
        name=LIST,
        check_str=_READER,
        description='List the memory of all servers of a project.',
        operations=[{'method': 'GET', 'path': '/os-server-memory'}],
        scope_types=['project']),
    policy.DocumentedRuleDefault(
        name=RESIZE,
        check_str=_MEMBER,
        description='Grow the memory of a running server.',
        operations=[{'method': 'POST',
                     'path': '/servers/{server_id}/action (resizeMemory)'}],
        scope_types=['project']),
]


def list_rules() -> ty.Any:
    """List the rules.

    :returns: a list of ``oslo_policy.policy.DocumentedRuleDefault``
    """
    return RULES
