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

"""Check this plugin's policies with an enforcer of its own.

Nova's enforcer knows Nova's rules only, and registering ours with it would
reach into its module. This one reads the same policy file.
"""

import functools

from nova import conf as nova_conf
from nova import exception
from nova.policies import base as nova_base
from oslo_policy import policy

from nova_memhotplug import policies

CONF = nova_conf.CONF


@functools.cache
def _enforcer() -> policy.Enforcer:
    enforcer = policy.Enforcer(CONF)
    enforcer.suppress_default_change_warnings = True
    enforcer.register_defaults(nova_base.list_rules())
    enforcer.register_defaults(policies.list_rules())
    enforcer.load_rules()
    return enforcer


def authorize(context, rule: str, instance) -> None:
    """Check whether a user may do something with a server.

    :param context: the request context
    :param rule: one of the names in ``policies.server_memory``
    :param instance: the ``nova.objects.Instance`` it is about
    :raises nova.exception.PolicyNotAuthorized: if not
    """
    target = {'project_id': instance.project_id,
              'user_id': instance.user_id}
    try:
        _enforcer().authorize(
            rule, target, context, do_raise=True,
            exc=exception.PolicyNotAuthorized, action=rule)
    except policy.InvalidScope:
        raise exception.PolicyNotAuthorized(action=rule)
