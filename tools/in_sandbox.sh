#!/bin/bash
#
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
#
# To be sourced by scripts that run something while the sandbox is up, in the
# top folder of the checkout. It sets traps for EXIT and signals.

# Run a command in a process group of its own, so that a signal to this script
# ends it at once with all that it has started.
CHILD=
watched() {
    local rc=0
    set -o monitor
    "$@" </dev/null &
    CHILD=$!
    set +o monitor
    wait "$CHILD" || rc=$?
    CHILD=
    return "$rc"
}

SANDBOX_IS_OURS=
finish() {
    local rc=$?
    trap - EXIT
    trap '' INT TERM HUP
    if [[ -n $CHILD ]]; then
        kill -- "-$CHILD" 2>/dev/null || true
        wait "$CHILD" 2>/dev/null || true
    fi
    [[ -z $SANDBOX_IS_OURS ]] || sandbox/sandbox down
    exit "$rc"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# What to do when the sandbox does not come up: to be redefined.
sandbox_failed() {
    :
}

# in_sandbox "UP OPTIONS" COMMAND...: run a command while the sandbox is up.
in_sandbox() {
    local rc=0 status options=$1
    shift
    # It fails when not all of it runs, as after a crash: still not ours.
    status=$(sandbox/sandbox status 2>/dev/null) || true
    [[ $status == *' pid '* ]] || SANDBOX_IS_OURS=1
    # shellcheck disable=SC2086 # options are words
    if watched sandbox/sandbox up $options; then
        "$@" || rc=1
    else
        rc=1
        sandbox_failed
    fi
    if [[ -n $SANDBOX_IS_OURS ]]; then
        sandbox/sandbox down || rc=1
        SANDBOX_IS_OURS=
    fi
    return "$rc"
}
