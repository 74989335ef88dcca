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
from nova.policies import migrate_server
from oslo_policy import policy

from nova_memhotplug import policies

CONF = nova_conf.CONF

#: Nova's policy rules for the migration of a running or a stopped server.
MIGRATIONS = {
    'migrate': migrate_server.POLICY_ROOT % 'migrate',
    'os-migrateLive': migrate_server.POLICY_ROOT % 'migrate_live',
}


@functools.cache
def _enforcer() -> policy.Enforcer:
    enforcer = policy.Enforcer(CONF)
    # Nova itself warns of what has changed in its rules.
    enforcer.suppress_default_change_warnings = True
    enforcer.suppress_deprecation_warnings = True
    enforcer.register_defaults(nova_base.list_rules())
    enforcer.register_defaults(migrate_server.list_rules())
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


def may_move(context, action: str, instance) -> bool:
    """Tell whether Nova's own policy lets a user migrate a server.

    Nova has one rule for any host and one for a chosen host; which of them
    counts is left to Nova.

    :param context: the request context
    :param action: one of ``MIGRATIONS``
    :param instance: the ``nova.objects.Instance`` it is about
    """
    return any(
        is_authorized(context, rule.name, instance)
        for rule in migrate_server.list_rules()
        if rule.name.removesuffix(':host') == MIGRATIONS[action])


def is_authorized(context, rule: str, instance) -> bool:
    """Tell whether a user may do something with a server.

    :param context: the request context
    :param rule: one of the names in ``policies.server_memory``
    :param instance: the ``nova.objects.Instance`` it is about
    :returns: whether ``authorize`` would let it pass
    """
    try:
        authorize(context, rule, instance)
    except exception.PolicyNotAuthorized:
        return False
    return True
