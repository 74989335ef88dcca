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

"""Python runs this in each process that has its folder in ``PYTHONPATH``.

See ``tests/hooks``. Nothing else may be in this folder: it would be found
before what has the same name elsewhere.
"""

import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
_HOOK = os.environ.get('MEMHOTPLUG_HOOK')
_FOLDER = os.environ.get('MEMHOTPLUG_HOOK_FOLDER')


def _run(spec):
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _run_file(name, path):
    return _run(importlib.util.spec_from_file_location(name, path))


def _run_other():
    """Run the one that Python would have run without us."""
    path = [folder for folder in sys.path
            if os.path.abspath(folder) != _HERE]
    spec = importlib.machinery.PathFinder.find_spec('sitecustomize', path)
    if spec is not None and spec.loader is not None:
        _run(spec)


def _install():
    wrap = _run_file('memhotplug_hooks_wrap', os.path.join(
        os.path.dirname(_HERE), 'wrap.py'))
    try:
        plug = _run_file('memhotplug_hooks_plug', _HOOK)
        wrap.install(plug.functions(_FOLDER))
    except Exception as exc:
        # Python would go on without us.
        wrap.stop('%s: %s: %s' % (_HOOK, type(exc).__name__, exc))


if _HOOK and _FOLDER:
    _install()
_run_other()
