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

"""Create users, roles and the catalogue: register.py WANTED.json."""

import json
import pathlib
import sys

import openstack

REGION = 'RegionOne'


def ensure_user(identity, name, wanted):
    """Give a user a password, and roles in a project."""
    project = identity.find_project(wanted['project'])
    if project is None:
        project = identity.create_project(name=wanted['project'],
                                          domain_id='default')
    user = identity.find_user(name)
    if user is None:
        user = identity.create_user(
            name=name, password=wanted['password'], domain_id='default',
            default_project_id=project.id)
    for name in wanted['roles']:
        role = identity.find_role(name)
        if role is None:
            role = identity.create_role(name=name)
        identity.assign_project_role_to_user(project, user, role)


def ensure_endpoint(identity, service_type, url):
    service = None
    for candidate in identity.services(type=service_type):
        service = candidate
    if service is None:
        service = identity.create_service(type=service_type,
                                          name=service_type)
    endpoints = {endpoint.interface: endpoint for endpoint
                 in identity.endpoints(service_id=service.id)}
    for interface in ('public', 'internal', 'admin'):
        endpoint = endpoints.get(interface)
        if endpoint is None:
            identity.create_endpoint(service_id=service.id, url=url,
                                     interface=interface, region_id=REGION)
        elif endpoint.url != url:
            identity.update_endpoint(endpoint, url=url)


def main():
    wanted = json.loads(pathlib.Path(sys.argv[1]).read_text())
    identity = openstack.connect().identity
    for name, user in wanted['users'].items():
        ensure_user(identity, name, user)
    for service_type, url in wanted['endpoints'].items():
        ensure_endpoint(identity, service_type, url)


if __name__ == '__main__':
    main()
