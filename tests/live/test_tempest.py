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


"""The tests of the Tempest plugin, found as Tempest finds them."""

import unittest

from tempest.test_discover import plugins


def load_tests(loader, tests, pattern):
    """Load the tests of all plugins of Tempest that are installed."""
    found = plugins.TempestTestPluginManager().get_plugin_load_tests_tuple()
    return unittest.TestSuite(
        # That of the caller remembers which folder it has begun with.
        unittest.TestLoader().discover(folder, top_level_dir=top)
        for folder, top in found.values())
