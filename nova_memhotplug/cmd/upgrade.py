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
"""Is a cloud ready for this version of the plugin?

It is asked where nova-api runs, before services are restarted with a new
version: ``nova-memhotplug-status upgrade check``, in the form of Nova's own
``nova-status upgrade check``. This package has no tables of its own, so that
Nova's objects can be used, which that command must not.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import configparser
import typing as ty

from nova import config
from nova import context as nova_context
from nova import objects
from nova.objects import fields
from oslo_policy import policy
from oslo_upgradecheck import upgradecheck
from oslo_utils import versionutils

from nova_memhotplug.api import authorization
from nova_memhotplug.cmd import checks
from nova_memhotplug.common import exclusions
from nova_memhotplug.common import options
from nova_memhotplug.common import rpcapi
from nova_memhotplug.common import specs
from nova_memhotplug.core import compositions
from nova_memhotplug.core import errors
from nova_memhotplug.core import memory_spec
from nova_memhotplug.virt import abilities

CONF = options.CONF
PROG = 'nova-memhotplug-status'
PASTE_APP = 'app:osapi_compute_app_v21'
#: How many names a sentence lists.
LISTED = 10

Code = upgradecheck.Code
Result = upgradecheck.Result


def start(config_files: Sequence[str] | None) -> None:
    """Set Nova up as ``nova-status`` does.

    :param config_files: of Nova; None for those that Nova looks for
    """
    config.parse_args([PROG], default_config_files=config_files)
    objects.register_all()


class Checks(upgradecheck.UpgradeCommands):
    """The checks of a cloud; ``check`` runs them and prints a table.

    :param api_paste: Nova's ``api-paste.ini``; None for that which the
        configuration names
    """

    def __init__(self, api_paste: str | None = None):
        super().__init__()
        self._upgrade_checks = (
            ('Nova', lambda _self: checks.nova_version()),
            ('Module', lambda _self: checks.module()),
            ('Entry points', lambda _self: checks.entry_points()),
            ('API paste line', lambda _self: paste_line(api_paste)),
            ('Policies', lambda _self: policies()),
            ('Computes', lambda _self: computes()),
            ('Flavors', lambda _self: flavors()))


def paste_line(path: str | None) -> Result:
    """Check the line of ``api-paste.ini`` that is to be changed.

    :param path: the file; None for that which the configuration names
    """
    path = path or CONF.find_file(CONF.wsgi.api_paste_config)
    if path is None:
        return Result(Code.FAILURE, (
            'There is no %s. Say where it is with --api-paste.' %
            CONF.wsgi.api_paste_config))
    parser = configparser.RawConfigParser(strict=False)
    try:
        with open(path, encoding='utf-8') as stream:
            parser.read_file(stream)
        factory = parser.get(PASTE_APP, 'paste.app_factory')
    except (OSError, configparser.Error) as exc:
        return Result(Code.FAILURE, '%s cannot be read: %s' % (
            path, ' '.join(str(exc).split())))
    if factory.startswith('nova_memhotplug.'):
        return Result(Code.SUCCESS, factory)
    return Result(Code.FAILURE, (
        '[%s] paste.app_factory in %s is %s: the API does not have the '
        'action resizeMemory.' % (PASTE_APP, path, factory)))


def policies() -> Result:
    """Check what the policy file says of this package's rules.

    oslo.policy only logs what it cannot read, and then lets nobody pass.
    """
    enforcer = authorization.enforcer()
    ours = {name: rule for name, rule in enforcer.file_rules.items()
            if name.startswith(memory_spec.NAMESPACE + ':')}
    unread = sorted(name for name, rule in ours.items()
                    if str(rule.check) == '!' != rule.check_str)
    if unread:
        return Result(Code.FAILURE, (
            'Nobody passes these rules of the policy file, which cannot be '
            'read: %s.' % ', '.join(unread)))
    try:
        enforcer.check_rules(raise_on_violation=True)
    except policy.InvalidDefinitionError as exc:
        return Result(Code.FAILURE, str(exc))
    unknown = sorted(set(ours) - set(enforcer.registered_rules))
    if unknown:
        return Result(Code.WARNING, (
            'This version does not know these rules of the policy file, so '
            'they have no effect: %s.' % ', '.join(unknown)))
    return Result(Code.SUCCESS, 'Of the policy file: %s.' % (
        ', '.join(sorted(ours)) or 'none'))


def computes() -> Result:
    """Check that no compute has an older version than this API.

    The scheduler and this API go by what hosts have written into Nova's
    record of them when they last reported.
    """
    versions = {node.host: rpcapi.spoken(node) for node in _nodes()}
    older = sorted('%s (%s)' % (host, version)
                   for host, version in versions.items()
                   if version and not versionutils.is_compatible(
                       rpcapi.VERSION, version))
    without = sum(version is None for version in versions.values())
    if older:
        return Result(Code.WARNING, (
            'Upgrade this package on %s: the API speaks %s, and refuses '
            'there what these do not know.' % (
                _some(older), rpcapi.VERSION)))
    return Result(Code.SUCCESS, (
        '%d hosts can add memory to their servers, %d cannot.' % (
            len(versions) - without, without)))


def _nodes() -> Iterator[ty.Any]:
    """List the compute nodes of all cells."""
    context = nova_context.get_admin_context()
    for cell in objects.CellMappingList.get_all(context):
        if not cell.is_cell0():
            with nova_context.target_cell(context, cell) as in_cell:
                yield from objects.ComputeNodeList.get_all(in_cell)


def flavors() -> Result:
    """Check that servers can boot, and grow, from the flavors that say so."""
    known = objects.FlavorList.get_all(nova_context.get_admin_context())
    found = ['%s: %s' % (flavor.name, problem)
             for flavor in known for problem in _problems(flavor)]
    if found:
        return Result(Code.WARNING, _some(found, ' '))
    return Result(Code.SUCCESS, '%d flavors let servers grow.' % sum(
        memory_spec.MAX_MEMORY_MB in flavor.extra_specs for flavor in known))


def _problems(flavor: ty.Any) -> Iterator[str]:
    """Say what of a flavor contradicts itself."""
    extra_specs = flavor.extra_specs
    ours = sorted(key for key in extra_specs
                  if key.startswith(memory_spec.NAMESPACE + ':'))
    try:
        spec = specs.spec_of(flavor)
        if spec is None:
            if ours:
                yield '%s without %s.' % (
                    ', '.join(ours), memory_spec.MAX_MEMORY_MB)
            return
        memory_spec.check_boot_size(spec, flavor.memory_mb, first_boot=True)
        # Whatever the image: an architecture of 64 bits excludes nothing.
        compositions.check(exclusions.request_of(
            flavor, objects.ImageMeta.from_dict({}),
            fields.Architecture.X86_64))
    except errors.MemoryHotplugError as exc:
        yield str(exc)
    trait = 'trait:' + abilities.TRAIT
    if extra_specs.get(trait) != 'required':
        yield ('%s=required is missing, so servers come to hosts where they '
               'cannot grow.' % trait)


def _some(names: Sequence[str], separator: str = ', ') -> str:
    """List names, but not hundreds of them."""
    more = len(names) - LISTED
    return separator.join(names[:LISTED]) + (
        ' and %d more' % more if more > 0 else '')
