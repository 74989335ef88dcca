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


"""The places where the fault tests stop a resize."""

import importlib
import pathlib
import subprocess
import sys
import textwrap
import threading

import fixtures
import testtools

from tests.faults import pauses
from tests.faults import points
from tests.hooks import wrap

SITE = pathlib.Path(wrap.__file__).parent / 'site'


class TableTest(testtools.TestCase):

    def test_all_are_in_the_product(self):
        for name in points.functions('nowhere'):
            module = importlib.import_module(name.partition(':')[0])
            wrap.find(name, module)

    def test_callers_are_in_the_product(self):
        for place in points.POINTS.values():
            self.assertIsNotNone(
                importlib.util.find_spec(place.caller), place)


class ReachTest(testtools.TestCase):
    """Only where the right module calls."""

    def wrapped(self, point, function):
        """Wrap a function as that of a point is."""
        place = points.POINTS[point]
        seen = []
        wrapper = points.reaching(seen.append)[place.function](function)
        return wrapper, place, seen

    @staticmethod
    def call_from(module, function):
        """Call a function from a module of this name."""
        return eval('call()', {'__name__': module, 'call': function})

    def test_order(self):
        for point in points.POINTS:
            wrapper, place, seen = self.wrapped(
                point, lambda: seen.append('function'))
            self.call_from(place.caller, wrapper)
            is_before = place.when == points.BEFORE
            self.assertTrue(
                seen.index(point) < seen.index('function')
                if is_before else
                seen.index(point) > seen.index('function'), seen)

    def test_another_caller(self):
        wrapper, _place, seen = self.wrapped(
            points.BEFORE_COMMIT, lambda: 'done')
        self.assertEqual('done', self.call_from(
            'nova_memhotplug.compute.reconcile', wrapper))
        self.assertEqual([], seen)

    def test_failure(self):
        """What is after a function is not reached if that fails."""
        def fail():
            raise ValueError('what')

        wrapper, place, seen = self.wrapped(points.AFTER_COMMIT, fail)
        self.assertRaises(
            ValueError, self.call_from, place.caller, wrapper)
        self.assertNotIn(points.AFTER_COMMIT, seen)


class StopTest(testtools.TestCase):
    """A process stops where it is told to, once."""

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.useFixture(fixtures.TempDir()).path)
        self.pipes = self.folder / 'pipes'
        self.pipes.mkdir()
        for name in {name for place in points.POINTS.values()
                     for name in (place.function.partition(':')[0],
                                  place.caller)}:
            self.make_module(name)
        cast = points.POINTS[points.BEFORE_CAST]
        self.caller = cast.caller
        module, _, name = cast.function.partition(':')
        self.write(module, """
            class %s:
                def %s(self):
                    print('cast', flush=True)
            """ % tuple(name.split('.')))
        self.write(self.caller, 'import %s as called\n'
                   'def run(): called.%s(called.%s())' % (
                       module, name, name.split('.')[0]))

    def make_module(self, name):
        path = self.folder
        for part in name.split('.')[:-1]:
            path /= part
            path.mkdir(exist_ok=True)
            (path / '__init__.py').touch()
        (path / ('%s.py' % name.split('.')[-1])).touch()

    def write(self, module, text):
        (self.folder / ('%s.py' % module.replace('.', '/'))).write_text(
            textwrap.dedent(text))

    def start(self):
        process = subprocess.Popen(
            [sys.executable, '-c', 'import %s as caller; caller.run(); '
             'caller.run()' % self.caller], text=True, cwd='/',
            stdout=subprocess.PIPE, env={
                'PYTHONPATH': '%s:%s' % (SITE, self.folder),
                'MEMHOTPLUG_HOOK': points.__file__,
                'MEMHOTPLUG_HOOK_FOLDER': str(self.pipes)})
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_not_armed(self):
        self.assertEqual('cast\ncast\n', self.start().communicate()[0])

    def test_stops_once(self):
        with pauses.armed(self.pipes, points.BEFORE_CAST) as pause:
            process = self.start()
            lines = []
            reader = threading.Thread(
                target=lambda: lines.extend(process.stdout))
            reader.start()
            pause.wait()
            self.assertEqual([], lines)
            pause.release()
            reader.join()
        self.assertEqual(['cast\n', 'cast\n'], lines)
        self.assertEqual(0, process.wait())
        self.assertEqual([], list(self.pipes.iterdir()))
