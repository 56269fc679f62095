#!/usr/bin/env bash
# tests/package/core.sh: builds lib/ alone, whole and with allocators left out, installs it, and builds
# programs against that: by pkg-config and by CMake, shared and static. Then looks at what is exported
# and what the headers need.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
CC=${CC:-cc}

fail() {
  echo "core: $*" >&2
  exit 1
}

quietly() {
  "$@" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    fail "failed: $*"
  }
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix

install_lib() { # CMAKE-ARGUMENT…
  # Without the rest of the tree.
  rm -rf "$prefix" "$work/source"
  cp -R "$here/../../lib" "$work/source"
  quietly cmake -S "$work/source" -B "$work/build" --fresh -DCMAKE_C_COMPILER="$CC" \
    -DCMAKE_INSTALL_PREFIX=/nowhere "$@"
  quietly cmake --build "$work/build" --parallel 2
  quietly cmake --install "$work/build" --prefix "$prefix"
  libdir=$(dirname "$(find "$prefix" -name liballot-core.so)")
  export PKG_CONFIG_PATH=$libdir/pkgconfig LD_LIBRARY_PATH=$libdir
}

by_pkg_config() { # PROGRAM
  # shellcheck disable=SC2046 # several words
  "$CC" -Wall -Wextra -Werror -o "$work/$1" "$here/core/$1.c" \
    $(pkg-config --cflags --libs "allot-$1")
  # shellcheck disable=SC2046
  "$CC" -Wall -Wextra -Werror -static -o "$work/$1-static" "$here/core/$1.c" \
    $(pkg-config --static --cflags --libs "allot-$1")
}

run_all() { # DIR NAME…: the programs there; the byte allocators named are built in
  local dir=$1
  shift
  for program in core core-static; do "$dir/$program" "$@"; done
  for program in heap heap-static; do "$dir/$program"; done
  readelf -d "$dir/core-static" "$dir/heap-static" | grep -q 'liballot' &&
    fail "a static program loads one of our libraries"
  readelf -d "$dir/core" | grep -q 'NEEDED.*liballot-core.so.0' || fail "core loads no library"
}

install_lib
for program in core heap; do by_pkg_config "$program"; done
run_all "$work" tlsf first-fit buddy slab
[[ $("$work/heap") != *" 0 events" ]] || fail "no trace points"
quietly cmake -S "$here/core" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix" \
  -DCMAKE_C_COMPILER="$CC"
quietly cmake --build "$work/cmake"
run_all "$work/cmake" tlsf first-fit buddy slab

for name in core heap; do
  library=$libdir/liballot-$name.so
  nm -D --defined-only "$library" | awk '$3 !~ /^allot_/' >"$work/others"
  [ ! -s "$work/others" ] || fail "$library exports other names: $(cat "$work/others")"
  readelf -d "$library" | grep -q "SONAME.*\[liballot-$name.so.0\]" || fail "$library: soname"
  # The archive keeps its inner names to itself.
  nm --defined-only --extern-only "$libdir/liballot-$name.a" | awk 'NF == 3 { print $3 }' | sort |
    diff <(nm -D --defined-only "$library" | awk '{ print $3 }' | sort) - >&2 ||
    fail "liballot-$name.a and liballot-$name.so show different names"
done

# Each header alone, strictly.
for header in "$prefix"/include/allot/*.h; do
  printf '#include <allot/%s>\nextern int something;\n' "${header##*/}" >"$work/header.c"
  "$CC" -std=c17 -pedantic -Wall -Wextra -Werror -I"$prefix/include" -fsyntax-only "$work/header.c"
done
# And from C++ where there is a compiler.
if command -v c++ >/dev/null; then
  for header in "$prefix"/include/allot/*.h*; do
    printf '#include <allot/%s>\n' "${header##*/}" >"$work/header.cpp"
    c++ -std=c++17 -pedantic -Wall -Wextra -Wshadow -Wconversion -Werror -I"$prefix/include" \
      -fsyntax-only "$work/header.cpp"
  done
fi

# What is left out is not there, and what is there works; slab has something to be over.
install_lib -DALLOT_TLSF=OFF -DALLOT_FIRST_FIT=OFF -DALLOT_BITMAP_IDS=OFF -DALLOT_TRACE=OFF
for program in core heap; do by_pkg_config "$program"; done
run_all "$work" buddy slab
[[ $("$work/heap") == *" 0 events" ]] || fail "trace points that were left out"
for name in allot_first_fit allot_bitmap_ids; do
  nm -D "$libdir/liballot-core.so" | grep -q " $name\$" && fail "$name was left out, and is there"
done
exit 0
