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

"""Tests against Nova itself: its API, its conductor, its scheduler, its
libvirt driver and a real placement. Only libvirt is a fake.
"""

from importlib import metadata
import os
import re

#: The first release whose nova-compute has native threads if it is not told
#: otherwise (nova/cmd/compute.py). Nova's own fixtures stand them only since
#: then, and its releases 31 and 32 not at all.
FIRST_WITH_THREADS = 34
os.environ.setdefault('OS_NOVA_DISABLE_EVENTLET_PATCHING', str(
    int(metadata.version('nova').split('.')[0]) >= FIRST_WITH_THREADS))
# Nova decides about its threads here, before anything else is imported.
import nova.tests.functional  # noqa: E402,F401

# Nova compares each extra spec with the names of all that it knows by several
# hundred expressions (nova/api/validation/extra_specs/validators.py), more
# than Python keeps: it would compile them again for each flavor of each test.
re._MAXCACHE = 4096
