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

"""What the services have written, read again."""

import json
import os
import pathlib
import types

import fixtures
import testtools

from tests.bench import points
from tests.bench import recorder
from tests.bench import trace

SERVER = '11111111-2222-3333-4444-555555555555'
OTHER = '99999999-2222-3333-4444-555555555555'


def _event(kind='call', service='nova', name='', request='req-1', start=10,
           end=20, what=''):
    return trace.Event(service, kind, name, request, start, end, what)


class TestRecorder(testtools.TestCase):
    """What the plug writes is what the reader reads."""

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.useFixture(fixtures.TempDir()).path)
        self.useFixture(fixtures.EnvironmentVariable(
            'MEMHOTPLUG_SANDBOX_SERVICE', 'nova-compute-lv1'))
        self.reader = trace.Reader(self.folder)

    def wrapped(self, kind, function, phase=''):
        name = 'module:function'
        (self.folder / recorder.WANTED).write_text(
            json.dumps({name: [kind, phase]}))
        return recorder.functions(self.folder)[name](function)

    def test_span(self):
        context = types.SimpleNamespace(request_id='req-1')
        claim = self.wrapped('span', lambda this, context: 5, 'claim')
        self.assertEqual(5, claim(None, context))
        (event,) = self.reader.read()
        self.assertEqual(
            ('nova-compute-lv1', 'span', 'claim', 'req-1'),
            (event.service, event.kind, event.name, event.request))
        self.assertLessEqual(event.start, event.end)
        self.assertEqual([], self.reader.read())

    def test_one_that_fails(self):
        def attach(this, change):
            raise ValueError

        attach = self.wrapped('span', attach, 'attach')
        self.assertRaises(ValueError, attach, None, None)
        self.assertEqual(1, len(self.reader.read()))

    def test_call(self):
        client = types.SimpleNamespace(
            target=types.SimpleNamespace(topic='conductor'))
        call = self.wrapped('call', lambda *args, **kwargs: None)
        call(client, types.SimpleNamespace(
            request_id='req-2', global_request_id='req-1'),
            'object_class_action_versions', objname='Instance',
            objmethod='get_by_uuid')
        (event,) = self.reader.read()
        self.assertEqual(
            ('req-1', 'conductor object_class_action_versions Instance '
             'get_by_uuid'), (event.request, event.what))

    def test_placement(self):
        handler = self.wrapped('placement', lambda *args: [b''])
        handler(None, {
            'REQUEST_METHOD': 'GET', 'PATH_INFO': '/allocations/1',
            'HTTP_X_OPENSTACK_REQUEST_ID': 'req-1'}, None)
        (event,) = self.reader.read()
        self.assertEqual(('req-1', 'GET /allocations/1'),
                         (event.request, event.what))

    def test_half_a_line(self):
        """A line that is being written is read when it is there."""
        path = self.folder / 'nova-1.jsonl'
        line = json.dumps({
            'kind': 'sql', 'name': '', 'request': None, 'start': 1,
            'end': 2, 'what': 'SELECT'})
        path.write_text(line[:10])
        self.assertEqual([], self.reader.read())
        path.write_text(line + '\n')
        self.assertEqual(['nova'], [
            event.service for event in self.reader.read()])

    def test_folder_is_gone(self):
        """A service that outlives the benchmark does its work."""
        claim = self.wrapped('span', lambda this: 5, 'claim')
        for name in os.listdir(self.folder):
            (self.folder / name).unlink()
        self.folder.rmdir()
        self.assertEqual(5, claim(None))
        self.folder.mkdir()


class TestTrace(testtools.TestCase):

    def test_of_request(self):
        mine = [
            _event(),
            _event('dump', request=None, what=SERVER),
            _event('agent', request=None, what=SERVER + ' guest-info'),
            _event('placement', request=None),
            _event('sql', start=500),
        ]
        others = [
            _event(request='req-2'),
            _event(request=None),
            _event('dump', what=OTHER),
            _event('dump', request='req-2', what=SERVER),
            _event('dump', request=None, what=SERVER, start=500),
            _event('placement', request=None, start=500),
        ]
        self.assertEqual(mine, trace.of_request(
            mine + others, 'req-1', SERVER, 0, 100))

    def test_spans(self):
        events = [_event('span', name=points.ARRIVAL, start=5),
                  _event('span', name='claim'), _event('sql')]
        self.assertEqual((5, [events[1]]), trace.spans(events))
        self.assertEqual((None, []), trace.spans([]))

    def test_counts(self):
        compute = 'nova-compute-lv1'
        events = [
            _event('call', what='compute get_memory'),
            _event('cast', what='compute resize_memory'),
            _event('call', compute, what='conductor object_action'),
            _event('call', compute, what='conductor object_action'),
            _event('call', compute, what='scheduler select'),
            _event('dump', compute), _event('agent', compute),
            _event('placement', 'placement'),
            _event('sql', 'nova'), _event('sql', 'nova-conductor'),
        ]
        self.assertEqual(
            {'rpc': 1, 'dumps': 1, 'agent': 1, 'placement': 1,
             'conductor': 2, 'sql': 2}, trace.counts(events))
        self.assertEqual(trace.COUNTS.keys(), trace.counts([]).keys())


class TestPoints(testtools.TestCase):

    GOOD = {'claim': ('os.path:join',)}

    def test_first_that_fits(self):
        self.assertEqual(self.GOOD, points.layout((
            {'claim': ('os.path:jion',)}, self.GOOD,
            {'claim': ('os.path:split',)})))

    def test_missing_name_is_named(self):
        exc = self.assertRaises(points.NoLayout, points.layout, (
            {'claim': ('os.path:jion',)},
            {'claim': ('os.bath:join',)}))
        self.assertIn('os.path:jion', str(exc))
        self.assertIn('os.bath:join', str(exc))

    def test_fits_the_product(self):
        """A function of the product that is renamed is renamed there."""
        self.assertEqual(
            {points.ARRIVAL, 'claim', 'attach', 'guest', 'commit'},
            points.layout().keys())
