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


"""Functions of a process that are wrapped from outside of it."""

import os
import pathlib
import subprocess
import sys
import textwrap

import fixtures
import testtools

from tests import hooks

SITE = pathlib.Path(hooks.__file__).parent / 'site'
TOY = """
    class Plane:
        def fly(self, where):
            print('fly', where)
            return where

        @staticmethod
        def crash():
            pass

    class Glider(Plane):
        pass

    def land():
        print('land')
"""
PLUG = """
    import functools
    import os

    def _around(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            print('before', function.__name__, folder_name)
            return function(*args, **kwargs)
        return wrapper

    def functions(folder):
        global folder_name
        folder_name = os.path.basename(folder)
        return {'toys.plane:' + name: _around for name in %r}
"""


class HooksTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.useFixture(fixtures.TempDir()).path)
        (self.folder / 'toys').mkdir()
        self.write('toys/__init__.py', 'print("toys")')
        self.write('toys/plane.py', TOY)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(textwrap.dedent(text))
        return path

    def plug(self, *names):
        """Write a plug that wraps functions of the toy."""
        return self.write('plug.py', PLUG % (names,))

    def run_python(self, script, plug=None, folder='pipes', **environ):
        """Run a script in a process that has the toy and the hooks."""
        environ['PYTHONPATH'] = os.pathsep.join(
            [str(SITE), str(self.folder)])
        if plug is not None:
            environ['MEMHOTPLUG_HOOK'] = str(plug)
        if folder is not None:
            environ['MEMHOTPLUG_HOOK_FOLDER'] = str(self.folder / folder)
        return subprocess.run(
            [sys.executable, '-c', textwrap.dedent(script)], text=True,
            capture_output=True, env=environ, cwd='/')

    def assert_prints(self, lines, *args, **kwargs):
        done = self.run_python(*args, **kwargs)
        self.assertEqual((0, ''), (done.returncode, done.stderr))
        self.assertEqual(lines, done.stdout.splitlines())

    def assert_ends(self, sentence, *args, **kwargs):
        """The process ends with one line."""
        done = self.run_python(*args, **kwargs)
        self.assertEqual((1, [sentence]), (
            done.returncode, done.stderr.splitlines()))

    def test_method(self):
        self.assert_prints(
            ['toys', 'before fly pipes', 'fly home', 'home', 'land'], """
            from toys import plane
            print(plane.Plane().fly('home'))
            plane.land()
            """, self.plug('Plane.fly'))

    def test_function(self):
        self.assert_prints(
            ['toys', 'before land pipes', 'land'],
            'from toys.plane import land; land()', self.plug('land'))

    def test_in_a_thread(self):
        self.assert_prints(
            ['toys', 'before land pipes', 'land'], """
            import threading
            def work():
                from toys import plane
                plane.land()
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            """, self.plug('land'))

    def test_the_module_stays_as_it_is(self):
        self.assert_prints(
            ['toys', 'fly plane.py', '    def fly(self, where):'], """
            import inspect, os
            from toys import plane
            print(plane.Plane.fly.__name__, os.path.basename(plane.__file__))
            print(inspect.getsource(plane.Plane.fly).splitlines()[0])
            """, self.plug('Plane.fly'))

    def test_nothing_is_imported_for_it(self):
        self.assert_prints([], 'pass', self.plug('Plane.fly'))

    def test_inert_without_a_plug_or_a_folder(self):
        plug = self.plug('no_such_function')
        for plug, folder in ((None, None), (None, 'pipes'), (plug, None)):
            self.assert_prints(
                ['toys', 'land'], 'from toys import plane; plane.land()',
                plug, folder)

    def test_another_sitecustomize_runs(self):
        self.write('sitecustomize.py', 'print("other", __name__)')
        script = 'import sitecustomize; print(sitecustomize.__file__)'
        expected = ['other sitecustomize',
                    str(self.folder / 'sitecustomize.py')]
        self.assert_prints(expected, script)
        self.assert_prints(expected, script, self.plug('land'))

    def test_function_that_is_gone(self):
        for name in ('no_such', 'Plane.no_such', 'NoSuch.fly', 'land.fly'):
            self.assert_ends(
                'There is no function toys.plane:%s to wrap.' % name,
                'from toys import plane', self.plug('land', name))

    def test_function_that_is_elsewhere(self):
        """It would be wrapped, and not be what the class itself has."""
        for name in ('Glider.fly', 'Plane.crash'):
            self.assert_ends(
                'There is no function toys.plane:%s to wrap.' % name,
                'from toys import plane', self.plug(name))

    def test_function_that_is_gone_is_not_overlooked(self):
        """Whoever imports catches everything, in a thread."""
        self.assert_ends(
            'There is no function toys.plane:no_such to wrap.', """
            import threading
            def work():
                try:
                    from toys import plane
                except BaseException:
                    pass
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            """, self.plug('no_such'))

    def test_module_that_is_gone(self):
        plug = self.plug('Plane.fly')
        (self.folder / 'toys' / 'plane.py').unlink()
        self.assert_ends(
            '%s: Missing: There is no module toys.plane to wrap '
            'toys.plane:Plane.fly in.' % plug, 'pass', plug)

    def test_plug_that_cannot_be_loaded(self):
        plug = self.write('plug.py', 'import no_such_module')
        self.assert_ends(
            "%s: ModuleNotFoundError: No module named 'no_such_module'"
            % plug, 'pass', plug)
