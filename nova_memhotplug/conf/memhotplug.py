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

"""The ``[memhotplug]`` group, read by nova-api and nova-compute."""

import typing as ty

from oslo_config import cfg

GROUP = cfg.OptGroup(
    'memhotplug',
    title='Memory hot-plug options',
    help="""
Memory hot-plug lets a running server of a flavor with the extra spec
``memhotplug:max_memory_mb`` grow its memory without a reboot.
""")

OPTS = [
    cfg.IntOpt(
        'default_slots',
        default=8, min=1, max=255,
        help="""
Memory slots reserved for a flavor without ``memhotplug:slots``.

Every slot reserves 1 GiB of guest physical address space (QEMU,
hw/i386/pc.c and hw/arm/virt.c), so keep it small.
"""),
    cfg.StrOpt(
        'zero_cell_strategy',
        default='auto',
        choices=[
            ('auto', 'The first of native, shim and tiny that the host can '
                     'start.'),
            ('native', 'libvirt and QEMU take a cell of zero memory as it '
                       'is.'),
            ('shim', 'The emulator is started through the shim, which drops '
                     'the memory backend of the empty cell.'),
            ('tiny', 'The reserved cell gets 1 MiB (one huge page), taken '
                     'from cell 0.'),
            ('existing', 'No cell is reserved: memory is plugged into the '
                         'last existing cell.'),
        ],
        help="""
How a NUMA cell without memory is brought about.

Possible values are tried with a paused throw-away domain per guest
architecture, when they are needed. A named value is used only where that
succeeded; anything else refuses to start new servers that want a zero node.
"""),
    cfg.StrOpt(
        'shim_directory',
        default='/usr/libexec/nova-memhotplug',
        help="""
Directory that holds the shim and one link to it per QEMU target, named like
the emulator (for example ``qemu-system-x86_64``).

``nova-memhotplug-status shim install`` fills it. It is a directory of the root
file system in which libvirt runs, and must have the same path on every host
that servers move between. Nobody but root may write to it, and libvirt must be
allowed to run what it holds.
"""),
    cfg.IntOpt(
        'aarch64_memory_block_mb',
        default=1024,
        help="""
Size of the memory block of aarch64 guests of which nothing is known, in MiB.

A guest does not use a DIMM that is not made of whole blocks of its kernel.
This counts where neither the guest's agent has named its block nor the flavor
(``memhotplug:block_mb``) or the image (``memhotplug_block_mb``) a larger one.
1024 is accepted by each guest. Set less only if all guests have kernels that
take it.
""",
        choices=[(128, 'kernels since 5.12 with pages of 4 or 16 KiB'),
                 (512, 'kernels since 5.12 with pages of 64 KiB'),
                 (1024, 'older kernels')]),
    cfg.IntOpt(
        'vhost_user_regions',
        default=8, min=1, max=512,
        help="""
Regions of memory that the process knows which serves ``vhostuser`` ports of
this host, for example Open vSwitch with DPDK.

A guest with such ports can have as many memory devices as are left when its
boot memory has taken one for each NUMA node, and two more. 8 is what each
such process knows. Set more only if it says so to QEMU
(``VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS``); otherwise QEMU refuses.
"""),
    cfg.IntOpt(
        'confirm_timeout',
        default=30, min=1, max=600,
        help="""
Seconds to wait until the guest agent shows the new memory.

Used only for servers whose image asks for the guest agent. More than 32 GiB at
once have more time, in proportion. A guest whose agent answers but does not
show the memory in this time has refused it: the device is taken away again and
the resize fails.
"""),
    cfg.IntOpt(
        'shrink_timeout',
        default=600, min=1,
        help="""
Seconds that a guest has to give back memory that it was asked for.

This is about servers with the memory model ``virtio-mem``. A request for less
memory ends when the hypervisor has taken it, and what the guest gives back
after that is taken out of the books. What it still has after this time, it
keeps.
"""),
    cfg.BoolOpt(
        'online_guest_memory',
        default=True,
        help="""
Ask the guest agent to bring new memory online when the guest itself does not.

Some kernels leave hot-plugged memory offline until told otherwise.
"""),
    cfg.BoolOpt(
        'adopt_foreign_devices',
        default=True,
        help="""
Account for memory that was attached by other means than this API.

What a guest has more than Nova's books say is found at service start and when
its memory is resized. It is then claimed and written into the books; if this
is off, it is only reported, and the server's memory cannot be resized until
the device is gone.
"""),
    cfg.StrOpt(
        'metrics_file',
        help="""
File for numbers about resizes of memory, in the format of Prometheus.

``nova-compute`` writes it with each periodic task that updates its resources.
The file is meant for the textfile collector of Prometheus' node exporter: its
name ends in ``.prom``, and its directory is that of the collector and can be
written by ``nova-compute``. Nothing is written if this is not set.
"""),
    cfg.IntOpt(
        'lost_request_timeout',
        default=300, min=60,
        help="""
Seconds after which a resize of memory that has not reached its host is given
up.

``nova-api`` puts the server into the task state ``resize_prep`` and then sends
the request. If it is killed in between, or the message broker loses the
message, the server would stay so until ``nova-compute`` is restarted. The
periodic task of ``nova-compute`` releases it after this time instead, and
ignores the request if it arrives later. Leave room for requests that wait
because the host is busy, and for clocks that differ.
"""),
]


def register_opts(conf: ty.Any) -> None:
    """Register the group and its options.

    :param conf: the ``oslo_config.cfg.ConfigOpts`` to register them with
    """
    conf.register_group(GROUP)
    conf.register_opts(OPTS, group=GROUP)


def list_opts() -> ty.Any:
    """List the options for ``oslo-config-generator``.

    :returns: a list of ``(group, options)`` pairs
    """
    return [(GROUP, OPTS)]
