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

"""Look at a server: its live domain, its flavor, its guest."""

from nova import conf as nova_conf
from oslo_concurrency import lockutils

from nova_memhotplug.common import exclusions
from nova_memhotplug.common import states
from nova_memhotplug.core import block_size
from nova_memhotplug.core import errors
from nova_memhotplug.core import observations
from nova_memhotplug.core import strategies

CONF = nova_conf.CONF


def observe(guests, instance, ask_agent=True) -> observations.Observation:
    """Look at a running server.

    :param guests: the ``virt.guest.Guests`` of this host
    :param instance: a ``nova.objects.Instance``
    :param ask_agent: whether to ask the guest, too, if it has an agent
    :returns: what is known of it
    :raises nova.exception.InstanceNotFound: if it has no domain
    :raises GuestOff: if its guest does not run
    :raises UnreadableDomain: if its domain cannot be read
    :raises HypervisorRefused: if libvirt does not tell
    """
    memory = guests.of(instance)
    if not memory.is_running():
        raise errors.GuestOff()
    guest = memory.read()
    blocks = None
    if ask_agent and guest.has_agent and not memory.is_paused():
        blocks = _ask_agent(memory, instance)
    is_elastic = states.is_elastic(instance.flavor)
    return observations.Observation(
        guest=guest,
        step_mb=_step_mb(guest, blocks),
        strategy=strategies.of(
            guest, is_elastic, CONF.memhotplug.shim_directory),
        heard_mb=blocks.block_mb if blocks else 0,
        answer=blocks and _answer(guest, blocks),
        is_silent=ask_agent and blocks is None,
        excluded=not is_elastic and None or exclusions.excluded(
            instance, guest.arch, CONF.libvirt.cpu_model_extra_flags))


def _answer(guest, blocks) -> observations.Answer:
    return observations.Answer(
        block_mb=blocks.block_mb, online_mb=blocks.online_mb,
        has_all=blocks.has_online(
            [dev for dev in guest.devices if dev.is_ram]))


def _ask_agent(memory, instance):
    """Ask the guest agent, unless somebody is asking it already.

    An agent may take its time to answer, and each question keeps a worker of
    nova-compute busy: a second one does not queue behind the first.
    """
    name = 'memhotplug-agent-%s' % instance.uuid
    try:
        with lockutils.lock(name, blocking=False):
            return memory.agent().blocks()
    except lockutils.AcquireLockFailedException:
        return None


def _step_mb(guest, blocks) -> int:
    return block_size.step_mb(
        guest.arch, guest.boot_mb,
        aarch64_block_mb=CONF.memhotplug.aarch64_memory_block_mb,
        page_kib=guest.page_kib,
        reported_mb=blocks.block_mb if blocks else 0)
