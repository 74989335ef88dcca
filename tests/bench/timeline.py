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

"""Cut the time of one growth into the phases that it consists of."""

from tests.bench import points


def cut(sent, arrived, spans, online, end):
    """Cut the time from the request to its end, without a gap.

    The phases follow each other as their functions return. What happens
    between two of them is preparation of the later one, and counts with it;
    before the first one it is ``look``.

    :param sent: when the client sent the request
    :param arrived: when nova-compute began with it
    :param spans: what the functions of nova-compute took, as
        ``trace.Event``
    :param online: when the guest had the memory
    :param end: when all was done, the guest included
    :returns: {phase: time}, in the unit of the times; their sum is
        ``end - sent``
    """
    phases = dict.fromkeys(points.PHASES, 0)
    phases['api'] = arrived - sent
    now = arrived
    for index, span in enumerate(sorted(spans, key=lambda one: one.end)):
        if index == 0:
            begin = max(now, min(one.start for one in spans))
            phases['look'] += begin - now
            now = begin
        if span.end > now:
            phases[span.name] += span.end - now
            now = span.end
    if end > now:
        # What comes last is the guest's only if all else was over before.
        phases['guest' if online >= end else 'end'] += end - now
    return phases
