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

"""Create flavors of 1 vCPU and a 1 GB disk: flavors.py WANTED.json."""

import json
import pathlib
import sys

import openstack


def main():
    wanted = json.loads(pathlib.Path(sys.argv[1]).read_text())
    compute = openstack.connect().compute
    for name, (ram, extra_specs) in wanted.items():
        if compute.find_flavor(name):
            continue
        flavor = compute.create_flavor(name=name, vcpus=1, ram=ram, disk=1)
        if extra_specs:
            compute.create_flavor_extra_specs(flavor, extra_specs)


if __name__ == '__main__':
    main()
