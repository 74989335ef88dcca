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
"""Count resizes of memory, for those who watch hosts.

The numbers are written into a file for the textfile collector of Prometheus'
node exporter, which deployments of OpenStack run on each host. oslo.metrics,
which is made for OpenStack, only takes what oslo.messaging measures
(oslo_metrics/message_router.py). A port of its own would be one more thing to
open and to secure.
"""

from collections.abc import Iterator
import contextlib
import os
import time
import typing as ty

from oslo_log import log as logging
import prometheus_client

from nova_memhotplug.common import options
from nova_memhotplug.core import errors
from nova_memhotplug.core import units

CONF = options.CONF
LOG = logging.getLogger(__name__)

#: The numbers of this process, and nobody else's.
REGISTRY = prometheus_client.CollectorRegistry()
_PREFIX = 'nova_memhotplug_'
_DONE, _FAILED = 'done', 'failed'
#: Seconds: from what a quick guest takes to ``confirm_timeout`` and more.
_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

_RESIZES = prometheus_client.Counter(
    _PREFIX + 'resizes', 'Resizes of memory that have ended; of those that '
    'failed, with the code of the error.', ('outcome', 'code'),
    registry=REGISTRY)
_SECONDS = prometheus_client.Histogram(
    _PREFIX + 'resize_seconds', 'How long resizes of memory took.',
    ('outcome',), buckets=_BUCKETS, registry=REGISTRY)
_PLUGGED = prometheus_client.Counter(
    _PREFIX + 'plugged_bytes', 'Memory that was added to servers.',
    registry=REGISTRY)
_GIVEN_BACK = prometheus_client.Counter(
    _PREFIX + 'given_back_bytes', 'Memory that servers gave back.',
    registry=REGISTRY)
_SLOTS = prometheus_client.Gauge(
    _PREFIX + 'slots', 'Memory slots of the guests of this host.',
    ('state',), registry=REGISTRY)
_WITHOUT_SLOT = prometheus_client.Gauge(
    _PREFIX + 'guests_without_free_slot', 'Guests with room for growth, but '
    'no free memory slot.', registry=REGISTRY)


@contextlib.contextmanager
def counted(instance: ty.Any) -> Iterator[None]:
    """Count a resize, how long it takes, and what comes of it.

    :param instance: a ``nova.objects.Instance``, whose flavor is another one
        in the end
    """
    start, before_mb = time.monotonic(), instance.flavor.memory_mb
    outcome, code = _FAILED, ''
    try:
        yield
        outcome = _DONE
    except errors.MemoryHotplugError as exc:
        code = exc.code
        raise
    finally:
        _RESIZES.labels(outcome, code).inc()
        _SECONDS.labels(outcome).observe(time.monotonic() - start)
    added = (instance.flavor.memory_mb - before_mb) * units.BYTES_PER_MIB
    (_PLUGGED if added > 0 else _GIVEN_BACK).inc(abs(added))


def write(guests: ty.Any) -> None:
    """Write the numbers into the file that the configuration names.

    Whatever goes wrong must not keep Nova from computing the usage of the
    host.

    :param guests: the ``virt.guest.Guests`` of the host
    """
    path = CONF.memhotplug.metrics_file
    if not path:
        return
    try:
        _look(guests)
        prometheus_client.write_to_textfile(path, REGISTRY)
        # For whoever collects it, who is not nova; there are no names in it.
        os.chmod(path, 0o644)
    except Exception as exc:
        LOG.warning('The metrics cannot be written into %(path)s: %(exc)s',
                    {'path': path, 'exc': exc})


def _look(guests: ty.Any) -> None:
    """Count the slots of all guests.

    Nova reads the domain of each, too, in this periodic task
    (virt/libvirt/driver.py, _get_disk_over_committed_size_total).
    """
    seen = []
    for live in guests.running().values():
        with contextlib.suppress(errors.MemoryHotplugError):
            guest = live.read()
            if guest.slots:
                seen.append(guest)
    _SLOTS.labels('free').set(sum(guest.free_slots for guest in seen))
    _SLOTS.labels('used').set(sum(guest.used_slots for guest in seen))
    _WITHOUT_SLOT.set(sum(not guest.free_slots for guest in seen))
