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

"""Serve the ``application`` of a module: wsgi.py MODULE HOST PORT."""

import importlib
import sys

from sqlalchemy import orm
import waitress

THREADS = 8


def main():
    name, host, port = sys.argv[1:]
    # Services read the command line for options of their own.
    del sys.argv[1:]
    application = importlib.import_module(name).application
    # Neutron names relations of its models before its first query sets them
    # up, which only its agents' reports would hide.
    orm.configure_mappers()
    waitress.serve(application, host=host, port=int(port), threads=THREADS,
                   ident=None)


if __name__ == '__main__':
    main()
