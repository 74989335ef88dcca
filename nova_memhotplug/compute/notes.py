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
"""Leave a note of what a guest has with the server's record (core.notes)."""

from nova.compute import vm_states
from nova import context as nova_context
from nova import objects
from oslo_log import log as logging

from nova_memhotplug.compute import observe
from nova_memhotplug.core import errors
from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import notes

LOG = logging.getLogger(__name__)


def catch_up(guests, host) -> None:
    """Renew the notes of guests that are not as their notes say.

    Before this service started, another driver may have started them.

    :param guests: the ``virt.guest.Guests`` of this host
    :param host: the name of the host
    """
    context = nova_context.get_admin_context()
    for instance in objects.InstanceList.get_by_host(
            context, host, expected_attrs=['flavor', 'system_metadata']):
        if (memory_spec.MAX_MEMORY_MB in instance.flavor.extra_specs and
                instance.vm_state in (vm_states.ACTIVE, vm_states.PAUSED)):
            _catch_up(context, guests, instance)


def _catch_up(context, guests, instance):
    text = instance.system_metadata.get(notes.KEY)
    if text is None:
        return
    # One of another version cannot be read.
    said = notes.read(text)
    seen = notes.read(take(guests, instance, ask_agent=False))
    # The step may be what an agent has said that is not asked now.
    if said is None or seen is None or seen.guest != said.guest:
        renew(context, guests, instance)


def take(guests, instance, ask_agent=True) -> str | None:
    """Make a note of what a guest has.

    Without one, plans ask the host. So whatever goes wrong here must not
    undo what it is a note of.

    :param guests: the ``virt.guest.Guests`` of this host
    :param instance: a ``nova.objects.Instance``
    :param ask_agent: whether to ask the guest, too, if it has an agent
    :returns: the note; None if none can be made
    """
    try:
        seen = observe.observe(guests, instance, ask_agent)
        return notes.write(seen)
    except errors.GuestOff:
        return None
    except Exception:
        LOG.warning('No note can be made of the memory of this server; plans '
                    'will ask its host.', instance=instance, exc_info=True)
        return None


def put(context, instance, note: str | None) -> dict[str, str]:
    """Put a note into an instance, in the place of the one it has.

    System metadata are saved as a whole, and nova-api writes into them, too:
    the reason of a lock, for example. So they are read again, unless Nova
    has changed something in them that it will save.

    :param context: a request context
    :param instance: a ``nova.objects.Instance``; not saved
    :param note: the note; None for none
    :returns: the system metadata as they were
    :raises nova.exception.InstanceNotFound: if it has been deleted
    """
    if 'system_metadata' not in instance.obj_what_changed():
        instance.system_metadata = objects.Instance.get_by_uuid(
            context, instance.uuid,
            expected_attrs=['system_metadata']).system_metadata
    before = instance.system_metadata
    instance.system_metadata = {
        key: value for key, value in before.items() if key != notes.KEY}
    if note is not None:
        instance.system_metadata[notes.KEY] = note
    return before


def renew(context, guests, instance) -> None:
    """Make a note of a guest that was just started.

    Nova saves the instance once more when the guest is up, but not where it
    starts guests again after a reboot of the host.

    :param context: a request context
    :param guests: the ``virt.guest.Guests`` of this host
    :param instance: a ``nova.objects.Instance``; saved
    """
    note = take(guests, instance, ask_agent=False)
    try:
        put(context, instance, note)
        instance.save()
    except Exception:
        LOG.warning('The note of the memory of this server is not saved.',
                    instance=instance, exc_info=True)
