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

"""Which hosts can carry on which running guests, as a table."""

import dataclasses
import json

import testtools

from nova_memhotplug.core import domain
from nova_memhotplug.core import errors
from nova_memhotplug.core import strategies

QEMU = '/usr/bin/qemu-system-x86_64'
SHIM = '/usr/libexec/nova-memhotplug/qemu-system-x86_64'
OTHER_SHIM = '/opt/shim/qemu-system-x86_64'
ALL = ('native', 'shim', 'tiny', 'existing')

DOMAIN = """\
<domain>
  <maxMemory slots="8" unit="KiB">4194304</maxMemory>
  <memory unit="KiB">655360</memory>
  <os><type arch="x86_64">hvm</type></os>
  <cpu><numa>
    <cell id="0" cpus="0" memory="524288" unit="KiB"/>
    <cell id="1" memory="0" unit="KiB"/>
  </numa></cpu>
  <devices>
    <emulator>%s</emulator>
    <memory model="dimm">
      <target><size unit="KiB">131072</size><node>1</node></target>
      <alias name="ua-memhotplug-1"/>
      <address type="dimm" slot="0" base="0x100000000"/>
    </memory>
  </devices>
</domain>""" % SHIM


def _launch(emulator=SHIM, reserved_kib=0, can_grow=True, models=(),
            can_cross=False):
    return strategies.Launch(
        'x86_64', emulator, reserved_kib, can_grow, models,
        can_cross=can_cross)


NATIVE_GUEST = _launch(emulator=QEMU)
SHIM_GUEST = _launch()
TINY_GUEST = _launch(emulator=QEMU, reserved_kib=1024)
EXISTING_GUEST = _launch(emulator=QEMU, reserved_kib=None)

# guest, what the host can use
CARRIED = [
    (NATIVE_GUEST, ('native',)),
    (SHIM_GUEST, ('shim',)),
    (TINY_GUEST, ('tiny',)),
    (EXISTING_GUEST, ('existing',)),
    # At its ceiling: nothing can be added, but the cell is there.
    (_launch(can_grow=False), ('shim',)),
    # What starts without an empty cell starts with any emulator.
    (_launch('/usr/bin/kvm', 1024), ('tiny',)),
    (_launch('/usr/bin/kvm', None), ('existing',)),
    # Booted before its flavor got the key: as any other guest.
    (_launch(reserved_kib=None, can_grow=False), ()),
    (_launch(models=('dimm',)), ALL),
]

# The same -> words of the sentence
REFUSED = [
    (NATIVE_GUEST, ('shim', 'tiny', 'existing'), ("'native'", 'no native')),
    (SHIM_GUEST, ('native', 'tiny', 'existing'), ("'shim'", 'no shim')),
    (TINY_GUEST, ('native', 'shim', 'existing'), ("'tiny'", 'no tiny')),
    (EXISTING_GUEST, ('native', 'shim', 'tiny'),
     ("'existing'", 'no existing')),
    (_launch(can_grow=False), ('tiny',), ("'shim'", 'no shim')),
    (_launch(OTHER_SHIM), ALL, (OTHER_SHIM, SHIM, QEMU, 'empty NUMA cell')),
    # The name is the same, so it could be a shim as well.
    (_launch('/usr/local/bin/qemu-system-x86_64'), ALL,
     ('/usr/local/bin/qemu-system-x86_64',)),
    (_launch(models=('dimm', 'virtio-mem')), ALL, ("'virtio-mem'",)),
    (_launch(reserved_kib=None, can_grow=False, models=('virtio-mem',)), ALL,
     ("'virtio-mem'",)),
]


#: Guests that can have another emulator on the way; what works there, the
#: best first; the emulator that they are to have, None for their own.
CROSSING = [
    (SHIM, ('native',), QEMU),
    (SHIM, ('native', 'shim'), QEMU),
    (SHIM, ('shim',), None),
    (SHIM, ('shim', 'native'), None),
    (QEMU, ('native',), None),
    (QEMU, ('shim',), SHIM),
    (QEMU, ('shim', 'native'), SHIM),
    (QEMU, ('native', 'shim'), None),
    (OTHER_SHIM, ('shim',), SHIM),
    (OTHER_SHIM, ('native',), QEMU),
]


def _check(launch, usable, models=('dimm',), bits=None):
    support = strategies.ArchSupport('x86_64', QEMU, usable, {
        name: 'no %s' % name for name in ALL if name not in usable})
    return strategies.check_destination(launch, support, SHIM, models, bits)


class CheckDestinationTestCase(testtools.TestCase):

    def test_carried(self):
        for launch, usable in CARRIED:
            self.assertIsNone(_check(launch, usable))

    def test_crossing(self):
        for emulator, usable, there in CROSSING:
            self.assertEqual(there, _check(
                _launch(emulator, can_cross=True), usable),
                (emulator, usable))

    def test_only_an_empty_cell_crosses(self):
        for reserved_kib, strategy in ((None, 'existing'), (1024, 'tiny')):
            guest = _launch(OTHER_SHIM, reserved_kib, can_cross=True)
            self.assertIsNone(_check(guest, (strategy,)))
            self.assertRaises(
                errors.CannotCarry, _check, guest, ('native', 'shim'))

    def test_nothing_to_cross_to(self):
        error = self.assertRaises(
            errors.CannotCarry, _check, _launch(can_cross=True),
            ('tiny', 'existing'))
        self.assertIn("strategies 'shim' and 'native'", str(error))
        self.assertIn('shim: no shim; native: no native', str(error))

    def test_refused(self):
        for launch, usable, words in REFUSED:
            error = self.assertRaises(
                errors.CannotCarry, _check, launch, usable)
            for word in words:
                self.assertIn(word, str(error))

    def test_installed_models(self):
        _check(_launch(models=('virtio-mem',)), ALL, ('dimm', 'virtio-mem'))

    def test_host_without_virtio_mem(self):
        support = strategies.ArchSupport(
            'x86_64', QEMU, ALL, no_virtio_mem='not in this binary')
        models = ('dimm', 'virtio-mem')
        strategies.check_destination(
            _launch(models=('dimm',)), support, SHIM, models)
        exc = self.assertRaises(
            errors.CannotCarry, strategies.check_destination,
            _launch(models=('virtio-mem',)), support, SHIM, models)
        self.assertIn('(not in this binary)', str(exc))

    def test_addresses(self):
        """A guest that reaches up to 1 TiB needs 40 bits."""
        guest = dataclasses.replace(SHIM_GUEST, top_mb=1 << 20)
        for launch, bits in ((guest, 40), (guest, None), (SHIM_GUEST, 32)):
            _check(launch, ALL, bits=bits)
        error = self.assertRaises(
            errors.CannotCarry, _check, guest, ALL, bits=39)
        self.assertIn('1048576 MiB of addresses', str(error))
        self.assertIn('39 bits', str(error))

    def test_no_emulator(self):
        for launch in (SHIM_GUEST, TINY_GUEST, EXISTING_GUEST):
            error = self.assertRaises(
                errors.CannotCarry, strategies.check_destination, launch, None,
                None, ('dimm',))
            self.assertIn('no emulator for x86_64', str(error))

    def test_no_emulator_for_a_guest_without_room(self):
        """Whether it can run there is for Nova itself to find out."""
        strategies.check_destination(
            _launch(reserved_kib=None, can_grow=False), None, None, ())

    def test_not_tried(self):
        support = strategies.ArchSupport('x86_64', QEMU, ())
        for guest in (SHIM_GUEST, _launch(can_cross=True)):
            error = self.assertRaises(
                errors.CannotCarry, strategies.check_destination, guest,
                support, SHIM, ())
            self.assertIn('not tried', str(error))

    def test_carriers(self):
        for guest, configured, expected in (
            (SHIM_GUEST, 'auto', ('native', 'shim')),
            (SHIM_GUEST, 'tiny', ('native', 'shim')),
            (NATIVE_GUEST, 'shim', ('shim', 'native')),
            (TINY_GUEST, 'shim', ('tiny',)),
            (EXISTING_GUEST, 'auto', ('existing',)),
        ):
            self.assertEqual(
                expected, strategies.carriers(guest, configured))

    def test_emulator_that_a_host_names(self):
        self.assertTrue(strategies.is_emulator(QEMU))
        for path in ('', 'qemu', './qemu', '/a//b', '/a/../b', '/a/', '/a\0b',
                     '/a\nb', None, 7, b'/usr/bin/qemu'):
            self.assertFalse(strategies.is_emulator(path), path)


class LaunchTestCase(testtools.TestCase):

    def test_of_domain(self):
        self.assertEqual(
            _launch(models=('dimm',), can_cross=True),
            strategies.Launch.of(domain.read(DOMAIN), ('dimm', 'other')))

    def test_addresses_of_domain(self):
        """4 GiB, 3.5 GiB to plug, 8 GiB for slots, 32 GiB for PCI."""
        xml = DOMAIN.replace(
            '<type arch', '<type machine="pc-q35-10.0" arch')
        self.assertEqual(48 * 1024, strategies.Launch.of(
            domain.read(xml), ('dimm',)).top_mb)

    def test_of_domain_without_room(self):
        xml = DOMAIN.replace('maxMemory', 'other').replace(
            '<cell id="1" memory="0" unit="KiB"/>', '')
        self.assertEqual(
            _launch(reserved_kib=None, can_grow=False, models=('dimm',),
                    can_cross=True),
            strategies.Launch.of(domain.read(xml), ('dimm',)))

    def test_of_domain_with_a_device_of_no_model(self):
        for what, other in (('model="dimm"', 'model="nvdimm"'),
                            # Somebody has attached it by hand.
                            ('ua-memhotplug-1', 'dimm0')):
            xml = DOMAIN.replace(what, other)
            self.assertEqual(
                (), strategies.Launch.of(domain.read(xml), ('dimm',)).models)

    def test_over_the_wire(self):
        launch = _launch(models=('dimm', 'virtio-mem'), can_cross=True)
        sent = json.loads(json.dumps(launch.document()))
        self.assertEqual(launch, strategies.Launch.from_document(sent))

    def test_from_an_earlier_version(self):
        document = _launch(can_cross=True).document()
        del document['top_mb'], document['can_cross']
        self.assertEqual(
            SHIM_GUEST, strategies.Launch.from_document(document))

    def test_from_a_later_version(self):
        document = SHIM_GUEST.document() | {'more': 1}
        self.assertEqual(
            SHIM_GUEST, strategies.Launch.from_document(document))
