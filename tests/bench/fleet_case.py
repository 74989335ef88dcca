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

"""A deployment of many servers in one process, started by ``fleet``.

One server is created as any is. All others are copies of what the databases
have of it, on this host and on hosts that exist in the databases alone: what
these are asked for, the one real host says of the one real server. So a fleet
of 100 000 servers is there in minutes, and all that Nova and Placement say of
it is what they would say of real ones.
"""

import argparse
import contextlib
import functools
import json
import sys
import threading
import time
import unittest

from nova import context as nova_context
from nova.db.api import api as api_db
from nova.db.main import api as main_db
from nova.objects import base as objects_base
from nova.scheduler.client import report
from oslo_messaging.rpc import client as rpc_client
from oslo_utils import uuidutils
from placement import db_api as placement_db
from placement import handler as placement_handler
import sqlalchemy as sa

from tests.functional import base

HOST = 'compute1'
#: Copies that are written at once.
CHUNK = 500

# The seam to the product: what may change with it is here, and only here.


def answer_for(first, ask, method, instance=None, uuids=None, **more):
    """Say what a host would say that is not there.

    :param first: the one real server, a ``nova.objects.Instance``
    :param ask: a function that asks its host
    :param method: what is asked, about an instance or about many
    """
    if uuids is None:
        return ask(method, instance=first, **more)
    return dict.fromkeys(
        uuids, ask(method, uuids=[first.uuid], **more)[first.uuid])


def run_audit():
    """Look at all servers.

    :returns: (how many were compared, how many differences and problems)
    """
    from nova_memhotplug.cmd import audit
    from nova_memhotplug.cmd import census

    look = audit.Audit(census.Census(report.report_client_singleton()))
    look.run()
    return look.compared, len(look.remaining) + len(look.problems)


# What is counted

class Conductor:
    """Does itself what a conductor is asked to do, and counts it.

    In Nova's fixtures a compute reaches the database by itself. With this in
    its place, each call that it would make is counted, and what it does
    inside is not.
    """

    def __init__(self):
        self.calls = 0
        self._thread = threading.local()

    def __bool__(self):
        # Nova asks for the truth of it before it makes a call.
        return not getattr(self._thread, 'is_inside', False)

    @contextlib.contextmanager
    def _inside(self):
        self.calls += 1
        self._thread.is_inside = True
        try:
            yield
        finally:
            self._thread.is_inside = False

    def object_class_action_versions(
        self, context, objname, objmethod, object_versions, args, kwargs,
    ):
        """Call a method of a class."""
        found = objects_base.NovaObject.obj_class_from_name(
            objname, object_versions[objname])
        with self._inside():
            return getattr(found, objmethod)(context, *args, **kwargs)

    def object_action(self, context, objinst, objmethod, args, kwargs):
        """Call a method of an object."""
        with self._inside():
            result = getattr(objinst, objmethod)(*args, **kwargs)
        return {'obj_what_changed': objinst.obj_what_changed()}, result


class Fleet(base.MemoryTestBase):
    """The deployment. Its only test measures, and tests nothing."""

    #: How many servers of a host, how many hosts; seconds that an audit may
    #: take, lest it is not made; and what was found.
    servers, hosts, longest = 1000, 10, 60
    found = None

    def setUp(self):
        super().setUp()
        # The copies of a host have nobody who says that they are up.
        self.flags(service_down_time=10**6)
        self.flags(ram_allocation_ratio=1000.0, cpu_allocation_ratio=1000.0,
                   disk_allocation_ratio=1000.0)

    def measure(self):
        """Build the fleet, and measure."""
        self.first = self.boot_elastic()
        self._engines = self._find_engines()
        self._copy_servers(self.servers - 1, HOST)
        # Of the class: a test forgets its own attributes at its end.
        Fleet.found = {
            'servers': self.servers,
            'stock': self._start(base.STOCK_DRIVER),
            'ours': self._start(base.DRIVER),
            'audits': [self._audit(1)],
        }
        seconds = Fleet.found['audits'][0]['seconds'] * self.hosts
        if seconds > self.longest:
            Fleet.found['audits'].append({
                'hosts': self.hosts, 'seconds': None, 'expected': seconds,
                'compared': self.hosts * self.servers})
        elif self.hosts > 1:
            for number in range(2, self.hosts + 1):
                self._copy_host('fake%d' % number, 1000 + number)
            Fleet.found['audits'].append(self._audit(self.hosts))

    # The fleet

    def _find_engines(self):
        cell = self.cell_mappings['cell1']
        with nova_context.target_cell(self.ctxt, cell) as context:
            main = main_db.get_engine(context=context)
        return {
            'cell': main, 'api': api_db.get_engine(),
            'placement': placement_db.placement_context_manager.writer
            .get_engine()}

    def _copy(self, database, table, column, value, copies, drop=('id',)):
        """Copy the rows that have a value.

        :param copies: for each copy, {text: what stands in its place}
        """
        engine = self._engines[database]
        table = sa.Table(table, sa.MetaData(), autoload_with=engine)
        with engine.connect() as connection:
            rows = [dict(row._mapping) for row in connection.execute(
                sa.select(table).where(table.c[column] == value))]
        for start in range(0, len(copies), CHUNK):
            made = [_replaced(row, new, drop)
                    for new in copies[start:start + CHUNK] for row in rows]
            with engine.begin() as connection:
                connection.execute(sa.insert(table), made)

    def _copy_servers(self, number, host, provider=None):
        old = self.first['id']
        uuids = [uuidutils.generate_uuid() for _ in range(number)]
        on_host = [{old: uuid, HOST: host} for uuid in uuids]
        for table, column in (
            ('instances', 'uuid'), ('instance_extra', 'instance_uuid'),
            ('instance_info_caches', 'instance_uuid'),
            ('instance_system_metadata', 'instance_uuid'),
            ('block_device_mapping', 'instance_uuid'),
        ):
            self._copy('cell', table, column, old, on_host)
        for table in ('instance_mappings', 'request_specs'):
            self._copy('api', table, 'instance_uuid', old, on_host)
        self._copy('placement', 'consumers', 'uuid', old, on_host)
        self._copy('placement', 'allocations', 'consumer_id', old, [
            {**new, 'resource_provider_id': provider} if provider else new
            for new in on_host])
        if provider is None:
            self._copy_guests(uuids)

    def _copy_guests(self, uuids):
        connection = self.computes[HOST].driver._host.get_connection()
        xml = self.fake_domain(self.first).defined_xml
        for number, uuid in enumerate(uuids):
            connection.defineXML(xml.replace(
                self.first['id'], uuid).replace(
                    '<name>', '<name>%d-' % number, 1)).create()

    def _copy_host(self, host, provider):
        """Copy a host with all its servers."""
        rp_uuid = uuidutils.generate_uuid()
        old_rp = self.compute_rp_uuids[HOST]
        new = {HOST: host, old_rp: rp_uuid}
        self._copy('cell', 'services', 'host', HOST, [new])
        self._copy('cell', 'compute_nodes', 'host', HOST, [new])
        self._copy('api', 'host_mappings', 'host', HOST, [new])
        with self._engines['placement'].connect() as connection:
            old_id = connection.execute(sa.text(
                'SELECT id FROM resource_providers WHERE uuid = :uuid'),
                {'uuid': old_rp}).scalar()
        self._copy('placement', 'resource_providers', 'uuid', old_rp, [
            {**new, 'id': provider, 'root_provider_id': provider}], drop=())
        for table in ('inventories', 'resource_provider_traits'):
            self._copy('placement', table, 'resource_provider_id', old_id, [
                {'resource_provider_id': provider}])
        self._copy_servers(self.servers, host, provider)

    # What is measured

    def _start(self, driver):
        """Restart the service of the host, and run its first periodic task.

        :param driver: the virt driver
        :returns: counts and seconds
        """
        self.flags(compute_driver=driver)
        conductor = Conductor()
        with self._counting() as counts:
            objects_base.NovaObject.indirection_api = conductor
            start = time.monotonic()
            try:
                self.restart_compute_service(HOST)
                self.run_periodic_task(HOST)
            finally:
                objects_base.NovaObject.indirection_api = None
            seconds = time.monotonic() - start
        return {**counts, 'conductor': conductor.calls, 'seconds': seconds}

    def _audit(self, hosts):
        with self._counting() as counts:
            start = time.monotonic()
            compared, differences = run_audit()
            seconds = time.monotonic() - start
        return {**counts, 'hosts': hosts, 'compared': compared,
                'differences': differences, 'seconds': seconds}

    @contextlib.contextmanager
    def _counting(self):
        counts = dict.fromkeys(('placement', 'calls', 'dumps'), 0)
        domain = self.memory_libvirt.domain
        dump = domain.XMLDesc
        ask = placement_handler.PlacementHandler.__call__
        call = rpc_client._BaseCallContext.call
        first = self.instance(self.first)

        def counted_dump(*args, **kwargs):
            counts['dumps'] += 1
            return dump(*args, **kwargs)

        def counted_ask(this, *args):
            counts['placement'] += 1
            return ask(this, *args)

        def counted_call(this, context, method, **kwargs):
            target = this.target
            if target.namespace != 'memhotplug':
                return call(this, context, method, **kwargs)
            counts['calls'] += 1
            if target.server in (HOST, None):
                return call(this, context, method, **kwargs)
            real = this.prepare(server=HOST)
            return answer_for(first, functools.partial(call, real, context),
                              method, **kwargs)

        domain.XMLDesc = counted_dump
        placement_handler.PlacementHandler.__call__ = counted_ask
        rpc_client._BaseCallContext.call = counted_call
        try:
            yield counts
        finally:
            domain.XMLDesc = dump
            placement_handler.PlacementHandler.__call__ = ask
            rpc_client._BaseCallContext.call = call


def _replaced(row, new, drop):
    """Make a copy of a row: columns by name, or texts within its columns."""
    made = {}
    for column, value in row.items():
        if column in drop:
            continue
        if column in new:
            value = new[column]
        elif isinstance(value, str):
            for old, text in new.items():
                if isinstance(text, str):
                    value = value.replace(old, text)
            if column == 'uuid' and value == row[column]:
                # One that nothing refers to.
                value = uuidutils.generate_uuid()
        made[column] = value
    return made


def main():
    """Measure, and write what was found to a file."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--servers', type=int, default=1000)
    parser.add_argument('--hosts', type=int, default=10)
    parser.add_argument('--longest', type=int, default=60)
    parser.add_argument('--json', required=True)
    args = parser.parse_args()
    Fleet.servers, Fleet.hosts = args.servers, args.hosts
    Fleet.longest = args.longest
    case = Fleet('measure')
    result = unittest.TestResult()
    case.run(result)
    for _case, text in result.errors + result.failures:
        print(text, file=sys.stderr)
    if not result.wasSuccessful():
        return 1
    with open(args.json, 'w') as answer:
        json.dump(Fleet.found, answer)
    return 0
