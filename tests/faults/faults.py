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

"""The faults: what goes wrong, and when."""

from collections.abc import Callable
import dataclasses
import threading
import time

from tests.faults import machine as machine_mod
from tests.faults import pauses
from tests.faults import placement_app
from tests.faults import points
from tests.live import cloud

#: Smaller than a memory block of the guest, so that its kernel does not take
#: it (facts-qemu-libvirt.md, section 3).
UNALIGNED_MB = 64
UNALIGNED_DIMM = """\
<memory model='dimm'>
  <target><size unit='MiB'>%d</size><node>1</node></target>
  <alias name='ua-unaligned'/>
</memory>
""" % UNALIGNED_MB


class Attempt:
    """One resize that something happens to.

    :param machine: the ``machine.Machine``
    :param server: the ``cloud.Server``
    :param wanted_mb: the total that is asked for
    :param rng: the ``random.Random`` of the round
    """

    def __init__(self, machine, server, wanted_mb, rng):
        self.machine = machine
        self.server = server
        self.wanted_mb = wanted_mb
        self.rng = rng
        self.answer = 'no answer'
        #: What a fault has to put back when it is repaired.
        self.inventory = None
        self._thread = None

    def pause(self, point):
        """Stop the resize at a point."""
        return pauses.armed(self.machine.points_folder, point)

    def post(self):
        """Ask for the resize, without waiting for the answer."""
        self._thread = threading.Thread(target=self._post, daemon=True)
        self._thread.start()

    def _post(self):
        try:
            self.answer = self.server.resize(self.wanted_mb).status_code
        except Exception as exc:
            self.answer = type(exc).__name__

    def wait_over(self, seconds=60):
        """Wait until Nova is done with the resize, one way or another."""
        deadline = time.monotonic() + seconds
        while (self.server.fresh.task_state is not None and
               time.monotonic() < deadline):
            time.sleep(0.5)

    def wait_done(self, seconds=60):
        """Wait until users are told that the resize is done."""
        deadline = time.monotonic() + seconds
        while not self._is_done():
            if time.monotonic() > deadline:
                raise AssertionError('the resize was not done')
            time.sleep(0.1)

    def _is_done(self):
        memory = self.server.memory()
        return (memory['current_mb'] == self.wanted_mb and
                memory['last_resize']['status'] == 'done')

    def join(self):
        """Wait for the answer, a status code or what was raised."""
        self._thread.join(120)


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that can go wrong.

    :param inject: does it, given an ``Attempt``
    :param repair: what the operator does before the resize is repeated
    :param is_of_growth: whether it concerns something that a server does not
        do when it gives memory back
    """

    inject: Callable[[Attempt], None]
    repair: Callable[[Attempt], None] = lambda attempt: None
    is_of_growth: bool = False


def _at(point, action):
    """Do something while the resize is stopped at a point."""
    def inject(attempt):
        with attempt.pause(point) as pause:
            attempt.post()
            pause.wait()
            action(attempt)
            pause.release()
    return inject


def _kill_compute(attempt):
    attempt.machine.kill(attempt.machine.compute)


def _kill_api(attempt):
    attempt.machine.kill(machine_mod.API)


def _kill_libvirtd(attempt):
    attempt.machine.kill(attempt.machine.libvirtd)


def _kill_guest(attempt):
    attempt.machine.kill_guest(attempt.server.id)


def _kill_placement(attempt):
    attempt.machine.kill(machine_mod.PLACEMENT)


def _kill_libvirtd_and_placement(attempt):
    """Let neither the attach nor giving the claim back succeed."""
    _kill_libvirtd(attempt)
    _kill_placement(attempt)


def _restart_broker(attempt):
    attempt.machine.kill(machine_mod.BROKER)
    time.sleep(attempt.rng.uniform(0, 2))
    attempt.machine.start_broker()


def _break_placement(fault):
    """Let placement answer wrongly until the resize is over."""
    def inject(attempt):
        _at(points.BEFORE_CLAIM,
            lambda attempt: attempt.machine.break_placement(fault))(attempt)
        attempt.wait_over()
    return inject


def _freeze_placement(attempt):
    """Let placement take requests and answer none, until it is killed."""
    with attempt.pause(points.BEFORE_CLAIM) as pause:
        attempt.post()
        pause.wait()
        attempt.machine.freeze(machine_mod.PLACEMENT)
        pause.release()
        time.sleep(attempt.rng.uniform(3, 6))
        attempt.machine.kill(machine_mod.PLACEMENT)


def _in_attach(kill):
    """Kill something within the time that an attach takes."""
    def inject(attempt):
        with attempt.pause(points.AFTER_CLAIM) as pause:
            attempt.post()
            pause.wait()
            pause.release()
            time.sleep(attempt.rng.uniform(0, 0.03))
            kill(attempt)
    return inject


def _restart_broker_anywhere(attempt):
    point = attempt.rng.choice((
        points.BEFORE_CLAIM, points.AFTER_CLAIM,
        points.BEFORE_COMMIT, points.BEFORE_EVENT))
    _at(point, _restart_broker)(attempt)


def _freeze_conductor(attempt):
    """Let nothing be written, for longer than an RPC waits."""
    with attempt.pause(points.BEFORE_COMMIT) as pause:
        attempt.post()
        pause.wait()
        attempt.machine.freeze(machine_mod.CONDUCTOR)
        pause.release()
        time.sleep(70)
        attempt.machine.thaw(machine_mod.CONDUCTOR)


def _suspend(attempt):
    attempt.machine.virsh('suspend', attempt.server.id)


def _resume(attempt):
    attempt.machine.virsh('resume', attempt.server.id)


def _misalign(attempt):
    """Attach a DIMM that takes the address which the next one was to have."""
    path = attempt.machine.settings.run / 'unaligned.xml'
    path.write_text(UNALIGNED_DIMM)
    attempt.machine.virsh(
        'attach-device', attempt.server.id, str(path), '--live', '--config')


def _align(attempt):
    """Take the DIMM away again that the guest has never used."""
    attempt.machine.virsh(
        'detach-device', attempt.server.id,
        str(attempt.machine.settings.run / 'unaligned.xml'), '--live',
        '--config')


def _kill_compute_at_the_end(attempt):
    """Kill nova-compute when users have just been told of a success."""
    attempt.post()
    attempt.wait_done()
    _kill_compute(attempt)


def _memory_inventory(attempt):
    """Find the inventory of the host's memory: its path, and what it says."""
    placement = cloud.connect('admin').placement
    (provider,) = placement.get(
        '/allocations/' + attempt.server.id).json()['allocations']
    path = '/resource_providers/%s' % provider
    used_mb = placement.get(path + '/usages').json()['usages']['MEMORY_MB']
    path += '/inventories/MEMORY_MB'
    return path, placement.get(path).json(), used_mb


def _reserve(path, inventory):
    # Since this version, all of an inventory may be reserved.
    answer = cloud.connect('admin').placement.put(
        path, json=inventory, microversion='1.26')
    answer.raise_for_status()


def _fill_host(attempt):
    """Let others take all memory of the host."""
    path, inventory, used_mb = _memory_inventory(attempt)
    attempt.inventory = path, inventory
    others_mb = inventory['total'] - int(
        used_mb / inventory['allocation_ratio'])
    _reserve(path, dict(inventory, reserved=others_mb))


def _fill_host_between(attempt):
    """Fill the host after nova-api has looked, before the claim."""
    _at(points.BEFORE_CLAIM, _fill_host)(attempt)
    attempt.wait_over()


def _empty_host(attempt):
    """Give the memory back; nova-compute may have done so before."""
    path, before = attempt.inventory
    _, now, _ = _memory_inventory(attempt)
    _reserve(path, dict(now, reserved=before['reserved']))


def _killed(what, kill, when):
    return {'%s-killed-%s' % (what, point): Fault(
        _at(point, kill), is_of_growth=point == points.AFTER_ATTACH)
        for point in when}


#: What happens when, by name.
FAULTS = {
    **_killed('compute', _kill_compute, (
        points.BEFORE_CLAIM, points.AFTER_CLAIM,
        points.AFTER_ATTACH, points.BEFORE_COMMIT,
        points.AFTER_COMMIT, points.BEFORE_EVENT)),
    'compute-killed-in-attach': Fault(_in_attach(_kill_compute)),
    'compute-killed-after-event': Fault(_kill_compute_at_the_end),
    'host-filled': Fault(
        _fill_host_between, _empty_host, is_of_growth=True),
    **_killed('api', _kill_api, (
        points.BEFORE_CAST, points.AFTER_CAST)),
    'broker-restarted-after-cast': Fault(
        _at(points.AFTER_CAST, _restart_broker)),
    'broker-restarted': Fault(_restart_broker_anywhere),
    **{'placement-' + fault: Fault(_break_placement(fault))
       for fault in placement_app.FAULTS},
    'placement-silent': Fault(_freeze_placement),
    **_killed('placement', _kill_placement, (
        points.BEFORE_CLAIM, points.AFTER_CLAIM)),
    **_killed('libvirtd', _kill_libvirtd, (
        points.AFTER_CLAIM, points.AFTER_ATTACH)),
    'libvirtd-and-placement-killed': Fault(
        _at(points.AFTER_CLAIM, _kill_libvirtd_and_placement)),
    'libvirtd-killed-in-attach': Fault(_in_attach(_kill_libvirtd)),
    **_killed('guest', _kill_guest, (
        points.AFTER_CLAIM, points.AFTER_ATTACH,
        points.BEFORE_COMMIT)),
    'guest-killed-in-attach': Fault(_in_attach(_kill_guest)),
    'guest-paused': Fault(_at(points.AFTER_CLAIM, _suspend), _resume),
    'address-taken': Fault(
        _at(points.AFTER_CLAIM, _misalign), _align, is_of_growth=True),
}

#: Faults that take minutes, because RPC has to time out.
SLOW_FAULTS = {
    'conductor-frozen': Fault(_freeze_conductor),
}
