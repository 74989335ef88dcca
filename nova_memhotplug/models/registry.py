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

"""The memory models that are installed."""

import functools
import importlib.metadata

from lxml import etree
from oslo_log import log as logging
from stevedore import extension

from nova_memhotplug.core import device
from nova_memhotplug.core import errors
from nova_memhotplug.models import base

LOG = logging.getLogger(__name__)

NAMESPACE = 'nova_memhotplug.memory_models'


def _report_load_failure(
    manager: 'extension.ExtensionManager[base.MemoryModel]',
    entry_point: importlib.metadata.EntryPoint,
    err: BaseException,
) -> None:
    LOG.error('Memory model %(model)s cannot be loaded: %(err)s',
              {'model': entry_point, 'err': err})


@functools.cache
def models() -> dict[str, base.MemoryModel]:
    """Load every installed memory model, once per process.

    :returns: the models by name; one that cannot be loaded is logged and
        left out
    """
    manager: extension.ExtensionManager[base.MemoryModel]
    manager = extension.ExtensionManager(
        NAMESPACE, invoke_on_load=True,
        on_load_failure_callback=_report_load_failure)
    return {ext.name: ext.obj for ext in manager if ext.obj is not None}


def get(name: str) -> base.MemoryModel:
    """Get a model by its name.

    :param name: the value of ``memhotplug:model``
    :returns: the model
    :raises UnknownModel: if no such model is installed
    """
    try:
        return models()[name]
    except KeyError:
        raise errors.UnknownModel(
            model=name, known=', '.join(sorted(models())))


def elements() -> frozenset[str]:
    """Name the devices of libvirt that installed models know."""
    return frozenset(model.element for model in models().values())


def read(element: etree._Element) -> device.MemoryDevice:
    """Read a memory device of a domain, as its model does.

    Models may have the same kind of device. Then its alias tells whose it is
    (``core.device.new_alias``); without one it is that of the model which has
    the name of the device.

    :param element: a ``<memory>`` element
    :returns: the device
    :raises UnreadableDomain: if the element is not as it should be
    """
    alias = element.find('alias')
    name = '' if alias is None else alias.get('name', '')
    known = {key: model for key, model in models().items()
             if model.element == element.get('model')}
    for key, model in known.items():
        if name.startswith(device.ALIAS_PREFIX + key + '-'):
            return model.read(element)
    owner = known.get(
        element.get('model', ''), next(iter(known.values()), None))
    return owner.read(element) if owner else device.read(element)
