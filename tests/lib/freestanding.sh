#!/bin/sh
# SPDX-License-Identifier: MIT
#
# lib/ needs no system: it compiles without a C library's headers, wants nothing from one but memcpy
# and memset, which compilers emit by themselves, and keeps no state of its own. The same is true of
# the shared library, as it was built.
#
# usage: freestanding.sh LIBRARY COMPILER [-DNAME=VALUE…] SOURCE…       (in lib/)
set -eu

library=$1
compiler=$2
shift 2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

foreign() {
    nm "$@" | awk '$1 == "U" { sub(/@.*/, "", $2); if ($2 != "memcpy" && $2 != "memset") print $2 }'
}

definitions=
for source in "$@"; do
    case $source in
        -D*)
            definitions="$definitions $source"
            continue
            ;;
    esac
    # shellcheck disable=SC2086 # several words
    "$compiler" -std=c17 -O2 -Wall -Wextra -Werror -ffreestanding -nostdinc -fno-pie \
        -isystem "$("$compiler" -print-file-name=include)" -Iinclude $definitions \
        -c "$source" -o "$dir/$(echo "$source" | tr / -).o"
done
"$compiler" -nostdlib -r "$dir"/*.o -o "$dir/all"

wants=$(foreign -u "$dir/all")$(foreign -D -u "$library")
state=$(nm "$dir/all" | awk '$2 ~ /^[BbCDdGgSs]$/ { print $3 }')
if [ -n "$wants$state" ] || ! nm -D --defined-only "$library" | grep -q ' allot_byte_find$'; then
    echo "not freestanding: wants: ${wants:-nothing}; variables: ${state:-none}" >&2
    exit 1
fi
