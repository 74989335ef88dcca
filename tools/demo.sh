#!/bin/bash
# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

# Bring up a real OpenStack on this machine, grow a running guest of each
# architecture in it, and show what the guests themselves say.

sandbox=$(dirname "$(dirname "$(readlink -f "$0")")")/sandbox/sandbox

# The sandbox installs everything but what it is written in.
if ! [ -x /usr/bin/python3 ] || ! command -v git > /dev/null; then
    apt-get -q update &&
        apt-get -q install -y --no-install-recommends python3 git || exit
fi

"$sandbox" up || exit
"$sandbox" demo
result=$?

echo
echo "The sandbox is left running. To use it:    eval \"\$($sandbox env)\""
echo "To stop it:                                $sandbox down"
echo "To remove everything that it has written:  $sandbox down --purge"
exit $result
