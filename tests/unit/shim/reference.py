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

The rules are QEMU's: JSON for an ``-object`` that starts with a brace
(system/vl.c, object_option_parse), else key=value with doubled commas
(util/qemu-option.c, opts_do_parse) and sizes as in util/cutils.c
(qemu_strtosz). What QEMU would refuse anyway stays as it is.
"""

import json
import re

BACKENDS = ('memory-backend-ram', 'memory-backend-memfd',
            'memory-backend-file')
FREE_TEXT = ('append', 'name', 'kernel', 'initrd')
NAMES = ('qom-type', 'id', 'size')
ID = re.compile(r'[A-Za-z][A-Za-z0-9._-]*')
ZERO = re.compile(r'0+(\.0+)?[bBkKmMgGtTpPeE]?|0[xX]0+')
ESCAPE = re.compile(r'\\(.)', re.DOTALL)


class Refused(ValueError):
    """The argument is nothing that QEMU takes, or nothing for the shim."""


def _unescape(match):
    """Keep escaped quotes and backslashes, blur all other escapes.

    Which others are valid is for QEMU to say; a string that has one is never
    one of the names that matter.
    """
    return match[0] if match[1] in '"\\' else '\\u0001'


def _refuse(constant):
    raise Refused(constant)


def _pairs(pairs):
    """Turn an object's pairs into a dict that remembers repeated names."""
    result = {}
    for key, value in pairs:
        result[key] = Refused if key in result else value
    return result


def parse_json(text):
    """Parse an ``-object`` argument in JSON.

    :param text: the argument
    :returns: the object's properties; a repeated name has the value Refused
    :raises Refused: if it is not valid JSON
    """
    try:
        return json.loads(
            ESCAPE.sub(_unescape, text), strict=False,
            object_pairs_hook=_pairs, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise Refused(str(error))


def _value(text, start):
    """Read a value up to a comma that is not doubled.

    :returns: the value and where the next parameter starts
    """
    value = ''
    while start < len(text):
        if text[start] == ',':
            if text[start + 1:start + 2] != ',':
                return value, start + 1
            start += 1
        value += text[start]
        start += 1
    return value, start


def parse_options(text):
    """Parse an ``-object`` argument in QEMU's key=value form.

    :param text: the argument
    :returns: the properties; a repeated name has the value Refused
    :raises Refused: if a parameter has no name
    """
    result = {}
    start = 0
    while start < len(text) or not result:
        name = re.compile(r'[^=,]*').match(text, start)[0]
        end = start + len(name)
        if text[end:end + 1] == '=':
            value, start = _value(text, end + 1)
        elif not result:
            name = 'qom-type'
            value, start = _value(text, start)
        elif not name:
            raise Refused(text)
        else:
            value, start = 'on', end + 1
        result[name] = Refused if name in result else value
    return result


def empty_backend(text):
    """Tell which empty memory backend an ``-object`` argument creates.

    :param text: the argument
    :returns: the id of the backend, or None if it creates no such thing
    """
    try:
        if text.startswith('{'):
            found = parse_json(text)
            size = found.get('size')
            empty = type(size) is int and size == 0
        else:
            found = parse_options(text)
            size = found.get('size')
            empty = isinstance(size, str) and bool(ZERO.fullmatch(size))
    except Refused:
        return None
    name = found.get('id')
    if (empty and found.get('qom-type') in BACKENDS and
            isinstance(name, str) and ID.fullmatch(name)):
        return name
    return None


def without_memdev(text, dropped):
    """Remove memdev= from a ``-numa`` argument.

    :param text: the argument
    :param dropped: the ids of the backends that are gone
    :returns: the argument without it, or as it was if it names no such id
    """
    parts = text.split(',')
    mine = [part for part in parts if part.startswith('memdev=')]
    if (',,' in text or text.count('memdev=') != 1 or len(mine) != 1 or
            not (parts[0] == 'node' or 'type=node' in parts) or
            mine[0][len('memdev='):] not in dropped):
        return text
    return ','.join(part for part in parts if part != mine[0])


def _pairs_of(arguments):
    """Split a command line into (option, its arguments)."""
    position = 0
    while position < len(arguments):
        word = arguments[position]
        option = re.sub('^--?', '', word) if word.startswith('-') else ''
        if option not in ('object', 'numa') + FREE_TEXT:
            option = ''
        width = 2 if option else 1
        yield option, arguments[position:position + width]
        position += width


def command_line(arguments):
    """Say what the emulator is to get.

    :param arguments: what the shim got, without the program's name
    :returns: the list of arguments for the emulator
    """
    dropped = set()
    for option, words in _pairs_of(arguments):
        if option == 'object' and len(words) == 2:
            dropped.add(empty_backend(words[1]))
    dropped.discard(None)
    result = []
    for option, words in _pairs_of(arguments):
        if len(words) == 2:
            if option == 'object' and empty_backend(words[1]):
                continue
            if option == 'numa':
                words = [words[0], without_memdev(words[1], dropped)]
        result.extend(words)
    return result
