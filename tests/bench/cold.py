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

"""Nova's own resize: the server is turned off, moved and started again."""

from tests.bench import stage

LARGE_MB = 1024


def measure(bed, arch):
    """Measure cold resizes with their confirmation.

    :param bed: the ``bed.Bed``
    :param arch: of the guest
    :returns: [{'resized': ms until VERIFY_RESIZE, 'confirmed': ms until
        ACTIVE}]; both count from the request
    """
    flavors = [bed.stage.flavor('cold-%d' % ram, ram=ram)
               for ram in (stage.BOOT_MB, LARGE_MB)]
    ids = [_flavor_id(bed, name) for name in flavors]
    (server,) = bed.stage.boot('cold', flavor=flavors[0], arch=arch)
    try:
        return [_resize(bed, server, ids[(number + 1) % 2])
                for number in range(bed.plan.cold)]
    finally:
        bed.stage.delete(server)


def _flavor_id(bed, name):
    for flavor in bed.client.get('/flavors').body['flavors']:
        if flavor['name'] == name:
            return flavor['id']
    raise LookupError(name)


def _resize(bed, server, flavor_id):
    bed.rest()
    answer = bed.client.act(server.id, {'resize': {'flavorRef': flavor_id}})
    resized = bed.watcher.state(server.id, 'resized')
    bed.client.act(server.id, {'confirmResize': None})
    confirmed = bed.watcher.state(server.id, 'active')
    # The console is a new one.
    server.wait_guest('first report', bool)
    return {'resized': (resized - answer.sent) / 1e6,
            'confirmed': (confirmed - answer.sent) / 1e6}
