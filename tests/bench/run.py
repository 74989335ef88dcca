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

"""Measure everything, one part after the other."""

import sys
import time
import traceback

from tests.bench import bed as beds
from tests.bench import clients
from tests.bench import cold
from tests.bench import crowd
from tests.bench import fleet
from tests.bench import growth
from tests.bench import hypervisor
from tests.bench import instrument
from tests.bench import points
from tests.bench import reads
from tests.bench import stage
from tests.bench import surroundings
from tests.bench import ticker
from tests.faults import machine


def _growth(bed):
    return {arch: {kind: growth.measure(bed, arch, kind)
                   for kind in points.KINDS} for arch in stage.ARCHS}


def _of_each(measure):
    return lambda bed: {arch: measure(bed, arch) for arch in stage.ARCHS}


#: The parts, in the order in which they are measured.
PARTS = {
    'growth': _growth,
    'ticker': _of_each(ticker.measure),
    'cold': _of_each(cold.measure),
    'sizes': _of_each(growth.measure_sizes),
    'reads': reads.measure,
    'clients': clients.measure,
    'crowd': crowd.measure,
    'fleet': fleet.measure,
}


def say(words):
    """Tell how far it is."""
    print(words, file=sys.stderr, flush=True)


def measure(quick, only=(), keep=lambda result: None):
    """Measure on the sandbox that runs; leave it as it was.

    A part that fails does not keep the others from being measured.

    :param quick: whether fewer samples do
    :param only: names of ``PARTS``; none for all
    :param keep: is given what there is of the result after each part
    :returns: the result, with ``problems``: what failed
    """
    hypervisor.start_events()
    sandbox = machine.Machine()
    tool = instrument.Instrument(sandbox)
    with tool.installed() as folder:
        bed = beds.Bed(beds.QUICK if quick else beds.FULL, folder, sandbox)
        bed.stage.clean()
        bed.stage.lift_quota()
        try:
            result = {**_describe(bed), 'quick': quick, 'problems': []}
            for name in only or PARTS:
                _measure_part(bed, name, result)
                keep(result)
        finally:
            bed.stage.clean()
    return result


def _describe(bed):
    flavor = bed.stage.flavor('first')
    (server,) = bed.stage.boot('first', flavor=flavor)
    console = server.console()
    bed.stage.delete(server)
    return surroundings.describe(
        bed.hypervisor.versions(), console, bed.machine.settings.plugin)


def _measure_part(bed, name, result):
    started = time.monotonic()
    try:
        result[name] = PARTS[name](bed)
    except Exception as exc:
        traceback.print_exc()
        result['problems'].append('%s: %s' % (name, exc))
    say('%s took %.0f s' % (name, time.monotonic() - started))


def clean():
    """Remove what a run has left behind that was killed."""
    stage.Stage().clean()
    instrument.Instrument(machine.Machine()).remove()
