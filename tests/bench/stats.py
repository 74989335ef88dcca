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

"""Numbers made of samples. Nothing here knows what was measured."""

import dataclasses
import math
import statistics

P95 = 0.95


@dataclasses.dataclass(frozen=True)
class Summary:
    """What is printed of some samples.

    :param n: how many there are
    :param median: in the unit of the samples
    :param p95: the smallest sample that 95 % of them do not exceed
    """

    n: int
    median: float
    p95: float

    @classmethod
    def of(cls, samples) -> 'Summary':
        """Summarize.

        :param samples: numbers, at least one
        """
        samples = sorted(samples)
        rank = max(1, math.ceil(P95 * len(samples)))
        return cls(len(samples), statistics.median(samples),
                   samples[rank - 1])


def median(samples):
    """Return the median; None of nothing."""
    samples = list(samples)
    return statistics.median(samples) if samples else None


def ratio(numerator, denominator):
    """Divide; None where one is not known, or the other is 0."""
    if numerator is None or not denominator:
        return None
    return numerator / denominator


def drift(points):
    """Say by how much something changes from the first to the last.

    A straight line is laid through all points, since the samples at both ends
    alone would be few.

    :param points: pairs (where, sample)
    :returns: the line's value at the last place, divided by that at the
        first: 1.0 is flat; None if it cannot be said
    """
    points = list(points)
    places = [x for x, _y in points]
    if len(set(places)) < 2:
        return None
    slope, intercept = statistics.linear_regression(
        places, [y for _x, y in points])
    return ratio(slope * max(places) + intercept,
                 slope * min(places) + intercept)


def by(pairs):
    """Gather samples by a key.

    :param pairs: pairs (key, sample)
    :returns: {key: [sample, ...]}, keys in the order in which they came
    """
    gathered = {}
    for key, sample in pairs:
        gathered.setdefault(key, []).append(sample)
    return gathered


def longest_gap(times, start, end):
    """Find the longest time in which nothing came.

    :param times: when something came, ascending
    :param start: of the time that counts
    :param end: of it
    :returns: the longest of all gaps that overlap with that time, in full;
        None if nothing came before or behind it
    """
    before = [time for time in times if time <= start]
    behind = [time for time in times if time >= end]
    if not before or not behind:
        return None
    inside = [time for time in times if start < time < end]
    edges = [before[-1], *inside, behind[0]]
    return max(later - earlier for earlier, later in zip(edges, edges[1:]))
