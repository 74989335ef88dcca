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

"""Have the agent of a guest run something in it."""

import base64
import json

import tenacity

#: Seconds that a script may take: guests are emulated.
TIMEOUT = 60


def run(virsh, server_id, script):
    """Run a shell script in a guest.

    :param virsh: a function that runs virsh on the guest's host; it returns
        what that printed, or None if it failed
    :param server_id: the name that libvirt has for the guest
    :param script: for the shell of the guest
    :returns: what the script printed; None if the agent does not answer, or
        not in time
    """
    started = _ask(virsh, server_id, 'guest-exec', {
        'path': '/bin/busybox', 'arg': ['sh', '-c', script],
        'capture-output': True})
    if started is None:
        return None

    def look():
        return _ask(virsh, server_id, 'guest-exec-status', started)

    try:
        done = tenacity.Retrying(
            stop=tenacity.stop_after_delay(TIMEOUT),
            wait=tenacity.wait_fixed(0.2), retry=tenacity.retry_if_result(
                lambda status: status is not None and not status['exited']))(
                    look)
    except tenacity.RetryError:
        return None
    return done and base64.b64decode(done.get('out-data', '')).decode()


def _ask(virsh, server_id, command, arguments):
    answer = virsh(
        'qemu-agent-command', '--timeout', '10', server_id,
        json.dumps({'execute': command, 'arguments': arguments}))
    return None if answer is None else json.loads(answer)['return']
