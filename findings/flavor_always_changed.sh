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
# Nova 34.0.0 (2026.2): an instance whose flavor has extra specs counts as
# changed as soon as it is read.
#
# Expected: Flavor.obj_from_primitive(flavor.obj_to_primitive()) of a flavor
#   without changes has none, since its primitive names none. So an instance
#   that was read and not touched saves nothing of its flavor.
# Seen: the copy says that its extra_specs were changed, and an instance that
#   holds it says that its flavor was. Flavor._obj_from_primitive compares the
#   extra specs with those that it has seen first, and those are still empty.
#   A flavor without extra specs is right.
# What follows: Instance.save() of whoever has the flavor loaded writes the
#   flavor that it has in hand (nova/objects/instance.py, _save_flavor), for
#   example when a server is renamed, over what another has written since.
#
# Output seen with nova 34.0.0, oslo.versionedobjects 3.12.0, Python 3.11:
#   flavor without extra specs: changed []
#   flavor with extra specs: changed ['extra_specs']
#   instance that holds it: changed ['flavor']

set -o nounset
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
{ python3 -m venv "$folder/venv" &&
    "$folder/venv/bin/pip" -q install nova==34.0.0 \
        oslo.versionedobjects==3.12.0; } >&2 || exit 2

cat >"$folder/look.py" <<'END'
from nova import objects

objects.register_all()


def reread(extra_specs):
    flavor = objects.Flavor(
        flavorid='f', memory_mb=512, extra_specs=extra_specs, projects=[])
    flavor.obj_reset_changes(recursive=True)
    primitive = flavor.obj_to_primitive()
    assert 'nova_object.changes' not in primitive, primitive
    return objects.Flavor.obj_from_primitive(primitive)


plain, rich = reread({}), reread({'hw:mem_page_size': 'any'})
instance = objects.Instance(flavor=rich)
instance.obj_reset_changes(['flavor'])
seen = [sorted(one.obj_what_changed()) for one in (plain, rich, instance)]
print('flavor without extra specs: changed %s' % seen[0])
print('flavor with extra specs: changed %s' % seen[1])
print('instance that holds it: changed %s' % seen[2])
raise SystemExit(seen != [[], ['extra_specs'], ['flavor']])
END
"$folder/venv/bin/python" -W ignore "$folder/look.py" 2>"$folder/log"
rc=$?
[ "$rc" -le 1 ] || exit 2
exit "$rc"
