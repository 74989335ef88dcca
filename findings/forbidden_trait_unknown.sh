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
# openstack-placement 16.0.0 (2026.2): to forbid a trait that nobody has reported
# yet is an error, not a condition that all providers meet.
#
# Expected: GET /allocation_candidates?...&required=!CUSTOM_X finds every
#   provider without CUSTOM_X; while no provider has it, that is all of them.
# Seen: 400 "No such trait(s)", as for a trait that is required. Once anybody has
#   created the trait, on no provider, the same request finds the provider.
# What follows: a Nova flavor with trait:CUSTOM_X=forbidden fits nowhere ("No
#   valid host") in a cloud whose hosts have never reported CUSTOM_X, for example
#   before the first of them is upgraded. "openstack trait create CUSTOM_X" makes
#   such a flavor work.
#
# Output seen with openstack-placement 16.0.0, Python 3.11:
#   no trait: 200, 1 candidate
#   required=CUSTOM_NEVER_SEEN: 400, No such trait(s): CUSTOM_NEVER_SEEN.
#   required=!CUSTOM_NEVER_SEEN: 400, No such trait(s): CUSTOM_NEVER_SEEN.
#   after PUT /traits/CUSTOM_NEVER_SEEN:
#   required=CUSTOM_NEVER_SEEN: 200, 0 candidates
#   required=!CUSTOM_NEVER_SEEN: 200, 1 candidate

set -o nounset
constraints=$(cd "$(dirname "$0")/../sandbox" && pwd)/constraints.txt
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
{ python3 -m venv "$folder/venv" &&
    "$folder/venv/bin/pip" -q install -c "$constraints" \
        openstack-placement==16.0.0; } >&2 || exit 2

cat >"$folder/look.py" <<'END'
import sys

from oslo_config import cfg
from placement import conf
from placement import db_api
from placement import deploy
import webob

PROVIDER = '/resource_providers/4e8e5957-649f-477b-9e5b-f1f75b21c03c'
TRAIT = 'CUSTOM_NEVER_SEEN'

config = cfg.ConfigOpts()
conf.register_opts(config)
config.set_override('connection', 'sqlite:///%s/placement.db' % sys.argv[1],
                    group='placement_database')
config.set_override('sync_on_startup', True, group='placement_database')
config.set_override('auth_strategy', 'noauth2', group='api')
config([], default_config_files=[])
db_api.configure(config)
app = deploy.loadapp(config)


def call(method, url, body=None):
    request = webob.Request.blank(url, method=method, headers={
        'X-Auth-Token': 'admin', 'Accept': 'application/json',
        'OpenStack-API-Version': 'placement 1.39'})
    if body is not None:
        request.content_type, request.json = 'application/json', body
    return request.get_response(app)


def candidates(name, query=''):
    answer = call(
        'GET', '/allocation_candidates?resources=MEMORY_MB:512' + query)
    if answer.status_int == 200:
        count = len(answer.json['allocation_requests'])
        found = '%d candidate%s' % (count, '' if count == 1 else 's')
    else:
        found = answer.json['errors'][0]['detail'].split('\n')[-1].strip()
    seen.append('%s: %d, %s' % (name, answer.status_int, found))


def both():
    for query in ('required=' + TRAIT, 'required=!' + TRAIT):
        candidates(query, '&' + query)


seen = []
call('POST', '/resource_providers', {
    'name': 'host', 'uuid': PROVIDER.rpartition('/')[2]})
call('PUT', PROVIDER + '/inventories', {
    'resource_provider_generation': 0,
    'inventories': {'MEMORY_MB': {'total': 1024}}})
candidates('no trait')
both()
call('PUT', '/traits/' + TRAIT)
seen.append('after PUT /traits/%s:' % TRAIT)
both()
print('\n'.join(seen))
unknown = '400, No such trait(s): %s.' % TRAIT
raise SystemExit(seen != [
    'no trait: 200, 1 candidate',
    'required=%s: %s' % (TRAIT, unknown),
    'required=!%s: %s' % (TRAIT, unknown),
    'after PUT /traits/%s:' % TRAIT,
    'required=%s: 200, 0 candidates' % TRAIT,
    'required=!%s: 200, 1 candidate' % TRAIT])
END
"$folder/venv/bin/python" -W ignore "$folder/look.py" "$folder" \
    2>"$folder/log"
rc=$?
[ "$rc" -le 1 ] && ! grep -q Traceback "$folder/log" || exit 2
exit "$rc"
