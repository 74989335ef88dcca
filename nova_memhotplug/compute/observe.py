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

from nova_memhotplug.compute import compositions
from nova_memhotplug.core import blocks as blocks_mod
from nova_memhotplug.core import errors
from nova_memhotplug.core import planner
from nova_memhotplug.core import report
from nova_memhotplug.core import spec as spec_mod
from nova_memhotplug.models import registry

CONF = nova_conf.CONF


def observe(driver, instance, ask_agent=True) -> report.Observation:
    """Look at a running server.

    :param driver: the ``MemHotplugLibvirtDriver``
    :param instance: a ``nova.objects.Instance``
    :param ask_agent: whether to ask the guest, too, if it has an agent
    :returns: what is known of it
    :raises nova.exception.InstanceNotFound: if it has no domain
    :raises GuestOff: if its guest does not run
    :raises UnreadableDomain: if its domain cannot be read
    :raises HypervisorRefused: if libvirt does not tell
    """
    memory = driver.guest_memory(instance)
    if not memory.is_running():
        raise errors.GuestOff()
    guest = memory.read()
    blocks = None
    if ask_agent and guest.has_agent and not memory.is_paused():
        blocks = _ask_agent(memory, instance)
    spec = driver.memory_spec(instance.flavor)
    return report.Observation(
        guest=guest,
        spec=spec,
        books_mb=instance.flavor.memory_mb,
        step_mb=_step_mb(guest, blocks),
        strategy=report.strategy_of(
            guest, spec, CONF.memhotplug.shim_directory),
        blocks=blocks,
        excluded=spec and compositions.excluded(
            instance, guest.arch, CONF.libvirt.cpu_model_extra_flags))


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


def grow_of(spec: spec_mod.MemorySpec | None) -> planner.Grow:
    """Get the way in which a server grows.

    :param spec: what its flavor says; None without a ceiling
    :returns: the memory model's ``grow``
    :raises UnknownModel: if the flavor's model is not installed here
    """
    return registry.get(spec.model if spec else spec_mod.DEFAULT_MODEL).grow


def _step_mb(guest, blocks) -> int:
    return blocks_mod.step_mb(
        guest.arch, guest.boot_mb,
        aarch64_block_mb=CONF.memhotplug.aarch64_memory_block_mb,
        page_kib=guest.page_kib,
        reported_mb=blocks.block_mb if blocks else 0)
