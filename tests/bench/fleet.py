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

"""Many servers: the start of a service, and the audit.

No sandbox has so many. Nova's functional fixtures run its services in one
process, with SQLite, a real placement and a fake libvirt (``fleet_case``), in
a process of its own. So the seconds are those of one Python process that does
the work of all; what tells more are the counts.
"""

import json
import os
import subprocess
import sys
import tempfile

from tests.bench import surroundings

#: Hosts of the deployment, and seconds that its audit may take.
QUICK, FULL = (10, 60), (100, 1800)
TIMEOUT = 3600
#: Nova decides about its threads before anything else is imported.
START = ('import sys, tests.functional; from tests.bench import fleet_case; '
         'sys.exit(fleet_case.main())')


def measure(bed):
    """Measure in a process of its own.

    :param bed: the ``bed.Bed``, for its plan alone
    :returns: the rows of the report: what, value, more and limit
    """
    servers = bed.plan.fleet
    hosts, longest = FULL if bed.plan.is_full else QUICK
    with tempfile.NamedTemporaryFile('r', suffix='.json') as answer:
        subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', START, '--servers',
             str(servers), '--hosts', str(hosts), '--longest', str(longest),
             '--json', answer.name], check=True, timeout=TIMEOUT,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd=surroundings.CHECKOUT, env={
                **os.environ, 'OS_NOVA_DISABLE_EVENTLET_PATCHING': 'true'})
        return rows(json.load(answer))


def rows(found):
    """Say what was found in the way of the report.

    :param found: what ``fleet_case`` has written
    """
    servers, ours, stock = found['servers'], found['ours'], found['stock']
    of_start = 'service start with %d servers: ' % servers
    result = [
        {'what': of_start + what + ' beyond stock Nova',
         'value': ours[name] - stock[name],
         'more': 'ours %d, stock Nova %d' % (
             ours[name], stock[name]), 'limit': limit}
        for name, what, limit in (
            ('conductor', 'conductor calls', servers / 100),
            ('placement', 'placement requests', 10),
            ('dumps', 'XML dumps', None))]
    result.append({
        'what': of_start + 'seconds beyond stock Nova', 'digits': 1,
        'value': ours['seconds'] - stock['seconds'],
        'more': 'ours %.1f, stock Nova %.1f' % (
            ours['seconds'], stock['seconds'])})
    for audit in found['audits']:
        result.append({
            'what': 'audit of %d servers on %d hosts: seconds' % (
                audit['compared'], audit['hosts']),
            'value': audit['seconds'], 'digits': 1,
            'more': _more(audit)})
    return result


def _more(audit):
    if audit['seconds'] is None:
        return 'not made: it would take about %.0f s' % audit['expected']
    return '%d placement requests, %d calls of hosts, %d differences' % (
        audit['placement'], audit['calls'], audit['differences'])
