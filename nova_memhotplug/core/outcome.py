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

"""What became of a request for more or less memory, as one value.

It is taken from the strongest evidence that there is (design T7), and kept as
a sentence with the events of the request (``common.history``).
"""

import dataclasses
import re

#: The guest uses all of it, or has given all of it back.
CONFIRMED = 'confirmed'
#: The guest has it and leaves some of it unused.
OFFLINE = 'offline'
#: The hypervisor has done it; nobody tells what the guest makes of it.
UNCONFIRMED = 'unconfirmed'
#: The guest does not take it, or gives nothing back.
REFUSED = 'refused'
#: The hypervisor goes on with it.
PENDING = 'pending'
#: The guest has taken or given back some of it, and that is the end.
PARTIAL = 'partial'
VERDICTS = (CONFIRMED, OFFLINE, UNCONFIRMED, REFUSED, PENDING, PARTIAL)

#: The list of its memory blocks that the guest's agent gives.
AGENT = 'agent'
#: What the device says the guest has plugged, or that it is gone.
DEVICE = 'device'
#: The statistics of the guest's balloon driver (``core.balloon``).
BALLOON = 'balloon'
NONE = 'none'
EVIDENCE = (AGENT, DEVICE, BALLOON, NONE)

_OPEN = '; it is looked at again'
_LESS = ' given back'
_TEXT = re.compile(
    r'\[(?P<verdict>%s)\] (?P<mb>\d{1,15}) of (?P<of_mb>\d{1,15}) MiB'
    r'(?P<less>%s)?, evidence: (?P<evidence>%s)(?P<open>%s)?' % (
        '|'.join(VERDICTS), _LESS, '|'.join(EVIDENCE), re.escape(_OPEN)))


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a request.

    :param verdict: one of ``VERDICTS``
    :param mb: how much of it the guest is known to use, or to have given
        back, in MiB
    :param of_mb: how much was to be added or given back, in MiB
    :param evidence: one of ``EVIDENCE``
    :param is_open: whether the host looks again, so that it may get better
    :param is_less: whether it was to be given back
    """

    verdict: str
    mb: int
    of_mb: int
    evidence: str
    is_open: bool = False
    is_less: bool = False

    @property
    def is_confirmed(self) -> bool:
        """Whether the guest is known to have done all that was asked."""
        return self.verdict == CONFIRMED

    def __str__(self) -> str:
        """Write it as ``parse`` reads it; shorter than 100 characters."""
        return '[%s] %d of %d MiB%s, evidence: %s%s' % (
            self.verdict, self.mb, self.of_mb,
            _LESS if self.is_less else '', self.evidence,
            _OPEN if self.is_open else '')


def parse(text: str | None) -> Outcome | None:
    """Read an outcome that was written down.

    :param text: what ``str`` made of it, perhaps that of another version
    :returns: the outcome; None if it is none that this version knows
    """
    match = _TEXT.fullmatch(text or '')
    if match is None:
        return None
    return Outcome(
        match['verdict'], int(match['mb']), int(match['of_mb']),
        match['evidence'], match['open'] is not None,
        match['less'] is not None)


def used(added_mb: int, offline_mb: int, evidence: str) -> Outcome:
    """Say what became of memory of which is known what is not used.

    :param added_mb: what was added, in MiB
    :param offline_mb: what of it the guest does not use, in MiB
    :param evidence: who says so
    """
    return Outcome(
        OFFLINE if offline_mb else CONFIRMED, added_mb - offline_mb,
        added_mb, evidence)


def pending(added_mb: int, taken_mb: int) -> Outcome:
    """Say what became of memory of which a guest has not taken all yet.

    :param added_mb: what it is to have, in MiB
    :param taken_mb: what of it the guest has taken, in MiB
    """
    return Outcome(
        PENDING, max(0, taken_mb), added_mb, DEVICE, is_open=True)


def given_back(asked_mb: int, left_mb: int, is_end: bool = False) -> Outcome:
    """Say what became of memory that a guest was asked for.

    :param asked_mb: what it was asked for, in MiB
    :param left_mb: what of it the guest still has, in MiB
    :param is_end: whether it may keep that
    """
    verdict = CONFIRMED
    if left_mb > 0:
        verdict = PARTIAL if is_end else PENDING
    return Outcome(
        verdict, max(0, asked_mb - max(0, left_mb)), asked_mb, DEVICE,
        is_open=verdict == PENDING, is_less=True)


def unknown(added_mb: int, is_open: bool) -> Outcome:
    """Say that nobody tells what a guest makes of memory.

    :param added_mb: what was added, in MiB
    :param is_open: whether the host looks again
    """
    return Outcome(UNCONFIRMED, 0, added_mb, NONE, is_open)


def by_balloon(
    added_mb: int, others_mb: int, offline_mb: int | None,
) -> Outcome:
    """Say what became of memory by what the guest does not use in all.

    The statistics do not tell which memory that is. It may be other memory
    that was plugged before.

    :param added_mb: what was added, in MiB
    :param others_mb: what else was plugged, in MiB
    :param offline_mb: what of both the guest does not use, in MiB; None if
        that is not known
    """
    if offline_mb is None or 0 < offline_mb <= others_mb:
        return unknown(added_mb, is_open=False)
    return used(added_mb, min(added_mb, offline_mb), BALLOON)
