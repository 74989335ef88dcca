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

"""Do something around functions of the services, from outside of them.

``site/sitecustomize.py`` loads a *plug* into each process that has

* ``PYTHONPATH`` with the folder ``site``, and nothing else of this checkout,
* ``MEMHOTPLUG_HOOK``, the file of the plug,
* ``MEMHOTPLUG_HOOK_FOLDER``, a folder that is the plug's own.

The sandbox sets them for Nova's services and for Placement if
``SANDBOX_HOOK`` names a plug. A plug is a Python file with a function
``functions(folder)``; it returns ``{"module:qualified.name": decorator}``. It
imports the standard library alone, since it is loaded before anything else.
"""
