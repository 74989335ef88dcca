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

import testtools

from nova_memhotplug.core import errors
from tests import documentation


def _all(kind=errors.MemoryHotplugError):
    for child in kind.__subclasses__():
        yield child
        yield from _all(child)


def _rows(page):
    for table in documentation.tables(page):
        yield from table


class ErrorsTest(testtools.TestCase):

    def test_codes_are_unique_and_found(self):
        # What has none of its own is told by that of its base.
        kinds = [kind for kind in _all() if 'code' in vars(kind)]
        self.assertEqual(len(kinds), len({kind.code for kind in kinds}))
        for kind in kinds:
            self.assertIs(kind, errors.by_code(kind.code))
        self.assertIsNone(errors.by_code('nonsense'))

    def test_pages_have_all_codes(self):
        """What it means, and what to do about it."""
        bases = {errors.MemoryHotplugError.code, errors.Refused.code}
        codes = sorted({kind.code for kind in _all()} - bases)
        self.assertEqual(codes, sorted(
            row[0] for row in _rows('admin/troubleshooting')))
        self.assertEqual(set(codes), {
            row[0] for row in _rows('user/refusals')})

    def test_facts_are_attributes(self):
        exc = errors.AboveCeiling(wanted_mb=5, max_mb=4, reach='')
        self.assertEqual((5, 4), (exc.wanted_mb, exc.max_mb))
        self.assertRaises(AttributeError, getattr, exc, 'used')
