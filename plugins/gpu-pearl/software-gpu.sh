#!/usr/bin/env bash
# Lays out a newer Mesa than the distribution's under target/software-gpu, for the kernels that need int8 matrices: its
# software device has them, and nothing older does. Needs apt and Debian's archive; no root, and nothing is installed.
#
#   software-gpu.sh            fetches and unpacks, once
#   software-gpu.sh PROGRAM …  runs PROGRAM on that device, with its own loader and libraries
#
# Ends with status 77, and says why in a line that begins with `skipped: `, where it cannot be had.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
at=${CARGO_TARGET_DIR:-$root/target}/software-gpu
tree=$at/tree
# What the folder must have been made from; another word here makes it anew.
suite=trixie
version="$suite-backports 2"

skip() {
    echo "skipped: $*"
    exit 77
}

lay_out() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || skip "a newer Mesa needs apt, which is not here"
    [ "$(dpkg --print-architecture)" = amd64 ] || skip "a newer Mesa is fetched for x86-64 only"
    # The archive that this machine uses already.
    local archive
    archive=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(CODENAME)' 'Created-By: Packages' |
        awk '$2 == "Debian" && $1 !~ /security/ { print $1; exit }')
    [ -n "$archive" ] || skip "a newer Mesa comes from Debian's archive, which this machine does not use"
    rm -rf "$at"
    mkdir -p "$at"/state/lists/partial "$at"/cache/archives/partial "$tree"
    : >"$at/status"
    local keys=/usr/share/keyrings/debian-archive-keyring.gpg
    printf 'deb [signed-by=%s] %s %s main\ndeb [signed-by=%s] %s %s-backports main\n' \
        "$keys" "$archive" "$suite" "$keys" "$archive" "$suite" >"$at/sources.list"
    local apt=(apt-get -qq -y -o "Dir::State=$at/state" -o "Dir::State::status=$at/status" -o "Dir::Cache=$at/cache"
        -o "Dir::Etc::sourcelist=$at/sources.list" -o Dir::Etc::sourceparts=- -o Dir::Etc::preferencesparts=-
        -o APT::Sandbox::User=root -o Acquire::Languages=none -o Debug::NoLocking=true)
    "${apt[@]}" update || skip "Debian's archive could not be read"
    "${apt[@]}" install --download-only --no-install-recommends -t "$suite-backports" \
        mesa-vulkan-drivers libvulkan1 libc6 glslang-tools spirv-tools ||
        skip "a newer Mesa could not be fetched"
    local package
    for package in "$at"/cache/archives/*.deb; do dpkg-deb -x "$package" "$tree"; done
    rm -rf "$at/cache" "$at/state"
    local driver
    driver=$(find "$tree/usr/lib" -name libvulkan_lvp.so)
    printf '{"file_format_version": "1.0.1", "ICD": {"library_path": "%s", "api_version": "1.4.0"}}\n' "$driver" \
        >"$at/lavapipe.json"
    echo "$version" >"$at/version"
}

[ "$(cat "$at/version" 2>/dev/null || true)" = "$version" ] || lay_out
[ $# -gt 0 ] || exit 0
libraries=$tree/usr/lib/x86_64-linux-gnu
[ -d "$tree/lib/x86_64-linux-gnu" ] && libraries=$libraries:$tree/lib/x86_64-linux-gnu
export VK_DRIVER_FILES=$at/lavapipe.json
loader=$(find "$tree" -name 'ld-linux-x86-64.so.2' | head -1)
program=$(command -v "$1" || true)
[ -x "$tree/usr/bin/$1" ] && program=$tree/usr/bin/$1
shift
exec "$loader" --library-path "$libraries" "$program" "$@"
