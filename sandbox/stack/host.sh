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

# host.sh NAME FOLDER FIRMWARE ROOT STATE COMMAND...
# Run COMMAND (a libvirtd) as a host of its own: with a host name, and with
# private folders where libvirt keeps its things, and huge pages for guests.
# ROOT is the root file system that it runs in: / or one that the state folder
# STATE is to be in, too, at the same path.
# The mounts are seen by that process and its children only, and go when the
# last of them goes.
# To be called with "unshare --mount --uts --propagation private".

set -e
name=$1
folder=$2
firmware=$3
root=${4%/}
state=$5
shift 5

hostname "$name"
if [ -n "$root" ]; then
    mkdir -p "$root$state"
    mount --bind "$state" "$root$state"
    for name in dev proc sys; do
        mount --rbind "/$name" "$root/$name"
    done
fi
mount --bind "$folder/etc" "$root/etc/libvirt"
mount --bind "$folder/run" "$root/run/libvirt"
mount --bind "$folder/lib" "$root/var/lib/libvirt"
mount --bind "$folder/cache" "$root/var/cache/libvirt"
mount --bind "$folder/log" "$root/var/log/libvirt"
mount --bind "$firmware" "$root/usr/share/qemu/firmware"
mount -t hugetlbfs -o pagesize=2M hugetlbfs "$root$folder/hugepages"
if [ -n "$root" ]; then
    set -- chroot "$root" "$@"
fi
exec "$@"
