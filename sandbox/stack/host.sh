#!/bin/sh
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

# host.sh NAME FOLDER FIRMWARE COMMAND...
# Run COMMAND (a libvirtd) as a host of its own: with a host name, and with
# private folders where libvirt keeps its things, and huge pages for guests.
# The mounts are seen by that process and its children only, and go when the
# last of them goes.
# To be called with "unshare --mount --uts --propagation private".

set -e
name=$1
folder=$2
firmware=$3
shift 3

hostname "$name"
mount --bind "$folder/etc" /etc/libvirt
mount --bind "$folder/run" /run/libvirt
mount --bind "$folder/lib" /var/lib/libvirt
mount --bind "$folder/cache" /var/cache/libvirt
mount --bind "$folder/log" /var/log/libvirt
mount --bind "$firmware" /usr/share/qemu/firmware
mount -t hugetlbfs -o pagesize=2M hugetlbfs "$folder/hugepages"
exec "$@"
