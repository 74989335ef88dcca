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

"""Success means that the guest has the memory (design T7)."""

from nova import conf as nova_conf
from oslo_log import log as logging
import tenacity

from nova_memhotplug.core import blocklist
from nova_memhotplug.core import device
from nova_memhotplug.core import errors

CONF = nova_conf.CONF
LOG = logging.getLogger(__name__)

#: Seconds between two looks at the guest's memory blocks.
POLL_INTERVAL = 0.5


def confirm(memory, before: set[str], instance) -> bool:
    """Look inside the guest for memory that was just attached.

    :param memory: a ``virt.guest.LiveGuest``
    :param before: aliases of the devices that it had before
    :param instance: the instance, for the log
    :returns: True if the guest uses the new memory; False if that is not
        known (no agent) or the guest has it without using it
    :raises GuestRefused: if the agent answers, but the memory is not there
    """
    guest = memory.read()
    added = tuple(dev for dev in guest.devices
                  if dev.is_ram and dev.alias not in before)
    agent = memory.agent()
    if not guest.has_agent or agent.blocks() is None:
        LOG.info('Memory is attached, not confirmed: no guest agent.',
                 instance=instance)
        return False
    return _verdict(_wait(agent, added), added, instance)


def _wait(
    agent, added: tuple[device.MemoryDevice, ...],
) -> blocklist.BlockList | None:
    """Wait until the guest uses the new memory, or for the time-out."""
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_delay(CONF.memhotplug.confirm_timeout),
        wait=tenacity.wait_fixed(POLL_INTERVAL),
        retry=tenacity.retry_if_not_result(
            lambda blocks: blocks is not None and blocks.has_online(added)),
        retry_error_callback=lambda state: state.outcome.result())
    return retrying(_look, agent, added)


def _look(agent, added) -> blocklist.BlockList | None:
    blocks = agent.blocks()
    if blocks is None:
        return None
    offline = blocks.offline(added)
    if offline and CONF.memhotplug.online_guest_memory:
        agent.bring_online(offline)
    return blocks


def _verdict(blocks, added, instance) -> bool:
    if blocks is None:
        LOG.warning('Memory is attached, not confirmed: the guest agent '
                    'has stopped answering.', instance=instance)
        return False
    missing, offline = blocks.missing(added), blocks.offline(added)
    if missing:
        raise errors.GuestRefused(
            seconds=CONF.memhotplug.confirm_timeout, missing=len(missing),
            total=sum(len(blocks.of(dev)) for dev in added))
    if offline:
        LOG.warning('Memory is attached, but the guest leaves %d MiB of it '
                    'offline.', len(offline) * blocks.block_mb,
                    instance=instance)
    return blocks.has_online(added)
