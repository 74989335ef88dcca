#!/bin/bash
#
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
#
# Plugin of devstack: let the Nova of this devstack grow running servers.

_MEMHOTPLUG_XTRACE=$(set +o | grep xtrace)
set +o xtrace

function _memhotplug_status {
    sudo "$(get_python_exec_prefix)/nova-memhotplug-status" "$@"
}

# devstack installs Nova editable, and the plugin must match: a wheel could
# not add a module to the package nova.virt of an editable Nova.
function install_memhotplug {
    setup_develop "$NOVA_MEMHOTPLUG_DIR"
}

function configure_memhotplug_compute {
    iniset "$NOVA_CONF" DEFAULT compute_driver \
        memhotplug.MemHotplugLibvirtDriver
    iniset "$NOVA_CONF" memhotplug zero_cell_strategy \
        "$NOVA_MEMHOTPLUG_STRATEGY"
    _memhotplug_status shim install
    allow_memhotplug_shim
}

# What the rules of the package are added to. (devstack itself makes SELinux
# permissive.)
_memhotplug_profiles=(
    "$NOVA_MEMHOTPLUG_APPARMOR/local/usr.sbin.libvirtd"
    "$NOVA_MEMHOTPLUG_APPARMOR/local/abstractions/libvirt-qemu"
)

function allow_memhotplug_shim {
    if [[ ! -e $NOVA_MEMHOTPLUG_APPARMOR/usr.sbin.libvirtd ]]; then
        return
    fi
    forbid_memhotplug_shim
    sudo mkdir -p "$NOVA_MEMHOTPLUG_APPARMOR/local/abstractions"
    grep -v '^#' "$NOVA_MEMHOTPLUG_DIR/libexec/apparmor-libvirtd" |
        sudo tee -a "${_memhotplug_profiles[0]}" >/dev/null
    grep -v '^#' "$NOVA_MEMHOTPLUG_DIR/libexec/apparmor-guests" |
        sudo tee -a "${_memhotplug_profiles[1]}" >/dev/null
    sudo systemctl reload apparmor
}

# Only our lines: the files may have others.
function forbid_memhotplug_shim {
    local file

    for file in "${_memhotplug_profiles[@]}"; do
        if [[ -e $file ]]; then
            sudo sed -i '\|^/usr/libexec/nova-memhotplug/|d' "$file"
        fi
    done
}

function configure_memhotplug_api {
    iniset "$NOVA_API_PASTE_INI" app:osapi_compute_app_v21 \
        paste.app_factory nova_memhotplug.api.router:APIRouter.factory
    keep_memhotplug_note_out_of_images
}

# Add to what local.conf or another plugin has set; else to Nova's default.
function keep_memhotplug_note_out_of_images {
    local option=non_inheritable_image_properties
    local key value

    value=$(iniget "$NOVA_CONF" DEFAULT "$option")
    value=${value:-cache_in_nova,bittorrent}
    for key in memhotplug_guest memhotplug_no_room; do
        if [[ ,${value// /}, != *,$key,* ]]; then
            value+=,$key
        fi
    done
    iniset "$NOVA_CONF" DEFAULT "$option" "$value"
}

function configure_memhotplug {
    if is_service_enabled n-cpu; then
        configure_memhotplug_compute
    fi
    if is_service_enabled n-api; then
        configure_memhotplug_api
    fi
}

_memhotplug_cloud=(openstack --os-cloud devstack-admin)

# create_memhotplug_flavor NAME MIB
function create_memhotplug_flavor {
    local name=$1
    local ram=$2

    if "${_memhotplug_cloud[@]}" flavor show "$name" &>/dev/null; then
        return
    fi
    "${_memhotplug_cloud[@]}" flavor create --vcpus 1 --disk 1 --ram "$ram" \
        --property memhotplug:max_memory_mb="$NOVA_MEMHOTPLUG_FLAVOR_MAX" \
        --property trait:CUSTOM_MEMORY_HOTPLUG=required "$name"
}

# memhotplug_tempest_flavor OPTION NAME
function memhotplug_tempest_flavor {
    local option=$1
    local name=$2
    local id

    id=$("${_memhotplug_cloud[@]}" flavor show -f value -c id "$name")
    iniset "$TEMPEST_CONFIG" memhotplug "$option" "$id"
}

# Guests of devstack's images have no agent. Whether servers can be migrated
# live is what devstack itself says in [compute-feature-enabled].
function configure_memhotplug_tempest {
    local larger=$NOVA_MEMHOTPLUG_FLAVOR-large

    create_memhotplug_flavor "$larger" $((2 * NOVA_MEMHOTPLUG_FLAVOR_RAM))
    iniset "$TEMPEST_CONFIG" service_available nova_memhotplug True
    iniset "$TEMPEST_CONFIG" memhotplug plain_flavor_ref \
        "$(iniget "$TEMPEST_CONFIG" compute flavor_ref)"
    memhotplug_tempest_flavor flavor_ref "$NOVA_MEMHOTPLUG_FLAVOR"
    memhotplug_tempest_flavor flavor_ref_alt "$larger"
    iniset "$TEMPEST_CONFIG" memhotplug-feature-enabled live_migration True
}

# The command is gone where the Python environment is.
function clean_memhotplug {
    _memhotplug_status shim remove || true
    forbid_memhotplug_shim
}

case "${1:-} ${2:-}" in
    'stack install')
        echo_summary "Installing nova-memhotplug"
        install_memhotplug
        ;;
    'stack post-config')
        echo_summary "Configuring nova-memhotplug"
        configure_memhotplug
        ;;
    'stack extra')
        if is_service_enabled n-api; then
            echo_summary "Creating the flavor $NOVA_MEMHOTPLUG_FLAVOR"
            create_memhotplug_flavor \
                "$NOVA_MEMHOTPLUG_FLAVOR" "$NOVA_MEMHOTPLUG_FLAVOR_RAM"
        fi
        ;;
    'stack test-config')
        # devstack itself has written the configuration by now.
        if is_service_enabled tempest; then
            echo_summary "Configuring Tempest for nova-memhotplug"
            configure_memhotplug_tempest
        fi
        ;;
    'unstack '*)
        # Nothing of the plugin's own runs.
        :
        ;;
    'clean '*)
        clean_memhotplug
        ;;
esac

$_MEMHOTPLUG_XTRACE
