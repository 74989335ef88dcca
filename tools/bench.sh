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
# Measure what a growth costs, on the sandbox: doc/source/admin/performance.rst
# says what is measured.
#
#   tools/bench.sh [--quick] [--json FILE] [--before FILE] [--publish]
#                  [--only PART]...
#   tools/bench.sh --from FILE [--before FILE] [--publish]
#
# --publish writes the tables and the pictures of that page; --from takes the
# numbers from a file that --json has written, and measures nothing. It uses
# the sandbox that runs, or brings one up and takes it down again. Needs root
# and a machine that has nothing else to do.

set -o errexit -o nounset -o pipefail

CALLED_FROM=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
STATE=${SANDBOX_STATE:-$PWD/.sandbox}
[[ $STATE == /* ]] || STATE=$PWD/$STATE

# Files and folders are named as seen from where this was called.
if [[ -n ${SANDBOX_PLUGIN:-} && $SANDBOX_PLUGIN != /* ]]; then
    export SANDBOX_PLUGIN=$CALLED_FROM/$SANDBOX_PLUGIN
fi

export PYTHONDONTWRITEBYTECODE=1

source tools/in_sandbox.sh

bench() {
    watched "$STATE/venv/bin/python" -m tests.bench "$@"
}

# A run that was killed has left servers and its recorder in the services.
bench_and_clean() {
    local rc=0
    bench "$@" || rc=$?
    [[ $rc -lt 128 ]] || bench --clean || true
    return "$rc"
}

arguments=()
is_file= is_stored=
for argument in "$@"; do
    [[ -z $is_file || $argument == /* ]] || argument=$CALLED_FROM/$argument
    is_file=
    case $argument in
        --json|--before) is_file=1 ;;
        --from) is_file=1 is_stored=1 ;;
        --help) exec python3 -m tests.bench --help ;;
    esac
    arguments+=("$argument")
done

if [[ -n $is_stored ]]; then
    python3 -m tests.bench "${arguments[@]}"
else
    in_sandbox '--computes 1' bench_and_clean "${arguments[@]}"
fi
