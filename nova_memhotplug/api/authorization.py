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

"""Whether a user may do something with a server.

Nova's enforcer knows Nova's rules only, and registering ours with it would
reach into its module. So ours have an enforcer of their own, which reads the
same policy file. For Nova's own rules, Nova is asked.
"""

from collections.abc import Iterator
import functools
import typing as ty

from nova.api.openstack import api_version_request
from nova import conf as nova_conf
from nova import exception
from nova.policies import base as nova_base
from nova.policies import evacuate
from nova.policies import migrate_server
from nova.policies import servers
from nova.policies import shelve
from oslo_policy import policy

from nova_memhotplug import policies

CONF = nova_conf.CONF


@functools.cache
def enforcer() -> ty.Any:
    """Get what knows Nova's rules and ours, as the policy file has them."""
    made = policy.Enforcer(CONF)
    # Nova itself warns of what has changed in its rules.
    made.suppress_default_change_warnings = True
    made.suppress_deprecation_warnings = True
    made.register_defaults(nova_base.list_rules())
    made.register_defaults(policies.list_rules())
    made.load_rules()
    return made


def authorize(context: ty.Any, rule: str, target: ty.Any) -> None:
    """Check whether a user may do something with a server, or a project.

    :param context: the request context
    :param rule: one of the names in ``policies.server_memory``
    :param target: the ``nova.objects.Instance`` it is about; the context
        itself for the servers of its project
    :raises nova.exception.PolicyNotAuthorized: if not
    """
    try:
        enforcer().authorize(
            rule, _target(target), context, do_raise=True,
            exc=exception.PolicyNotAuthorized, action=rule)
    except policy.InvalidScope:
        raise exception.PolicyNotAuthorized(action=rule)


def is_authorized(context: ty.Any, rule: str, instance: ty.Any) -> bool:
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


def may_move(
    req: ty.Any, action: str, wanted: dict[str, ty.Any], instance: ty.Any,
) -> bool:
    """Tell whether Nova's own policy lets a request for a move pass.

    Nova asks for all of these rules, some of them late. A user whom one of
    them refuses is refused by Nova.

    :param req: the ``wsgi.Request``
    :param action: one of ``moves.MOVES``
    :param wanted: what is asked for, not yet checked
    :param instance: the ``nova.objects.Instance`` it is about
    """
    context = req.environ['nova.context']
    return all(
        context.can(rule, target=_target(instance), fatal=False)
        for rule in nova_rules(req, action, wanted))


def nova_rules(
    req: ty.Any, action: str, wanted: dict[str, ty.Any],
) -> Iterator[str]:
    """List the rules that Nova checks for a move.

    They depend on what is asked for, and on the microversion: what a version
    does not know, Nova ignores or refuses.

    :param req: the ``wsgi.Request``
    :param action: one of ``moves.MOVES``
    :param wanted: what is asked for
    :returns: the names of rules that this Nova has
    """
    def is_supported(version: str) -> bool:
        return bool(api_version_request.is_supported(req, version))

    to_host = bool(wanted.get('host'))
    if action == 'migrate':
        yield _migration('migrate', to_host and is_supported('2.56'))
    elif action == 'os-migrateLive':
        yield _migration('migrate_live', to_host)
    elif action == 'resize':
        yield servers.SERVERS % 'resize'
    elif action == 'evacuate':
        yield evacuate.BASE_POLICY_NAME
    elif action == 'unshelve':
        yield shelve.POLICY_ROOT % 'unshelve'
        if to_host and is_supported('2.91'):
            yield shelve.POLICY_ROOT % 'unshelve_to_host'
    elif action == 'rebuild':
        yield servers.SERVERS % 'rebuild'
        if 'trusted_image_certificates' in wanted and is_supported('2.63'):
            yield servers.SERVERS % 'rebuild:trusted_certs'


def _migration(name: str, to_host: bool) -> str:
    """Name the rule for a migration; Nova 31 has fewer for chosen hosts."""
    rule: str = migrate_server.POLICY_ROOT % name
    chosen = rule + ':host'
    known = {one.name for one in migrate_server.list_rules()}
    return chosen if to_host and chosen in known else rule


def _target(owned: ty.Any) -> dict[str, str]:
    return {'project_id': owned.project_id, 'user_id': owned.user_id}
