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

"""What is known of the memory of a running guest, as one value.

nova-compute makes it from the live domain. It reaches nova-api in full as the
answer of a call, or in short as the note in the server's record
(``core.notes``). Both sides plan with it by the same functions.
"""

from collections.abc import Mapping
import dataclasses
import typing as ty

from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import errors

#: Raised with every change of what fields mean. A field that has a default
#: may be added: who does not know it does without, and who misses it has that.
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the agent of a guest has said about its memory.

    :param block_mb: size of its memory blocks, in MiB
    :param online_mb: memory in use, in MiB, in whole blocks
    :param has_all: whether it uses all of its memory devices
    """

    block_mb: int
    online_mb: int
    has_all: bool


@dataclasses.dataclass(frozen=True)
class Observation:
    """What is known of a running guest.

    :param guest: what its live domain has
    :param step_mb: in what steps a node of it can take memory, in MiB; 0 if
        it cannot
    :param strategy: how its reserved cell was made, see ``strategies.of``;
        None without room for growth
    :param heard_mb: the memory block that its agent has named, now or
        earlier, in MiB; 0 if it never did
    :param answer: what its agent says now; None if it was not asked, has no
        agent, or does not answer
    :param is_silent: whether there is nobody to answer: no agent, or one
        that was asked and did not
    :param excluded: what it has that does not go together with growth
    :param offline_mb: what it does not use of its memory, by the statistics
        of its balloon, in MiB; None if those do not tell
    :param told_at: when they were told, in seconds since the epoch
    """

    guest: domain.GuestMemory
    step_mb: int
    strategy: str | None
    heard_mb: int = 0
    answer: Answer | None = None
    is_silent: bool = False
    excluded: errors.ExcludedComposition | None = None
    offline_mb: int | None = None
    told_at: int = 0

    @property
    def is_hearsay(self) -> bool:
        """Whether its step is a guess that its agent could correct.

        A guest refuses memory that is no whole block of its kernel, and all
        that comes later (facts-qemu-libvirt.md, section 3).
        """
        return self.guest.has_agent and not self.heard_mb

    @property
    def used_mb(self) -> int | None:
        """RAM that the guest uses, in MiB; None if nobody can tell.

        A guest whose agent was not asked now, but has once spoken, counts as
        using all that it has: whoever adds memory asks again.
        """
        answer, taken_mb = self.answer, self.guest.taken_mb
        if answer is not None and not answer.has_all:
            return max(self.guest.boot_mb, min(taken_mb, answer.online_mb))
        if answer is not None or self.heard_mb and not self.is_silent:
            return taken_mb
        return None


def to_document(seen: Observation) -> dict[str, ty.Any]:
    """Write an observation for an RPC message.

    :param seen: the observation
    :returns: values that JSON has
    """
    document = dataclasses.asdict(
        dataclasses.replace(seen, excluded=None))
    document['excluded'] = (
        None if seen.excluded is None else dict(seen.excluded.facts))
    return document | {'version': VERSION}


def from_document(document: Mapping[str, ty.Any]) -> Observation | None:
    """Read an observation out of an RPC message.

    A field that this version does not know is not looked at.

    :param document: what ``to_document`` has made, perhaps that of another
        version
    :returns: the observation; None if it is of another version
    """
    if document.get('version') != VERSION:
        return None
    answer, excluded = document['answer'], document['excluded']
    return Observation(
        guest=_guest(document['guest']),
        step_mb=document['step_mb'],
        strategy=document['strategy'],
        heard_mb=document['heard_mb'],
        answer=None if answer is None else _make(Answer, answer),
        is_silent=document['is_silent'],
        excluded=None if excluded is None else errors.ExcludedComposition(
            **excluded),
        offline_mb=document.get('offline_mb'),
        told_at=document.get('told_at', 0))


def _guest(fields: Mapping[str, ty.Any]) -> domain.GuestMemory:
    return _make(domain.GuestMemory, dict(
        fields,
        cells=tuple(_backed(domain.Cell, one) for one in fields['cells']),
        devices=tuple(_backed(device.MemoryDevice, one)
                      for one in fields['devices']),
        servers=tuple(fields.get('servers', ()))))


_Kind = ty.TypeVar('_Kind')


def _backed(kind: type[_Kind], fields: Mapping[str, ty.Any]) -> _Kind:
    backing = fields['backing']
    return _make(kind, dict(fields, backing=(
        None if backing is None else _make(device.Backing, backing))))


def _make(kind: type[_Kind], fields: Mapping[str, ty.Any]) -> _Kind:
    names = {field.name for field in dataclasses.fields(
        ty.cast(ty.Any, kind))}
    return kind(**{
        name: value for name, value in fields.items() if name in names})
