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

"""The options of the plugin, in ``tempest.conf``."""

import typing as ty

from oslo_config import cfg

SERVICE = cfg.BoolOpt(
    'nova_memhotplug',
    default=False,
    help='Whether the servers of this cloud can grow with nova-memhotplug. '
         'If not, all tests of the plugin are skipped.')

GROUP = cfg.OptGroup('memhotplug', title='Growth of running servers')
FEATURES = cfg.OptGroup(
    'memhotplug-feature-enabled',
    title='What of the growth of running servers is to be tested')

OPTIONS = [
    cfg.StrOpt(
        'flavor_ref',
        help='ID of an elastic flavor, whose servers can grow at least eight '
             'steps, in slots of their own. Without it all tests are '
             'skipped.'),
    cfg.StrOpt(
        'flavor_ref_alt',
        help='ID of a flavor that differs from flavor_ref in more memory '
             'alone. Without it no server is resized to a flavor.'),
    cfg.StrOpt(
        'plain_flavor_ref',
        help='ID of a flavor without the extra spec '
             'memhotplug:max_memory_mb. Without it nothing is tested with '
             'such a server.'),
    cfg.StrOpt(
        'second_image_ref',
        help='ID of another image to grow servers of, as of another '
             'architecture, beside [compute] image_ref.'),
    cfg.StrOpt(
        'shrink_image_ref',
        help='ID of an image whose guests bring new memory online as movable, '
             'so that they can give it back. Without it no server has to '
             'give memory back.'),
    cfg.StrOpt(
        'second_shrink_image_ref',
        help='ID of such an image of another architecture.'),
    cfg.StrOpt(
        'networks',
        default='auto',
        help='Networks of the servers: "auto", "none" where no port can be '
             'bound, or the ID of one network.'),
    cfg.IntOpt(
        'guest_timeout',
        default=300,
        help='Seconds that a guest may take to boot, or to use what it was '
             'given.'),
]

FEATURE_OPTIONS = [
    cfg.BoolOpt(
        'reader_role',
        default=True,
        help='Whether there are accounts with the role reader alone.'),
    cfg.BoolOpt(
        'console_report',
        default=False,
        help='Whether the guests say on their console how much memory they '
             'have, in the lines that the documentation describes.'),
    cfg.BoolOpt(
        'guest_agent',
        default=False,
        help='Whether the QEMU guest agent runs in the guests.'),
    cfg.BoolOpt(
        'live_migration',
        default=False,
        help='Whether grown servers can be migrated live. [compute-feature-'
             'enabled] live_migration must be set as well.'),
]


def list_opts() -> list[tuple[str, list[ty.Any]]]:
    """List the options by the names of their groups."""
    return [
        ('service_available', [SERVICE]),
        (GROUP.name, OPTIONS),
        (FEATURES.name, FEATURE_OPTIONS),
    ]


def register_opts(conf: ty.Any) -> None:
    """Register the options.

    :param conf: a ``ConfigOpts``
    """
    conf.register_group(GROUP)
    conf.register_group(FEATURES)
    for group, options in list_opts():
        conf.register_opts(options, group=group)
