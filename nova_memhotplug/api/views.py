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

"""What users read."""


def show(document):
    """Wrap the description of a server's memory.

    :param document: what ``api.resize.API.get_memory`` returned
    :returns: the body of the answer
    """
    return {'memory': document}


def resized(document):
    """Say what a resize has started, or that nothing had to be done.

    :param document: what ``api.resize.API.resize_memory`` returned
    :returns: the body of the answer
    """
    plan = document['plan']
    return {'memory': {
        'memory_mb': plan['memory_mb'],
        'current_mb': document['current_mb'],
        'changed': document['changed'],
        'devices': plan['devices'],
        'message': _message(document),
    }}


def _message(document):
    added_mb = sum(dev['size_mb'] for dev in document['plan']['devices'])
    if added_mb:
        return 'Memory is being added: %d MiB.' % added_mb
    if document['changed']:
        return ('The server has %d MiB already; its flavor is being brought '
                'to that.' % document['current_mb'])
    return ('The server has %d MiB already; nothing was changed.'
            % document['current_mb'])
