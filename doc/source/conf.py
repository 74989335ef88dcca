# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
# http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Configuration of the documentation."""

project = 'nova-memhotplug'
copyright = '2026, nova-memhotplug developers'

extensions = [
    'openstackdocstheme',
    'oslo_config.sphinxconfiggen',
    'oslo_config.sphinxext',
    'oslo_policy.sphinxext',
    'oslo_policy.sphinxpolicygen',
]

# The samples are generated into _static on every build.
_generators = '../../tools/config/nova-memhotplug-%s-generator.conf'
config_generator_config_file = [
    (_generators % 'config', '_static/nova-memhotplug')]
policy_generator_config_file = [
    (_generators % 'policy', '_static/nova-memhotplug')]

openstackdocs_auto_name = False
openstackdocs_pdf_link = False

master_doc = 'index'
source_suffix = {'.rst': 'restructuredtext'}
html_static_path = ['_static']
html_theme = 'openstackdocs'
pygments_style = 'native'
