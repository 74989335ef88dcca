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
# Print the names of the shell files of the checkout, one a line.

set -o errexit -o nounset -o pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

SHEBANG='^#! ?/[a-z/]*/(ba|da|busybox )?sh( |$)'

is_shell() {
    local first=''
    [[ -f $1 && ! -L $1 ]] || return 1
    [[ $1 != *.sh ]] || return 0
    IFS= read -r first <"$1" || true
    [[ $first =~ $SHEBANG ]]
}

git ls-files --cached --others --exclude-standard |
while read -r file; do
    ! is_shell "$file" || echo "$file"
done
