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

import dataclasses
import json

import ddt
import testtools

from nova_memhotplug.core import errors
from nova_memhotplug.core import observations
from tests.unit.core import test_planner

GUEST = dataclasses.replace(
    test_planner.GROWN, machine='pc-q35-10.0', is_amd=True,
    cells=test_planner.NUMA.cells)


def sent(seen):
    """What a host sends, as it arrives."""
    return json.loads(json.dumps(observations.to_document(seen)))


@ddt.ddt
class DocumentTest(testtools.TestCase):

    @ddt.data(
        observations.Observation(GUEST, 128, 'shim'),
        observations.Observation(
            GUEST, 2048, None, 512, observations.Answer(512, 1024, True),
            excluded=errors.ExcludedComposition(what='x', why='y'),
            offline_mb=128, told_at=1764316800))
    def test_there_and_back(self, seen):
        # Errors are not compared by what they say.
        self.assertEqual(
            repr(seen), repr(observations.from_document(sent(seen))))

    @ddt.data(
        # The guest has 512 MiB to boot with, and as much plugged.
        (None, {}), (1024, {'heard_mb': 128}),
        (None, {'heard_mb': 128, 'is_silent': True}),
        (1024, {'answer': observations.Answer(128, 512, True)}),
        (640, {'answer': observations.Answer(128, 640, False)}),
        # What it says makes no sense.
        (512, {'answer': observations.Answer(128, 0, False)}),
        (1024, {'answer': observations.Answer(128, 1 << 30, False)}))
    @ddt.unpack
    def test_used(self, expected, more):
        self.assertEqual(expected, observations.Observation(
            GUEST, 128, 'shim', **more).used_mb)

    def test_host_without_a_field(self):
        """It is of an earlier version: who reads it does without."""
        document = sent(observations.Observation(GUEST, 128, 'shim'))
        del document['guest']['machine'], document['guest']['is_amd']
        del document['offline_mb'], document['told_at']
        guest = observations.from_document(document).guest
        self.assertEqual(
            dataclasses.replace(GUEST, machine='', is_amd=None), guest)
        self.assertIsNone(guest.address_map)

    def test_host_with_more_fields(self):
        document = sent(observations.Observation(GUEST, 128, 'shim'))
        document['guest']['colour'] = document['colour'] = 'blue'
        self.assertEqual(
            GUEST, observations.from_document(document).guest)

    def test_another_version(self):
        document = sent(observations.Observation(GUEST, 128, 'shim'))
        self.assertIsNone(
            observations.from_document(document | {'version': 2}))
