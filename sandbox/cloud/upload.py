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

"""Upload guest images: upload.py WANTED.json."""

import json
import pathlib
import sys

import openstack

RECIPE = 'sandbox_recipe'


def _upload(image, name, path, disk_format, properties):
    return image.create_image(
        name, filename=str(path), disk_format=disk_format,
        container_format=disk_format if disk_format in ('aki', 'ari')
        else 'bare', visibility='public', wait=True, allow_duplicates=True,
        validate_checksum=False, **properties)


def ensure_image(image, name, recipe, wanted):
    """Upload kernel, ramdisk and disk of a guest, unless they are there."""
    parts = [name, name + '-kernel', name + '-ramdisk']
    found = [candidate for part in parts
             for candidate in image.images(name=part)]
    if len(found) == len(parts) and all(
            candidate.properties.get(RECIPE) == recipe
            for candidate in found):
        return
    for candidate in found:
        image.delete_image(candidate)
    folder = pathlib.Path(wanted['folder'])
    mark = {RECIPE: recipe}
    kernel = _upload(image, name + '-kernel', folder / 'kernel', 'aki', mark)
    ramdisk = _upload(image, name + '-ramdisk', folder / 'ramdisk', 'ari',
                      mark)
    _upload(image, name, folder / 'disk.qcow2', 'qcow2', {
        **mark, **wanted['properties'],
        'kernel_id': kernel.id, 'ramdisk_id': ramdisk.id})


def main():
    wanted = json.loads(pathlib.Path(sys.argv[1]).read_text())
    image = openstack.connect().image
    for name, item in wanted['images'].items():
        recipe = '%s %s' % (wanted['recipe'],
                            sorted(item['properties'].items()))
        ensure_image(image, name, recipe[:250], item)


if __name__ == '__main__':
    main()
