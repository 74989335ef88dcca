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


"""The samples of the API reference are what the Tempest plugin expects."""

import json
import pathlib

import jsonschema
import testtools

from nova_memhotplug_tempest_plugin.schemas import server_memory as schema

SAMPLES = (pathlib.Path(__file__).resolve().parents[3] /
           'doc' / 'api_samples' / 'os-memory')


class SchemasTestCase(testtools.TestCase):

    def _check(self, pattern, expected):
        samples = list(SAMPLES.glob(pattern))
        self.assertNotEqual([], samples)
        for sample in samples:
            jsonschema.validate(
                json.loads(sample.read_text()), expected['response_body'])

    def test_show(self):
        self._check('memory-*-resp.json', schema.show)

    def test_resize(self):
        self._check('resize-memory-resp.json', schema.resize)
        self._check('resize-memory-again-resp.json', schema.resize)
        self.assertRaises(
            jsonschema.ValidationError, self._check,
            'resize-memory-refused-resp.json', schema.resize)
