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

"""One growth, beside the floor and a pause: on the same guests, in turns."""

from tests.bench import points
from tests.bench import stage

#: By how much a guest grows at once, in MiB.
STEP_MB = 512


def measure(bed, arch, kind):
    """Measure the growths of one architecture.

    Two guests are alike. One grows through Nova, the other one by the same
    amount through libvirt alone; then the first one is paused. And so on, so
    that whatever else the machine does meets all three.

    :param bed: the ``bed.Bed``
    :param arch: of the guests
    :param kind: one of ``points.KINDS``
    :returns: the samples, each with its ``slot``
    """
    image = (bed.stage.silent_image(arch)
             if kind == points.WITHOUT_AGENT else None)
    flavor = bed.stage.flavor('growth', slots=bed.plan.samples)
    samples = []
    for number in range(bed.plan.servers):
        ours, floor = bed.stage.boot(
            'ours-%d' % number, 'floor-%d' % number, flavor=flavor, arch=arch,
            image=image)
        try:
            samples += _measure_pair(bed, ours, floor)
        finally:
            bed.stage.delete(ours, floor)
    return samples


def _measure_pair(bed, ours, floor):
    samples = []
    # What the first time costs alone (caches, connections) is no sample.
    bed.pause(ours.id)
    total_mb = stage.BOOT_MB
    for slot in range(bed.plan.samples):
        bed.rest()
        floor_ms = bed.hypervisor.attach(floor.id, STEP_MB)
        total_mb += STEP_MB
        sample = bed.grow(ours.id, total_mb)
        samples.append({**sample, 'slot': slot, 'floor': floor_ms,
                        'pause': bed.pause(ours.id)})
    for server in (ours, floor):
        stage.check_grown(server, total_mb - stage.BOOT_MB)
    return samples


def measure_sizes(bed, arch):
    """Measure growths of several sizes, each with a floor.

    :returns: [{'size': MiB, 'ours': ms, 'floor': ms}]
    """
    sizes = bed.plan.sizes_mb
    flavor = bed.stage.flavor('sizes', slots=len(sizes))
    samples = []
    for _round in range(bed.plan.servers):
        ours, floor = bed.stage.boot(
            'ours-sizes', 'floor-sizes', flavor=flavor, arch=arch)
        try:
            total_mb = stage.BOOT_MB
            for size_mb in sizes:
                bed.rest()
                floor_ms = bed.hypervisor.attach(floor.id, size_mb)
                total_mb += size_mb
                grown = bed.grow(ours.id, total_mb)
                samples.append({'size': size_mb, 'floor': floor_ms,
                                'ours': grown['ours']})
        finally:
            bed.stage.delete(ours, floor)
    return samples
