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

"""One growth on a host with few and with many servers.

The others are servers and QEMU processes as any, with nothing to boot: fifty
kernels would keep a small machine busy, and what is looked for is what Nova
and this package do for each server of a host.
"""

from tests.bench import stage

FILLER_MB = 64


def measure(bed):
    """Measure growths beside 0, 9, ... other servers.

    :param bed: the ``bed.Bed``
    :returns: [{'servers': number on the host, 'ms': [ms of each growth],
        'placement': requests of each, 'conductor': calls of each}]
    """
    # A host offers CPUs for 32 servers of this sandbox: fillers need none.
    filler = bed.stage.flavor('filler', ram=FILLER_MB, resources__VCPU='0')
    flavor = bed.stage.flavor(
        'crowd', slots=len(bed.plan.crowd) * bed.plan.crowd_samples)
    image = bed.stage.empty_image()
    (server,) = bed.stage.boot('crowd', flavor=flavor)
    fillers, results, total_mb = [], [], stage.BOOT_MB
    try:
        for number in bed.plan.crowd:
            new = [bed.stage.create('filler-%d' % index, filler, image=image)
                   for index in range(len(fillers) + 1, number)]
            fillers += new
            for one in new:
                bed.watcher.state(one.id, 'active')
            samples = []
            for _sample in range(bed.plan.crowd_samples):
                total_mb += stage.BLOCK_MB
                samples.append(bed.grow(server.id, total_mb))
            results.append({
                'servers': number,
                'ms': [one['ours'] for one in samples],
                **{name: [one['counts'][name] for one in samples]
                   for name in ('placement', 'conductor')}})
        stage.check_grown(server, total_mb - stage.BOOT_MB)
        return results
    finally:
        bed.stage.delete(server, *fillers)
