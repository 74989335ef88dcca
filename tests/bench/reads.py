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

"""What a look at the memory costs, beside a look at the server."""

from tests.bench import stage


def measure(bed):
    """Measure GET of os-memory, with and without a plan, and of the server.

    The three take turns. The server has grown once, so its host has heard
    the guest's agent, and a plan is made from the note.

    :param bed: the ``bed.Bed``
    :returns: [{'server': ms, 'show': ms, 'plan': ms}]
    """
    flavor = bed.stage.flavor('reads', slots=8)
    (server,) = bed.stage.boot('reads', flavor=flavor)
    paths = {
        'server': '/servers/%s' % server.id,
        'show': '/servers/%s/os-memory' % server.id,
        'plan': '/servers/%s/os-memory?memory_mb=%d' % (
            server.id, 2 * stage.BOOT_MB),
    }
    try:
        bed.grow(server.id, stage.BOOT_MB + 128)
        for path in paths.values():
            bed.client.get(path)
        return [{name: bed.client.get(path).ms
                 for name, path in paths.items()}
                for _number in range(bed.plan.reads)]
    finally:
        bed.stage.delete(server)
