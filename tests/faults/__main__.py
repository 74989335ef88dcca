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

"""Inject faults into resizes on the sandbox that runs.

    python -m tests.faults [--rounds N] [--seed S] [--only FAULT]...
"""

import argparse
import collections
import random
import signal
import sys

from tests.faults import books as books_mod
from tests.faults import faults
from tests.faults import machine as machine_mod
from tests.faults import rounds
from tests.faults import subject as subject_mod

LINE = '%-31s %5s %5s %8s  %s'


def main():
    """Run the command.

    :returns: the exit code
    """
    args = _parser().parse_args()
    seed = random.randrange(10**6) if args.seed is None else args.seed
    print('seed %d' % seed, flush=True)
    # An ordinary end, so that what must be put back is put back.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    names = args.only or sorted(
        faults.FAULTS | (faults.SLOW_FAULTS if args.slow else {}))
    chosen = rounds.deck(names, args.rounds or len(names), seed)
    try:
        machine = machine_mod.Machine()
    except machine_mod.SandboxError as exc:
        sys.exit('faults: %s' % exc)
    rounds.clean(machine)
    subject_mod.wait_alone(machine.host)
    subject = subject_mod.Subject(
        books_mod.Books(machine), args.flavor or subject_mod.FLAVORS)
    try:
        outcomes = _run(
            rounds.Runner(machine, subject, seed), chosen, seed)
    finally:
        rounds.clean(machine)
    return _report(outcomes)


def _parser():
    parser = argparse.ArgumentParser(
        prog='tests.faults', description='Inject faults into resizes.')
    parser.add_argument('--rounds', type=int, metavar='N',
                        help='default: each fault once')
    parser.add_argument('--seed', type=int, metavar='S')
    parser.add_argument(
        '--only', action='append', metavar='FAULT',
        choices=sorted(faults.FAULTS | faults.SLOW_FAULTS),
        help='only this fault; may be repeated')
    parser.add_argument(
        '--flavor', action='append', choices=subject_mod.FLAVORS,
        help='only servers of this flavor; may be repeated')
    parser.add_argument('--slow', action='store_true',
                        help='also the faults that take minutes')
    return parser


def _run(runner, chosen, seed):
    outcomes = []
    for number, name in enumerate(chosen, start=1):
        outcome = runner.run(number, name)
        outcomes.append(outcome)
        print('round %d seed %d fault %s outcome %s %s %s' % (
            number, seed, name, 'ok' if outcome.is_ok else 'DIFFERS',
            outcome.details, outcome.problem), flush=True)
    return outcomes


def _report(outcomes):
    """Print the table and the closing line.

    :returns: the exit code
    """
    print(LINE % ('fault', 'ok', 'wrong', 'rounds', 'ended with'))
    for name in sorted({outcome.fault for outcome in outcomes}):
        mine = [one for one in outcomes if one.fault == name]
        passed = sum(one.is_ok for one in mine)
        ended = collections.Counter(one.ended for one in mine if one.ended)
        print(LINE % (
            name, passed, len(mine) - passed, len(mine),
            ', '.join('%s total (%d)' % pair
                      for pair in sorted(ended.items()))))
    failed = sum(not outcome.is_ok for outcome in outcomes)
    print('%d passed, %d failed' % (len(outcomes) - failed, failed))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
