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

"""One round: a resize, a fault, and what is left of it."""

import dataclasses
import random
import time

from tests.faults import faults
from tests.faults import machine as machine_mod
from tests.faults import pauses
from tests.faults import subject as subject_mod

STEPS_MB = (128, 256, 384, 512)
#: In how many of the rounds a server that can give memory back does so.
SHRINKING = 0.4


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a round.

    :param fault: name of the fault
    :param problem: what is wrong; '' if nothing is
    :param ended: whether the server had the 'old', the 'new' or an 'other'
        total when all books agreed for the first time
    :param details: numbers, for people
    """

    fault: str
    problem: str
    ended: str = ''
    details: str = ''

    @property
    def is_ok(self):
        """Whether everything was as it must be."""
        return not self.problem


def deck(names, rounds, seed):
    """Choose the faults of all rounds: each as often as any other.

    :param names: the faults
    :param rounds: how many rounds
    :param seed: of the choice
    :returns: names, one for each round
    """
    rng = random.Random(seed)
    chosen = []
    while len(chosen) < rounds:
        chosen += rng.sample(list(names), len(names))
    return chosen[:rounds]


class Runner:
    """Runs rounds.

    :param machine: the ``machine.Machine``, prepared
    :param subject: the ``subject.Subject``
    :param seed: of what happens in the rounds
    """

    def __init__(self, machine, subject, seed):
        self._machine = machine
        self._subject = subject
        self._seed = seed

    def run(self, number, name):
        """Run a round.

        :param number: its number
        :param name: the fault
        :returns: the ``Outcome``
        """
        started = time.monotonic()
        rng = random.Random('%s/%s' % (self._seed, number))
        try:
            outcome = self._run(name, rng)
        except Exception as exc:
            outcome = Outcome(name, '%s: %s' % (
                type(exc).__name__, ' '.join(str(exc).split())[:300]))
        self._repair(outcome)
        return dataclasses.replace(outcome, details='%s; %.0f s' % (
            outcome.details, time.monotonic() - started))

    def _run(self, name, rng):
        fault = (faults.FAULTS | faults.SLOW_FAULTS)[name]
        self._subject.prepare()
        server = self._subject.server
        before_mb = server.fresh.flavor['ram']
        attempt = faults.Attempt(
            self._machine, server, before_mb + self._step_mb(fault, rng), rng)
        try:
            fault.inject(attempt)
        except AssertionError:
            # It does not come to a point after that either.
            if not self._is_kept(attempt, before_mb):
                raise
        self._machine.start()
        attempt.join()
        return self._judge(name, fault, attempt, before_mb)

    def _step_mb(self, fault, rng):
        """Choose what a server is to get, or to give back: its last DIMM, or
        any part of what its virtio-mem has.
        """
        memory = self._subject.server.memory()
        step_mb = rng.choice(STEPS_MB)
        most_mb = memory['current_mb'] - memory['min_mb']
        if (not most_mb or fault.is_of_growth or
                rng.random() >= SHRINKING):
            return step_mb
        if self._subject.has_dimms:
            return -memory['devices'][-1]['size_mb']
        return -min(step_mb, most_mb)

    def _judge(self, name, fault, attempt, before_mb):
        self._subject.wait_idle()
        reading, seconds, late = self._subject.wait_agreement()
        details = '%d -> %d, answer %s, agreed on %d after %.0f s%s' % (
            before_mb, attempt.wanted_mb, attempt.answer, reading.total,
            seconds, late and ' (late: %s)' % ', '.join(late) or '')
        if reading.differences():
            return Outcome(name, 'differs after the fault: %s' % reading,
                           details=details)
        ended = {before_mb: 'old', attempt.wanted_mb: 'new'}.get(
            reading.total, 'other')
        done = self._subject.make_usable(self._machine)
        fault.repair(attempt)
        if self._has_folded(attempt):
            return Outcome(name, '', ended, '%s, %s, nothing to give back' % (
                details, done))
        problem = self._repeat(attempt, before_mb)
        return Outcome(name, problem, ended, ', '.join(
            filter(None, (details, done, 'then %d' % attempt.wanted_mb))))

    def _has_folded(self, attempt):
        """Tell whether the guest was started anew with what it was to give
        back, which is boot memory now.
        """
        return attempt.wanted_mb < self._subject.server.memory()['min_mb']

    def _is_kept(self, attempt, before_mb):
        """Tell whether the guest has use for what it was to give back."""
        last = self._subject.server.memory()['last_resize'] or {}
        return (attempt.wanted_mb < before_mb and
                'guest keeps memory' in (last.get('message') or ''))

    def _repeat(self, attempt, before_mb):
        """Ask for the same again.

        :returns: what is wrong; '' if nothing is
        """
        answer = attempt.server.resize(attempt.wanted_mb)
        if answer.status_code != 202:
            return 'the same again: %d %s' % (
                answer.status_code, ' '.join(answer.text.split()))
        self._subject.wait_idle()
        reading, _seconds, _late = self._subject.wait_agreement()
        total_mb = (before_mb if self._is_kept(attempt, before_mb)
                    else attempt.wanted_mb)
        if reading.differences() or reading.total != total_mb:
            return 'differs after the same again: %s' % reading
        self._subject.wait_memory(total_mb)
        return ''

    def _repair(self, outcome):
        """Have everything run; a server that is not right goes."""
        pauses.clear(self._machine.points_folder)
        self._machine.start()
        if not outcome.is_ok:
            self._subject.delete()


def clean(machine):
    """Put back what a fault has changed, and what a killed run has left.

    :param machine: the ``machine.Machine``
    """
    pauses.clear(machine.points_folder)
    for service in (machine_mod.CONDUCTOR, machine_mod.PLACEMENT):
        machine.thaw(service)
    machine.prepare()
    subject_mod.sweep()
