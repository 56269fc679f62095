#!/bin/sh
# SPDX-License-Identifier: MIT
#
# lib/ needs no system: it compiles without a C library's headers, wants nothing from one but memcpy
# and memset, which compilers emit by themselves, and keeps no state of its own.
#
# usage: freestanding.sh COMPILER SOURCE…        (in lib/)
set -eu

compiler=$1
shift
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

for source in "$@"; do
    "$compiler" -std=c17 -O2 -Wall -Wextra -Werror -ffreestanding -nostdinc -fno-pie \
        -isystem "$("$compiler" -print-file-name=include)" -Iinclude \
        -c "$source" -o "$dir/$(echo "$source" | tr / -).o"
done
"$compiler" -nostdlib -r "$dir"/*.o -o "$dir/all"

foreign=$(nm -u "$dir/all" | awk '$2 != "memcpy" && $2 != "memset" { print $2 }')
state=$(nm "$dir/all" | awk '$2 ~ /^[BbCDdGgSs]$/ { print $3 }')
tables=$(nm -g --defined-only "$dir/all" | grep -c ' allot_tlsf$')
if [ -n "$foreign$state" ] || [ "$tables" != 1 ]; then
    echo "not freestanding: wants: ${foreign:-nothing}; variables: ${state:-none}" >&2
    exit 1
fi
