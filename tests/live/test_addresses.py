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

"""What the map of a guest's addresses says, and what QEMU says.

Guests of QEMU alone, without Nova and libvirt. They are paused and never run:
of all the memory that they seem to have nothing is touched.
"""

import contextlib
import json
import subprocess
import tempfile

import ddt
import testtools

from nova_memhotplug.core import addresses

GIB = 1024
MIB = 1 << 20

#: Machine types, and processors that QEMU takes for them.
MACHINES = {
    'pc': ('x86_64', 'qemu64', True), 'q35': ('x86_64', 'qemu64', True),
    'virt': ('aarch64', 'cortex-a57', False)}
#: Address bits of those processors.
BITS = {'x86_64': 40, 'aarch64': 44}


class Refused(Exception):
    """What QEMU says when it does not do something."""


class Qemu:
    """A paused guest, and its monitor."""

    def __init__(self, machine, boot_mb, max_mb, slots, cpu=None):
        arch, model, _is_amd = MACHINES[machine]
        # QEMU plugs memory where a firmware could tell the guest of it; this
        # one is never run.
        self._firmware = tempfile.NamedTemporaryFile()
        self._firmware.truncate(4096)
        firmware = ['-bios', self._firmware.name] if machine == 'virt' else []
        memory = 'memory-backend-ram,id=ram0,reserve=off,size=%dM' % boot_mb
        self._process = subprocess.Popen(
            ['qemu-system-' + arch, '-S', '-nodefaults', '-display', 'none',
             '-machine', machine, '-cpu', cpu or model, '-smp', '1',
             '-m', 'size=%dM,slots=%d,maxmem=%dM' % (boot_mb, slots, max_mb),
             '-object', memory, '-numa', 'node,nodeid=0,cpus=0,memdev=ram0',
             '-numa', 'node,nodeid=1', '-qmp', 'stdio', *firmware],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        self.do('qmp_capabilities')

    def do(self, command, **arguments):
        """Have QEMU do something, and return its answer."""
        # One that has ended already says why.
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps({'execute': command, 'arguments': arguments}),
                  file=self._process.stdin, flush=True)
        while True:
            line = self._process.stdout.readline()
            if not line:
                said = self._process.stderr.read()
                self.close()
                raise Refused(said)
            answer = json.loads(line)
            if 'error' in answer:
                raise Refused(answer['error']['desc'])
            if 'return' in answer:
                return answer['return']

    def plug(self, slot, size_mb, base):
        """Plug a DIMM."""
        self.do('object-add', **{
            'qom-type': 'memory-backend-ram', 'id': 'mem%d' % slot,
            'reserve': False, 'size': size_mb * MIB})
        self.do('device_add', driver='pc-dimm', id='dimm%d' % slot,
                memdev='mem%d' % slot, node=1, slot=slot, addr=base)

    def plugged(self):
        """Say what it has: slot, address and size in bytes."""
        return sorted(
            (one['data']['slot'], one['data']['addr'], one['data']['size'])
            for one in self.do('query-memory-devices'))

    def close(self):
        """End it."""
        self._firmware.close()
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout,
                       self._process.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def map_of(machine, boot_mb, max_mb, slots, is_amd=None):
    arch, _model, is_models = MACHINES[machine]
    return addresses.map_of(
        arch, machine, is_models if is_amd is None else is_amd, boot_mb,
        max_mb, slots)


@ddt.ddt
class AddressesTest(testtools.TestCase):

    def start(self, *args, **kwargs):
        return contextlib.closing(Qemu(*args, **kwargs))

    def assert_region(self, qemu, known):
        """QEMU names begin and size when an address is not in the range."""
        refused = self.assertRaises(Refused, qemu.plug, 0, 128, 2 * MIB)
        self.assertIn('[0x%x:0x%x]' % (
            known.region_mb * MIB,
            (known.region_end_mb - known.region_mb) * MIB), str(refused))
        qemu.do('object-del', id='mem0')

    @ddt.data(*(
        (machine, gib) for machine in ('pc', 'q35')
        for gib in (62, 63, 64, 96, 128)), ('virt', 64), ('pc', 0.5),
        ('q35', 2.75), ('q35', 62.25), ('virt', 0.5))
    @ddt.unpack
    def test_three_devices(self, machine, boot_gib):
        """They are where the map says, of the smallest size (V1)."""
        boot_mb = int(boot_gib * GIB)
        max_mb = boot_mb + 64 * GIB
        known = map_of(machine, boot_mb, max_mb, 8)
        step_mb = addresses.step_mb(known.board.arch, known, 1024)
        taken, expected = [], []
        with self.start(machine, boot_mb, max_mb, 8) as qemu:
            self.assert_region(qemu, known)
            for slot in range(3):
                base = known.place(taken, step_mb, step_mb)
                qemu.plug(slot, step_mb, base)
                taken.append((base, base + step_mb * MIB))
                expected.append((slot, base, step_mb * MIB))
                self.assertEqual(expected, qemu.plugged())
                self.assertEqual(0, base % (known.block_mb * MIB))

    @ddt.data(
        ('pc', 512, 8, None), ('q35', 512, 8, None), ('q35', 512, 1, None),
        ('q35', 512, 255, None), ('q35', 64 * GIB, 8, None),
        ('q35', 512, 8, 'Nehalem'), ('pc', 64 * GIB, 8, 'Nehalem'),
        ('virt', 512, 8, None), ('virt', 512, 255, None))
    @ddt.unpack
    def test_largest_ceiling(self, machine, boot_mb, slots, cpu):
        """It starts; with one MiB more it does not (V4, P3)."""
        is_amd = False if cpu else None
        bits = BITS[MACHINES[machine][0]]
        largest_mb = map_of(
            machine, boot_mb, None, slots, is_amd).largest_ceiling_mb(bits)
        known = map_of(machine, boot_mb, largest_mb, slots, is_amd)
        with self.start(machine, boot_mb, largest_mb, slots, cpu) as qemu:
            self.assert_region(qemu, known)
        refused = self.assertRaises(
            Refused, Qemu, machine, boot_mb, largest_mb + 1, slots, cpu)
        self.assertIn('%d' % bits, str(refused))

    def test_ram_that_moves(self):
        """16 GiB with a ceiling of 1 TiB, on an AMD vCPU (V3)."""
        known = map_of('q35', 16 * GIB, 1024 * GIB, 8)
        self.assertTrue(known.is_moved)
        with self.start('q35', 16 * GIB, 1024 * GIB, 8,
                        'EPYC,phys-bits=48') as qemu:
            self.assert_region(qemu, known)
            base = known.place([], 2048, known.safe_block_mb)
            qemu.plug(0, 2048, base)
            self.assertEqual([(0, base, 2048 * MIB)], qemu.plugged())
