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

import threading

import testtools

from nova_memhotplug.compute import due


class DueListTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.due = due.DueList()

    def uuids(self):
        return list(self.due.entries())

    def test_all_at_first(self):
        self.assertIsNone(self.due.entries())
        # What was remembered meanwhile is not less.
        self.due.remember('b')
        self.assertIsNone(self.due.entries())
        self.due.fill(['a', 'b'])
        self.assertEqual(
            {'a': due.Entry(1, False), 'b': due.Entry(due.LOOKS, True)},
            self.due.entries())

    def test_stays_until_it_was_looked_at(self):
        self.due.fill(['a', 'b'])
        self.due.remember('b')
        self.due.looked_at('a')
        self.assertEqual(['b'], self.uuids())
        for _look in range(due.LOOKS):
            self.assertEqual(['b'], self.uuids())
            self.due.looked_at('b')
        self.assertEqual([], self.uuids())

    def test_failure_comes_last(self):
        self.due.fill(['a', 'b', 'c'])
        self.due.defer('a')
        self.assertEqual(['b', 'c', 'a'], self.uuids())

    def test_gone(self):
        self.due.fill(['a'])
        self.due.drop('a')
        self.due.drop('b')
        self.assertEqual([], self.uuids())

    def test_threads(self):
        """What is remembered while others are looked at is not lost."""
        self.due.fill(map(str, range(500)))
        start = threading.Barrier(3)

        def remember():
            start.wait()
            for number in range(1000, 1500):
                self.due.remember(str(number))

        def look():
            start.wait()
            for number in range(500):
                self.due.entries()
                self.due.looked_at(str(number))

        threads = [threading.Thread(target=work) for work in (
            remember, look)]
        for thread in threads:
            thread.start()
        start.wait()
        for thread in threads:
            thread.join()
        self.assertEqual(
            {str(number) for number in range(1000, 1500)},
            set(self.uuids()))


class BackOffTest(testtools.TestCase):

    def periods(self, back_off):
        """Count the periods that are left out."""
        count = 0
        while not back_off.is_over():
            count += 1
        return count

    def test_longer_and_longer(self):
        back_off = due.BackOff()
        self.assertEqual(0, self.periods(back_off))
        waited = []
        for _failure in range(7):
            back_off.failed()
            waited.append(self.periods(back_off))
        self.assertEqual([0, 1, 3, 7, 15, 15, 15], waited)
        back_off.succeeded()
        back_off.failed()
        self.assertEqual(0, self.periods(back_off))
