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

"""What the shim is to do with a command line, written down a second time.

libvirt writes an ``-object`` as JSON without blanks, its type first
(src/util/virqemu.c, virQEMUBuildObjectCommandlineFromJSON), and the ``memdev``
of a node last (src/qemu/qemu_command.c, qemuBuildNumaCommandLine). What is
written in any other way is nothing for the shim.
"""

import json
import re

ID = re.compile(r'[A-Za-z0-9._-]+')
NODE = re.compile(r'(node,.*),memdev=([A-Za-z0-9._-]+)', re.DOTALL)


def empty_backend(text):
    """Tell which empty memory backend an ``-object`` argument creates.

    :param text: the argument: JSON, or what does not look like it
    :returns: the id of the backend, or None if it creates no such thing
    """
    if not text.startswith('{') or '{' in text[1:]:
        return None
    found = json.loads(text)
    kind, name, size = (found.get(key) for key in ('qom-type', 'id', 'size'))
    if (text not in (dump(found), dump(found, ensure_ascii=False)) or
            next(iter(found)) != 'qom-type' or
            not kind.startswith('memory-backend-') or
            type(size) is not int or size != 0 or
            not isinstance(name, str) or not ID.fullmatch(name)):
        return None
    return name


def dump(value, **kwargs):
    """Write JSON as libvirt does."""
    return json.dumps(value, separators=(',', ':'), **kwargs)


def split_node(text):
    """Split a ``-numa`` argument that names a backend.

    :param text: the argument
    :returns: what stays without the backend, and its id; None twice if it
        names none, or not in the way of libvirt
    """
    found = NODE.fullmatch(text)
    if found is None or ',,' in text or text.count('memdev=') > 1:
        return None, None
    return found[1], found[2]


def command_line(arguments):
    """Say what the emulator is to get.

    :param arguments: what the shim got, without the program's name
    :returns: the list of arguments for the emulator
    """
    pairs = list(zip([None, *arguments], arguments))
    empty = {empty_backend(word) for option, word in pairs
             if option == '-object'} - {None}
    named = {split_node(word)[1] for option, word in pairs
             if option == '-numa'}
    result = []
    for option, word in pairs:
        if option == '-object' and empty_backend(word) in empty & named:
            result.pop()
        elif option == '-numa' and split_node(word)[1] in empty:
            result.append(split_node(word)[0])
        else:
            result.append(word)
    return result
