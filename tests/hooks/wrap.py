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

"""Wrap functions of modules when these are imported.

It imports the standard library alone: it is loaded before anything else.
"""

import collections
from collections.abc import Callable, Iterable, Mapping
import importlib.abc
import importlib.machinery
import os
import sys
import types
import typing as ty

Function = Callable[..., ty.Any]
Decorator = Callable[[Function], Function]


class Missing(Exception):
    """There is no function of a name."""


def install(functions: Mapping[str, Decorator]) -> None:
    """Wrap functions, of modules that nobody has imported yet.

    A function that its module has not ends the process when the module is
    imported. An exception would not do: whoever imports may catch it, or may
    be a thread.

    :param functions: what to put around each, by "module:qualified.name"
    :raises Missing: if there is no such module, or it is imported already
    """
    finder = _Finder(functions)
    finder.check()
    sys.meta_path.insert(0, finder)


def stop(sentence: str) -> ty.NoReturn:
    """End this process at once.

    :param sentence: why
    """
    os.write(2, ('%s\n' % sentence).encode())
    os._exit(1)


def find(name: str, module: types.ModuleType) -> tuple[ty.Any, str]:
    """Find what has a function.

    :param name: "module:qualified.name"
    :param module: the module
    :returns: the class or the module, and the name of its attribute
    :raises Missing: if there is no such function
    """
    *path, attribute = name.partition(':')[2].split('.')
    owner: ty.Any = module
    for part in path:
        owner = vars(owner).get(part)
        if not isinstance(owner, type):
            raise Missing('There is no function %s to wrap.' % name)
    # Not one that is inherited: that is another class's.
    if not isinstance(vars(owner).get(attribute), types.FunctionType):
        raise Missing('There is no function %s to wrap.' % name)
    return owner, attribute


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules as ever, and has them wrapped once they are there.

    :param functions: as of ``install``
    """

    def __init__(self, functions: Mapping[str, Decorator]) -> None:
        self._functions: dict[str, dict[str, Decorator]] = (
            collections.defaultdict(dict))
        for name, decorator in functions.items():
            self._functions[name.partition(':')[0]][name] = decorator

    def check(self) -> None:
        """Check that each module is there, and not imported.

        :raises Missing: if it is not so
        """
        for module, functions in self._functions.items():
            if module in sys.modules:
                raise Missing('%s was imported before %s could be wrapped.'
                              % (module, ', '.join(functions)))
            if not _exists(module):
                raise Missing('There is no module %s to wrap %s in.'
                              % (module, ', '.join(functions)))

    def find_spec(
        self, fullname: str, path: ty.Any = None, target: ty.Any = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a module, if it has functions that are to be wrapped."""
        if fullname not in self._functions:
            return None
        spec = importlib.machinery.PathFinder.find_spec(
            fullname, path, target)
        if spec is not None and spec.loader is not None:
            # This loader is for this module alone. All else that it can do
            # stays.
            execute = spec.loader.exec_module

            def exec_module(module: types.ModuleType) -> None:
                execute(module)
                self._wrap(module)

            spec.loader.exec_module = exec_module  # type: ignore
        return spec

    def _wrap(self, module: types.ModuleType) -> None:
        for name, decorator in self._functions[module.__name__].items():
            try:
                owner, attribute = find(name, module)
            except Missing as exc:
                stop(str(exc))
            setattr(owner, attribute, decorator(vars(owner)[attribute]))


def _exists(module: str) -> bool:
    """Tell whether there is a module; imports nothing, its package neither."""
    path: Iterable[str] | None = None
    name = ''
    for part in module.split('.'):
        name = '%s.%s' % (name, part) if name else part
        spec = importlib.machinery.PathFinder.find_spec(
            name, path)  # type: ignore
        if spec is None:
            return False
        path = spec.submodule_search_locations or []
    return True
