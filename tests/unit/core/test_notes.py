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
import dataclasses
import json

import ddt
import hypothesis
from hypothesis import strategies as st
import testtools

from nova_memhotplug.core import device
from nova_memhotplug.core import domain
from nova_memhotplug.core import memory_spec
from nova_memhotplug.core import notes
from nova_memhotplug.core import observations
from nova_memhotplug.core import planner
from nova_memhotplug.models import dimm

MIB = 1024
MODEL = dimm.DimmModel()
SPEC = memory_spec.MemorySpec(4096, 8, True, 'dimm')
GUEST = domain.GuestMemory(
    arch='x86_64', emulator='/usr/bin/qemu', boot_kib=512 * MIB,
    max_kib=4096 * MIB, slots=8, page_kib=0, has_agent=True, devices=(),
    cells=(domain.Cell(0, 512 * MIB, True), domain.Cell(1, 0, False)))
#: The largest guest of today: every number has all its digits.
LARGE = dataclasses.replace(
    GUEST, boot_kib=4 * MIB ** 3, max_kib=12 * MIB ** 3, slots=255,
    page_kib=MIB ** 2)
FOLDED = dataclasses.replace(
    GUEST, boot_kib=4096 * MIB, max_kib=None, slots=0)
CELLLESS = dataclasses.replace(GUEST, cells=())
EXISTING = dataclasses.replace(GUEST, cells=GUEST.cells[:1])
TINY = dataclasses.replace(GUEST, cells=(
    domain.Cell(0, 511 * MIB, True), domain.Cell(1, MIB, False)))
TWO_EXISTING = dataclasses.replace(GUEST, cells=(
    domain.Cell(0, 256 * MIB, True), domain.Cell(1, 256 * MIB, True)))
THREE = dataclasses.replace(GUEST, cells=(
    domain.Cell(0, 256 * MIB, True), domain.Cell(1, 256 * MIB, True),
    domain.Cell(2, 0, False)))


def dimms(*sizes_mb, node=1):
    base = 4 << 30
    for slot, size_mb in enumerate(sizes_mb):
        yield device.MemoryDevice(
            'dimm', size_mb, node, slot, 'ua-memhotplug-%d' % slot, base)
        base += size_mb << 20


def grown(*sizes_mb, guest=GUEST):
    return dataclasses.replace(guest, devices=tuple(dimms(*sizes_mb)))


def plans(note, wanted_mb):
    """Say all that plans look at, and plan."""
    guest = note.guest
    return (
        guest.boot_mb, guest.present_mb, guest.max_mb, guest.slots,
        guest.used_slots, guest.reserved_cell and guest.reserved_cell.id,
        [(dev.model, dev.size_mb, dev.node, dev.slot)
         for dev in guest.devices],
        planner.total_step_mb(guest, note.step_mb), note.strategy,
        words(planner.outlook(note, SPEC, wanted_mb, MODEL)),
        words(planner.next_step(note, SPEC, MODEL)))


def words(outlook):
    return (
        outlook.wanted_mb, [str(refusal) for refusal in outlook.against],
        [(change.device.model, change.device.node, change.delta_mb)
         for change in outlook.changes])


def written(guest, step_mb=128, strategy='shim', heard_mb=0):
    return notes.write(observations.Observation(
        guest, step_mb, strategy, heard_mb))


def text_of(**changes):
    """A good note with other fields, as JSON."""
    fields = json.loads(written(GUEST))
    fields |= changes
    return json.dumps(
        {key: value for key, value in fields.items() if value != 'gone'})


@ddt.ddt
class NotesTest(testtools.TestCase):

    @ddt.data(
        GUEST, LARGE, FOLDED, CELLLESS, EXISTING, TINY, TWO_EXISTING, THREE,
        grown(512), grown(512, 256, 128), grown(*[256] * 8),
        dataclasses.replace(
            GUEST, devices=tuple(dimms(512, 512, 512))[::2]),
        dataclasses.replace(GUEST, devices=(
            *dimms(512), device.MemoryDevice('virtio-mem', 1024, 1),
            device.MemoryDevice('nvdimm', 256, None, 4, is_ram=False))),
        dataclasses.replace(grown(512), arch='aarch64'),
        dataclasses.replace(GUEST, most_devices=0),
        dataclasses.replace(grown(512), most_devices=2))
    def test_same_plans(self, guest):
        """Whatever is asked, the answer is that of the guest itself.

        Who asks for less does not believe a note: which devices are ours,
        only the live domain tells.
        """
        note = observations.Observation(guest, 128, 'shim')
        text = notes.write(note)
        self.assertIsNotNone(text)
        self.assertLessEqual(len(text), notes.MAX_LENGTH)
        read = notes.read(text)
        for wanted_mb in (1, 512, 513, 640, 1024, 1280, 4096, 4224, 2 ** 31):
            if wanted_mb >= guest.present_mb:
                self.assertEqual(
                    plans(note, wanted_mb), plans(read, wanted_mb))
        self.assertEqual(text, notes.write(read))

    def test_empty_node(self):
        """Such a guest cannot grow, which no note says."""
        self.assertIsNone(written(dataclasses.replace(GUEST, cells=(
            domain.Cell(0, 512 * 1024, True), domain.Cell(1, 0, True),
            domain.Cell(2, 0, False)))))

    @ddt.data(0, 128, 2048)
    def test_step(self, step_mb):
        note = notes.read(written(GUEST, step_mb, None))
        self.assertEqual((step_mb, None), (note.step_mb, note.strategy))

    def test_devices_alike_take_one_place(self):
        guest = grown(*[128] * 255, guest=LARGE)
        text = written(guest, 128, 'native')
        read = notes.read(text).guest
        self.assertEqual((255, 0), (read.used_slots, read.free_slots))
        self.assertEqual(guest.present_mb, read.present_mb)

    def test_no_room_for_the_devices(self):
        sizes_mb = [128 * (1 + number) for number in range(30)]
        guest = grown(*sizes_mb, guest=LARGE)
        self.assertIsNone(written(guest))

    def test_an_address_that_matters(self):
        """A plan would name it, and it is not in the note."""
        guest = grown(64)
        self.assertTrue(list(planner.misaligned_devices(guest)))
        self.assertIsNone(written(guest))

    def test_alias_and_address_are_not_in_it(self):
        (dev,) = notes.read(notes.write(
            observations.Observation(grown(512), 128, 'shim'))).guest.devices
        self.assertEqual(
            device.MemoryDevice('dimm', 512, 1, slot=0), dev)

    @ddt.data(
        None, '', 'x', '{}', '[]', 'null', '1', '[' * 255, '"' + 'x' * 300,
        '{"v":1}', '{"v":NaN}', '9' * 255)
    def test_nonsense(self, text):
        self.assertIsNone(notes.read(text))

    def test_a_good_one(self):
        """What the next test changes is right before."""
        self.assertEqual(512, notes.read(text_of()).guest.present_mb)

    @ddt.data(
        {'v': 1}, {'v': 0}, {'v': '1'}, {'v': True}, {'v': 1.0},
        {'boot': 0}, {'boot': -512}, {'boot': '512'}, {'boot': 512.0},
        {'boot': True}, {'boot': None}, {'boot': 10 ** 18}, {'boot': []},
        {'max': -1}, {'max': 'x'}, {'slots': -1}, {'slots': 257},
        {'slots': None}, {'cells': -1}, {'cells': 'x'}, {'cells': 0},
        {'cells': None}, {'cells': 129}, {'cells': True},
        {'zero': 2}, {'zero': True}, {'page': None},
        {'step': None}, {'step': -128}, {'step': 'x'},
        {'ga': -1}, {'ga': 'x'}, {'ga': True}, {'ga': 'gone'},
        {'how': 'magic'}, {'how': 1}, {'how': ['shim']}, {'arch': ''},
        {'arch': 'x\n'}, {'arch': 1}, {'arch': '<b>'},
        {'dev': None}, {'dev': {}}, {'dev': 'x'}, {'dev': [1]},
        {'dev': [[0, 1, 512]]}, {'dev': [[0, 1, 512, 1, 'dimm', 1]]},
        {'dev': [[0, 0, 512, 1]]}, {'dev': [[0, 9, 512, 1]]},
        {'dev': [[0, 10 ** 15, 512, 1]]}, {'dev': [[-1, 1, 512, 1]]},
        {'dev': [[0, 1, -512, 1]]}, {'dev': [[0, 1, 64, 1]]},
        {'dev': [[0, 1, 512, 'x']]}, {'dev': [[0, 1, 512, 1, 2]]},
        {'dev': [[None, 256, 128, 1, 'a b']]},
        {'most': -1}, {'most': 257}, {'most': 'x'}, {'most': True},
        {'boot': 'gone'}, {'v': 'gone'}, {'dev': 'gone'}, {'more': 1})
    def test_broken(self, changes):
        self.assertIsNone(notes.read(text_of(**changes)))

    @hypothesis.given(st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=9) |
        st.integers(-2, 2 ** 70),
        lambda some: st.lists(some, max_size=5) |
        st.dictionaries(st.sampled_from(
            ['v', 'boot', 'dev', 'max', 'slots']), some)))
    def test_anything_in_a_field(self, value):
        for key in json.loads(text_of()):
            note = notes.read(text_of(**{key: value}))
            if note is not None:
                self.assertGreater(note.guest.present_mb, 0)

    @hypothesis.given(st.text(max_size=300))
    def test_any_text(self, text):
        self.assertIsNone(notes.read(text))
