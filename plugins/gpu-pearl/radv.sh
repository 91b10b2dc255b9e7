#!/usr/bin/env bash
# Runs a program with a Mesa under target/radv whose compiler for AMD's cards works without one, and has matrices: Debian 12's
# own has none, and those after 25.0 want a card. Needs apt and Debian 12's archive; no root, and nothing is installed.
#
#   radv.sh PROGRAM …
#
# Ends with status 77, and says why in a line that begins with `skipped: `, where it cannot be had.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
at=${CARGO_TARGET_DIR:-$root/target}/radv
libraries=$at/tree/usr/lib/x86_64-linux-gnu
version=25.0.7-2~bpo12+1

skip() {
    echo "skipped: $*"
    exit 77
}

lay_out() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || skip "a Mesa with matrices needs apt, which is not here"
    [ "$(dpkg --print-architecture)" = amd64 ] || skip "a Mesa with matrices is fetched for x86-64 only"
    grep -q '^VERSION_CODENAME=bookworm' /etc/os-release || skip "a Mesa with matrices is that of Debian 12's backports"
    # The archive that this machine uses already.
    local archive
    archive=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(CODENAME)' 'Created-By: Packages' |
        awk '$2 == "Debian" && $1 !~ /security/ { print $1; exit }')
    [ -n "$archive" ] || skip "a Mesa with matrices comes from Debian's archive, which this machine does not use"
    rm -rf "$at"
    mkdir -p "$at"/state/lists/partial "$at"/cache/archives/partial "$at/tree"
    : >"$at/status"
    printf 'deb [signed-by=%s] %s bookworm-backports main\n' \
        /usr/share/keyrings/debian-archive-keyring.gpg "$archive" >"$at/sources.list"
    local apt=(apt-get -qq -y -o "Dir::State=$at/state" -o "Dir::State::status=$at/status" -o "Dir::Cache=$at/cache"
        -o "Dir::Etc::sourcelist=$at/sources.list" -o Dir::Etc::sourceparts=/nowhere -o Dir::Etc::preferencesparts=/nowhere
        -o APT::Sandbox::User=root -o Acquire::Languages=none -o Debug::NoLocking=true)
    "${apt[@]}" update || skip "Debian's archive could not be read"
    (cd "$at/cache" && "${apt[@]}" download "mesa-vulkan-drivers=$version" libdrm2 libdrm-amdgpu1 libdrm-common) ||
        skip "Mesa $version could not be fetched"
    local package
    for package in "$at"/cache/*.deb; do dpkg-deb -x "$package" "$at/tree"; done
    rm -rf "$at/cache" "$at/state"
    printf '{"file_format_version": "1.0.1", "ICD": {"library_path": "%s", "api_version": "1.4.0"}}\n' \
        "$libraries/libvulkan_radeon.so" >"$at/radeon.json"
    echo "$version" >"$at/version"
}

[ "$(cat "$at/version" 2>/dev/null || true)" = "$version" ] || lay_out
export VK_DRIVER_FILES=$at/radeon.json LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
exec "$@"
