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

"""Put IDs into a file where it has names: tempest.py WANTED.json."""

import json
import pathlib
import re
import sys

import openstack

#: As in @flavor:elastic@
NAME = re.compile(r'@(flavor|image):([\w-]+)@')


def main():
    wanted = json.loads(pathlib.Path(sys.argv[1]).read_text())
    cloud = openstack.connect()
    find = {'flavor': cloud.compute.find_flavor,
            'image': cloud.image.find_image}
    target = pathlib.Path(wanted['target'])
    target.write_text(NAME.sub(
        lambda match: find[match[1]](match[2], ignore_missing=False).id,
        target.read_text()))


if __name__ == '__main__':
    main()
