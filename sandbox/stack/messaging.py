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

"""RabbitMQ with its own node, data and ports, and its port mapper."""

from stack import process
from stack import settings as settings_


def start(settings):
    """Start the port mapper, then the broker.

    The mapper is started here, not by the broker, which would leave it
    running for ever.
    """
    epmd = process.Service(
        'epmd', ['/usr/bin/epmd', '-address', settings_.ADDRESS, '-port',
                 settings.port('epmd')], port=settings.port('epmd'))
    process.start(settings, epmd)
    process.wait_ready(settings, epmd)
    data = settings.data / 'rabbitmq'
    data.mkdir(exist_ok=True)
    plugins = settings.etc / 'rabbitmq-plugins'
    plugins.write_text('[].\n')
    config = settings.render('rabbitmq.conf')
    broker = process.Service(
        'messaging', ['/usr/lib/rabbitmq/bin/rabbitmq-server'],
        files=[config], port=settings.port('messaging'),
        env={
            'RABBITMQ_CONF_ENV_FILE': str(settings.etc / 'rabbitmq-none'),
            'RABBITMQ_CONFIG_FILE': str(config),
            'RABBITMQ_ENABLED_PLUGINS_FILE': str(plugins),
            'RABBITMQ_NODENAME': 'sandbox@localhost',
            'RABBITMQ_MNESIA_BASE': str(data),
            'RABBITMQ_LOG_BASE': str(settings.logs),
            'RABBITMQ_PID_FILE': str(settings.run / 'rabbitmq.pid'),
            'RABBITMQ_DIST_PORT': str(settings.port('messaging_dist')),
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS':
                '+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}',
            'ERL_EPMD_PORT': str(settings.port('epmd')),
            'ERL_EPMD_ADDRESS': settings_.ADDRESS,
        })
    process.start(settings, broker)
    return broker
