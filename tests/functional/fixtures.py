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

"""Fixtures beside Nova's own.

Nova's fake libvirt knows nothing of memory devices. What is added here
behaves as libvirt 9.0 and 11.3 were measured to (facts-qemu-libvirt.md,
sections 2, 3 and 6), the sentences of its refusals included.
"""

import errno
import importlib
import os
import re
import sys
import threading
import types
import urllib.parse

import fixtures
from lxml import etree
from nova.objects import base as objects_base
from nova.scheduler.client import report
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.fixtures import policy as policy_fixtures
from nova.virt import hardware
from nova.virt.libvirt import config as vconfig
from oslo_serialization import jsonutils
from stevedore import extension

from nova_memhotplug.api import authorization
from nova_memhotplug.common import rpcapi
from nova_memhotplug.models import registry
from tests.faults import points
from tests.hooks import wrap

KIB_PER_MIB = 1024
#: Where the memory devices of the fake domains begin. A real one has its RAM
#: below that.
FIRST_BASE = 0x100000000
BLOCK_MIB = 128
#: libvirt's number of the event.
SIZE_CHANGE = 26
_UUID = re.compile('[0-9a-f]{8}-[0-9a-f-]{27}')


def libvirt_error(code, message):
    """Make an error as libvirt raises it."""
    return fakelibvirt.make_libvirtError(
        fakelibvirt.libvirtError, message, error_code=code,
        error_domain=fakelibvirt.VIR_FROM_QEMU, error_message=message)


class Domain(fakelibvirt.Domain):
    """A fake domain with NUMA cells, a ceiling and memory devices."""

    #: What to do before a memory device is attached: a test may raise from
    #: it, or wait in it.
    before_attach = staticmethod(lambda domain, xml: None)
    #: The same before one is detached.
    before_detach = staticmethod(lambda domain, alias: None)
    #: Whether the guest does not let go of a memory device, by its XML.
    keeps = staticmethod(lambda device: False)
    #: What a guest has of a virtio-mem, in KiB, that has one amount and is
    #: asked for another, by name of the device.
    takes = staticmethod(lambda alias, current_kib, requested_kib:
                         requested_kib)
    #: What to do before a memory device is updated.
    before_update = staticmethod(lambda domain, xml: None)
    #: Where the hosts have the emulator shim.
    shim_directory = None
    #: The hypervisors that a domain can migrate to, by the name of the host.
    hosts = {}
    #: Hosts whose libvirt starts an empty cell by itself, as 12.9 does
    #: (facts-native.md).
    native_hosts = set()
    #: What the guest agent answers, if not None: a callable that gets the
    #: domain and the decoded question.
    agent = None
    #: What the balloon driver of the guest has told: a callable that gets the
    #: domain. Nova's own fake has none.
    balloon = staticmethod(lambda domain: {})
    #: The backends of devices that QEMU has and libvirt has lost, by the name
    #: of the device; and whether the guest lets go of them.
    lost = {}
    lets_go = True
    #: The backends that QEMU has and no device.
    orphans = frozenset()
    #: What somebody has attached to the running guest that is no DIMM: XML as
    #: libvirt shows it.
    by_hand = ()

    def __init__(self, connection, xml, running=False, transient=False):
        super().__init__(connection, xml, running, transient)
        #: The XML exactly as Nova wrote it.
        self.defined_xml = xml
        self._root = etree.fromstring(xml)
        #: <memory> devices, as they are in the persistent definition.
        self.persistent = [
            one for one in self._root.findall('devices/memory')
            if one.get('model') in ('dimm', 'virtio-mem')]
        self.live = []
        instance = self._root.find('metadata/{%s}instance' % vconfig.NOVA_NS)
        #: Nova's element, live and stored.
        self._metadata = dict.fromkeys(
            (fakelibvirt.VIR_DOMAIN_AFFECT_LIVE,
             fakelibvirt.VIR_DOMAIN_AFFECT_CONFIG),
            None if instance is None else etree.tostring(
                instance, encoding='unicode'))
        if running:
            self._start()

    def createWithFlags(self, flags):
        self._start()
        super().createWithFlags(flags)

    def _start(self):
        self._refuse_empty_backend()
        for element in self._root.findall('numatune/*'):
            self._refuse_host_nodes(element.get('nodeset'))
        for element in self._root.findall('devices/memory'):
            self._refuse_host_nodes(element.findtext('source/nodemask'))
        self.live = []
        for device in self.persistent:
            self._plug(device)

    def _refuse_empty_backend(self):
        """Refuse what QEMU refuses: a memory backend of size 0."""
        if self._connection.hostname in self.native_hosts:
            return
        sizes = [cell.get('memory') for cell in self._cells()]
        emulator = self._root.findtext('devices/emulator', default='')
        if '0' in sizes and not emulator.startswith(self.shim_directory):
            raise libvirt_error(
                fakelibvirt.VIR_ERR_INTERNAL_ERROR,
                "internal error: qemu unexpectedly closed the monitor: "
                "property 'size' of memory-backend-ram doesn't take value "
                "'0'")

    def _host_cells(self):
        return self._connection.host_info.numa_topology.cells

    def _refuse_host_nodes(self, nodes):
        """Refuse nodes that the host does not have."""
        known = {cell.id for cell in self._host_cells()}
        missing = hardware.parse_cpu_spec(nodes or '') - known
        if missing:
            raise libvirt_error(
                67, 'unsupported configuration: NUMA node %d is unavailable'
                % min(missing))

    def _refuse_pages(self, size_kib):
        """Refuse huge pages of a size that the host does not have."""
        if size_kib is None:
            return
        sizes = {str(pages.size) for cell in self._host_cells()
                 for pages in cell.mempages}
        if size_kib not in sizes:
            raise libvirt_error(
                fakelibvirt.VIR_ERR_INTERNAL_ERROR,
                'internal error: Unable to find any usable hugetlbfs mount '
                'for %s KiB' % size_kib)

    def _dimms(self, devices=None):
        """List what takes a slot."""
        return [one for one in (self.live if devices is None else devices)
                if not _is_virtio(one)]

    def _cells(self):
        return self._root.findall('cpu/numa/cell')

    def _plug(self, device):
        """Give a device to the guest, where it says or behind the others."""
        behind = max((last for _first, last in map(_range, self.live)),
                     default=FIRST_BASE)
        plugged = _asked if _is_virtio(device) else _plugged
        self.live.append(plugged(device, behind))
        self.let_guest_act()

    def let_guest_act(self):
        """Let the guest take, or give back, what it was asked to.

        libvirt tells of each step (facts-events.md, question 4).
        """
        for device in filter(_is_virtio, self.live):
            alias = device.find('alias').get('name')
            requested, current = (
                device.find('target/' + tag)
                for tag in ('requested', 'current'))
            before, current.text = current.text, str(self.takes(
                alias, int(current.text), int(requested.text)))
            callback, host = self._connection._event_callbacks.get(
                SIZE_CHANGE, (None, None))
            if callback and current.text != before:
                callback(self._connection, self, alias, int(current.text),
                         host)

    def updateDeviceFlags(self, xml, flags):
        """Update a virtio-mem, as libvirt 11.3 does (facts-guests.md, 0.4):
        nothing of it may differ but what is requested.
        """
        self.before_update(self, xml)
        wanted = etree.fromstring(xml)
        alias = wanted.find('alias').get('name')
        found = [one for devices in (self.live, self.persistent)
                 for one in _find(devices, alias)]
        if len(found) < 2 or not alias.startswith('ua-'):
            raise libvirt_error(8, 'invalid argument: memory not found')
        requested = wanted.findtext('target/requested')
        if int(requested) > _size_kib(found[0]):
            raise libvirt_error(
                35, 'XML error: requested size must be smaller than or equal '
                'to @size (%dKiB)' % _size_kib(found[0]))
        before = _copy(found[0])
        for tag in ('requested', 'current'):
            before.find('target/' + tag).text = wanted.findtext(
                'target/' + tag)
        assert etree.tostring(before) == etree.tostring(wanted), xml
        for device in found:
            device.find('target/requested').text = requested
        self.let_guest_act()
        return 0

    def attachDeviceFlags(self, xml, flags):
        if not xml.startswith('<memory'):
            return super().attachDeviceFlags(xml, flags)
        self.before_attach(self, xml)
        device = etree.fromstring(xml)
        self._refuse(device)
        if device.find('address') is None:
            slot = min(set(range(256)) - {_slot(one) for one in self._dimms()})
            etree.SubElement(device, 'address', type='dimm', slot=str(slot))
        if flags & fakelibvirt.VIR_DOMAIN_AFFECT_CONFIG:
            self.persistent.append(device)
        if flags & fakelibvirt.VIR_DOMAIN_AFFECT_LIVE:
            self._plug(device)

    def _refuse_address(self, device):
        """Refuse a slot, or addresses, that another device has."""
        address = device.find('address')
        for one in () if address is None else (
                *self._dimms(), *self._dimms(self.persistent)):
            if _slot(one) == _slot(device):
                raise libvirt_error(
                    67, "unsupported configuration: memory device slot '%d' "
                    "is already being used by another memory device"
                    % _slot(device))
            if address.get('base') is None or (
                    one.find('address').get('base') is None):
                continue
            (first, last), (start, end) = _range(one), _range(device)
            if start < last and first < end:
                raise libvirt_error(
                    1, "internal error: unable to execute QEMU command "
                    "'device_add': address range conflicts with memory "
                    "device id='%s'" % one.find('alias').get('name'))

    def _refuse(self, device):
        self._refuse_host_nodes(device.findtext('source/nodemask'))
        self._refuse_pages(device.findtext('source/pagesize'))
        if self.lost:
            raise libvirt_error(
                1, "internal error: unable to execute QEMU command "
                "'device_add': slot %d is busy" % len(self.live))
        alias = device.find('alias')
        if alias is not None and _find(self.live, alias.get('name')):
            raise libvirt_error(1, 'XML error: non unique alias detected: %s'
                                % alias.get('name'))
        ceiling = self._root.find('maxMemory')
        if ceiling is None:
            raise libvirt_error(
                67, "unsupported configuration: cannot use/hotplug a memory "
                "device when domain 'maxMemory' is not defined")
        slots = int(ceiling.get('slots'))
        count = len(self._dimms()) + 1
        if count > slots:
            raise libvirt_error(
                67, "unsupported configuration: memory device count '%d' "
                "exceeds slots count '%d'" % (count, slots))
        if self._total_kib() + _size_kib(device) > int(ceiling.text):
            raise libvirt_error(
                67, "unsupported configuration: Attaching memory device "
                "with size '%d' would exceed domain's maxMemory config size "
                "'%s'" % (_size_kib(device), ceiling.text))
        self._refuse_address(device)
        if int(device.findtext('target/node')) >= len(self._cells()):
            raise libvirt_error(
                35, "invalid argument: can't add memory backend for guest "
                "node '%s'" % device.findtext('target/node'))

    def detachDeviceAlias(self, alias, flags):
        self.before_detach(self, alias)
        for flag, devices in (
                (fakelibvirt.VIR_DOMAIN_AFFECT_LIVE, self.live),
                (fakelibvirt.VIR_DOMAIN_AFFECT_CONFIG, self.persistent)):
            if flags & flag:
                found = _find(devices, alias)
                if not found:
                    raise libvirt_error(
                        99, 'device not found: no device found with alias %s'
                        % alias)
                # libvirt says success before the guest has answered.
                if devices is not self.live or not self.keeps(found[0]):
                    devices.remove(found[0])

    def managedSave(self, flags):
        super().managedSave(flags)
        self._state = fakelibvirt.VIR_DOMAIN_SHUTOFF

    def managedSaveGetXMLDesc(self, flags):
        return self.XMLDesc(fakelibvirt.VIR_DOMAIN_XML_INACTIVE)

    def memoryStats(self):
        return self.balloon(self)

    def metadata(self, kind, uri, flags):
        """Return Nova's element; libvirt takes the namespace away."""
        return self._metadata[flags]

    def setMetadata(self, kind, metadata, key, uri, flags=0):
        for flag in self._metadata:
            if flag & flags:
                self._metadata[flag] = metadata

    def migrateToURI3(self, destination, params, flags):
        """Move to another host of the test, live and persistent."""
        host = self.hosts[urllib.parse.urlparse(destination).hostname]
        host.defineXML(params['destination_xml']).create()
        del self._connection._vms[self.name()]
        self.complete_job()

    def isActive(self):
        """A paused guest has a live domain, too."""
        return int(self._state in (
            fakelibvirt.VIR_DOMAIN_RUNNING, fakelibvirt.VIR_DOMAIN_PAUSED))

    def _total_kib(self, devices=None):
        boot = self._def['memory']
        if self._cells():
            boot = sum(int(cell.get('memory')) for cell in self._cells())
        devices = self.live if devices is None else devices
        return boot + sum(_size_kib(device) for device in devices)

    def info(self):
        state, _memory, _used, vcpus, cpu_time = super().info()
        total = self._total_kib()
        return [state, total, total, vcpus, cpu_time]

    def XMLDesc(self, flags):
        """Add to the fake XML what was defined and what was plugged."""
        root = etree.fromstring(super().XMLDesc(flags))
        inactive = flags & fakelibvirt.VIR_DOMAIN_XML_INACTIVE
        memory = self.persistent if inactive else self.live
        for tag in ('memory', 'currentMemory'):
            root.find(tag).text = str(self._total_kib(memory))
        machine = self._root.find('os/type').get('machine')
        if machine is not None:
            root.find('os/type').set('machine', machine)
        # Nova's fake makes a numatune of its own that Nova does not write.
        for path in ('maxMemory', 'memoryBacking', 'cpu', 'numatune'):
            for element in root.findall(path):
                root.remove(element)
            element = self._root.find(path)
            if element is not None:
                root.append(_copy(element))
        devices = root.find('devices')
        emulator = self._root.findtext('devices/emulator')
        if emulator is not None:
            devices.find('emulator').text = emulator
        devices.extend(_copy(one) for one in self._root.findall(
            'devices/channel'))
        devices.extend(_copy(one) for one in memory)
        if not inactive:
            devices.extend(map(etree.fromstring, self.by_hand))
        return etree.tostring(root, encoding='unicode')


def _copy(element):
    return etree.fromstring(etree.tostring(element))


def _size_kib(device):
    return int(device.findtext('target/size'))


def _plugged(device, base):
    """Return a device as it is in a live domain: with alias and base."""
    device = _copy(device)
    address = device.find('address')
    if address.get('base') is None:
        address.set('base', hex(base))
    if device.find('alias') is None:
        etree.SubElement(device, 'alias', name='dimm' + address.get('slot'))
    return device


def _is_virtio(device):
    return device.get('model') == 'virtio-mem'


def _asked(device, base):
    """Return a virtio-mem as it is in a live domain."""
    device = _copy(device)
    target = device.find('target')
    if target.find('current') is not None:
        # It comes from another host.
        return device
    etree.SubElement(target, 'current', unit='KiB').text = '0'
    etree.SubElement(target, 'address', base=hex(base))
    if device.find('alias') is None:
        etree.SubElement(device, 'alias', name='virtiomem0')
    etree.SubElement(device, 'address', type='pci', domain='0x0000',
                     bus='0x01', slot='0x00', function='0x0')
    return device


def _slot(device):
    return int(device.find('address').get('slot'))


def _range(device):
    """Return the first address of a device and the one after its last."""
    place = device.find('target/address' if _is_virtio(device) else 'address')
    first = int(place.get('base'), 16)
    return first, first + _size_kib(device) * KIB_PER_MIB


def _find(devices, alias):
    return [device for device in devices
            if device.find('alias') is not None and
            device.find('alias').get('name') == alias]


def all_blocks_online(domain, question):
    """Answer as the agent of a guest that uses all it was given."""
    if question['execute'] == 'guest-get-memory-block-info':
        return {'size': BLOCK_MIB * KIB_PER_MIB * 1024}
    blocks = []
    for device in domain.live:
        first = int(device.find('address').get('base'), 16) >> 27
        count = _size_kib(device) // KIB_PER_MIB // BLOCK_MIB
        blocks += [{'phys-index': number, 'online': True}
                   for number in range(first, first + count)]
    return blocks


def no_new_blocks(domain, question):
    """Answer as the agent of a guest that refuses every new block."""
    if question['execute'] == 'guest-get-memory-block-info':
        return {'size': BLOCK_MIB * KIB_PER_MIB * 1024}
    return [{'phys-index': 0, 'online': True}]


def _agent_command(domain, question, timeout, flags):
    if domain.agent is None:
        raise libvirt_error(86, 'Guest agent is not responding')
    return jsonutils.dumps(
        {'return': domain.agent(domain, jsonutils.loads(question))})


def _monitor_command(domain, question, flags):
    """Answer as QEMU does; it knows what libvirt has lost, too."""
    question = jsonutils.loads(question)
    name = question.get('arguments', {}).get('id')
    answer = {}
    if question['execute'] == 'query-memory-devices':
        known = {device.find('alias').get('name'): 'memory'
                 for device in domain.live}
        answer = [
            {'type': 'dimm', 'data': {'id': one, 'memdev': '/objects/' + back}}
            for one, back in (known | domain.lost).items()]
    elif question['execute'] == 'qom-list':
        answer = [
            {'name': one, 'type': 'child<memory-backend-ram>'}
            for one in ('type', 'ram-node0', *domain.orphans,
                        *domain.lost.values())]
    elif question['execute'] == 'device_del':
        assert name in domain.lost, name
        if domain.lets_go:
            domain.orphans |= {domain.lost.pop(name)}
    elif name in domain.orphans:
        domain.orphans -= {name}
    else:
        return jsonutils.dumps(
            {'error': {'desc': "object '%s' is in use" % name}})
    return jsonutils.dumps({'return': answer})


class MemoryLibvirtFixture(fixtures.Fixture):
    """Make Nova's fake libvirt fit for memory devices.

    The hosts' own probe finds out that they can do ``shim``, ``tiny`` and
    ``existing``, as with Debian's packages.
    """

    def setUp(self):
        super().setUp()
        self.shim_directory = self.useFixture(fixtures.TempDir()).path
        self.domain = type(
            'Domain', (Domain,), {
                'shim_directory': self.shim_directory, 'hosts': {},
                'native_hosts': set()})
        self.useFixture(fixtures.MonkeyPatch(
            'nova.tests.fixtures.libvirt.Domain', self.domain))
        for name, value in (
                ('VIR_DOMAIN_START_AUTODESTROY', 2),
                ('VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE', 18),
                ('VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE', SIZE_CHANGE),
                ('VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED',
                 1)):
            self.useFixture(fixtures.MonkeyPatch(
                'nova.tests.fixtures.libvirt.' + name, value))
        self.useFixture(fixtures.MonkeyPatch(
            'nova.tests.fixtures.libvirt.Connection.getDomainCapabilities',
            self._capabilities(fakelibvirt.Connection.getDomainCapabilities)))
        for module in ('guest', 'agent', 'driver', 'events', 'probe',
                       'emulator', 'address_space'):
            self.useFixture(fixtures.MonkeyPatch(
                'nova_memhotplug.virt.%s.libvirt' % module, fakelibvirt))
        self.useFixture(fixtures.MonkeyPatch(
            'nova_memhotplug.virt.guest.libvirt_qemu',
            types.SimpleNamespace(qemuAgentCommand=_agent_command,
                                  qemuMonitorCommand=_monitor_command)))

    def _capabilities(self, ask):
        """Find emulators of the distribution, and shims in one directory."""
        def capabilities(connection, path, *args):
            if path and not path.startswith(
                    ('/usr/bin/', self.shim_directory)):
                message = 'Cannot check QEMU binary %s' % path
                raise fakelibvirt.make_libvirtError(
                    fakelibvirt.libvirtError, message,
                    error_code=fakelibvirt.VIR_ERR_SYSTEM_ERROR,
                    error_message=message, int1=errno.ENOENT)
            return ask(connection, path, *args)
        return capabilities


class ApiPasteFixture(fixtures.Fixture):
    """What an operator does to ``api-paste.ini``: one line is changed.

    :param config: the ``oslo_config`` object to point at the changed copy
    """

    STOCK = 'nova.api.openstack.compute:APIRouterV21.factory'
    OURS = 'nova_memhotplug.api.router:APIRouter.factory'

    def __init__(self, config):
        self._config = config

    def setUp(self):
        super().setUp()
        with open(os.path.join(
                sys.prefix, 'etc', 'nova', 'api-paste.ini')) as stock:
            before = stock.read()
        assert before.count(self.STOCK) == 1, 'api-paste.ini has changed'
        path = os.path.join(
            self.useFixture(fixtures.TempDir()).path, 'api-paste.ini')
        with open(path, 'w') as changed:
            changed.write(before.replace(self.STOCK, self.OURS))
        self._config.set_override('api_paste_config', path, group='wsgi')
        self.addCleanup(
            self._config.clear_override, 'api_paste_config', group='wsgi')


class PolicyFileFixture(policy_fixtures.RealPolicyFixture):
    """What an operator writes into ``policy.yaml`` before nova-api starts.

    :param rules: expressions, by the names of the rules
    """

    def __init__(self, rules):
        super().__init__()
        self._rules = rules

    def _prepare_policy(self):
        self.policy_file = os.path.join(
            self.useFixture(fixtures.TempDir()).path, 'policy.yaml')
        with open(self.policy_file, 'w') as handle:
            jsonutils.dump(self._rules, handle)
        authorization.enforcer.cache_clear()


class ProcessCachesFixture(fixtures.Fixture):
    """Forget what a process remembers for its whole life."""

    def setUp(self):
        super().setUp()
        for cached in (rpcapi._router, authorization.enforcer,
                       registry.models):
            cached.cache_clear()
            self.addCleanup(cached.cache_clear)


class PointsFixture(fixtures.Fixture):
    """Have something done at the places where a resize can be stopped.

    :param reach: called with the name of a point of ``tests.faults.points``
    """

    def __init__(self, reach):
        super().__init__()
        self._reach = reach

    def setUp(self):
        super().setUp()
        for name, decorator in points.reaching(self._reach).items():
            owner, attribute = wrap.find(
                name, importlib.import_module(name.partition(':')[0]))
            function = vars(owner)[attribute]
            setattr(owner, attribute, decorator(function))
            self.addCleanup(setattr, owner, attribute, function)


class DistributionFixture(fixtures.Fixture):
    """Install a tiny distribution for the time of a test.

    :param name: its name, also that of its only module
    :param source: the source of that module
    :param entry_points: the content of its ``entry_points.txt``
    """

    def __init__(self, name, source, entry_points):
        self._name = name
        self._source = source
        self._entry_points = entry_points

    def setUp(self):
        super().setUp()
        directory = self.useFixture(fixtures.TempDir()).path
        info = os.path.join(directory, self._name + '-1.0.dist-info')
        os.mkdir(info)
        self._write(info, 'METADATA', 'Metadata-Version: 2.1\n'
                    'Name: %s\nVersion: 1.0\n' % self._name)
        self._write(info, 'entry_points.txt', self._entry_points)
        self._write(directory, self._name + '.py', self._source)
        self.useFixture(fixtures.PythonPathEntry(directory))
        self.addCleanup(sys.modules.pop, self._name, None)
        # stevedore remembers what it found in each namespace.
        self.useFixture(fixtures.MockPatchObject(
            extension.ExtensionManager, 'ENTRY_POINT_CACHE', {}))

    @staticmethod
    def _write(directory, name, content):
        with open(os.path.join(directory, name), 'w') as handle:
            handle.write(content)


class ConductorCallsFixture(fixtures.Fixture):
    """Note what would be asked of the conductor, as by nova-compute.

    In a test Nova's objects use the database themselves. Here they ask this
    first, which notes the call and then lets them. All services of a test do,
    so nothing else may go on at the same time.
    """

    def setUp(self):
        super().setUp()
        #: Names of the methods, in the order of the calls.
        self.calls = []
        self._local = threading.local()
        self.useFixture(nova_fixtures.IndirectionAPIFixture(self))

    def __bool__(self):
        # What a conductor asks itself is no call.
        return not getattr(self._local, 'is_inside', False)

    def object_class_action_versions(
        self, context, name, method, versions, args, kwargs,
    ):
        """Answer a call of a class method."""
        found = objects_base.NovaObject.obj_class_from_name(
            name, versions[name])
        return self._answer(name, method, getattr(found, method), context,
                            *args, **kwargs)

    def object_action(self, context, objinst, method, args, kwargs):
        """Answer a call of a method."""
        result = self._answer(objinst.obj_name(), method,
                              getattr(objinst, method), *args, **kwargs)
        return {'obj_what_changed': objinst.obj_what_changed()}, result

    def _answer(self, name, method, function, *args, **kwargs):
        self.calls.append('%s.%s' % (name, method))
        self._local.is_inside = True
        try:
            return function(*args, **kwargs)
        finally:
            self._local.is_inside = False


class HostCallsFixture(fixtures.Fixture):
    """Note what the libvirt and the placement of a test are asked.

    :param domain: the ``Domain`` of the ``MemoryLibvirtFixture``
    """

    def __init__(self, domain):
        self._domain = domain

    def setUp(self):
        super().setUp()
        #: UUIDs of the domains whose XML was read.
        self.dumps = []
        #: Paths of the requests to placement, UUIDs left out.
        self.requests = []
        dump, client = self._domain.XMLDesc, report.SchedulerReportClient

        def note_dump(domain, flags):
            self.dumps.append(domain.UUIDString())
            return dump(domain, flags)

        def note_request(method):
            request = getattr(client, method)

            def wrapper(this, url, *args, **kwargs):
                self.requests.append('%s %s' % (
                    method, _UUID.sub('*', url)))
                return request(this, url, *args, **kwargs)

            return wrapper

        self.useFixture(fixtures.MockPatchObject(
            self._domain, 'XMLDesc', note_dump))
        for method in ('get', 'put', 'post', 'delete'):
            self.useFixture(fixtures.MockPatchObject(
                client, method, note_request(method)))
