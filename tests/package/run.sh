#!/usr/bin/env bash
# tests/package/run.sh BUILD_DIR: installs BUILD_DIR to a temporary prefix that it was not configured
# for, and builds programs against that: by CMake and by pkg-config, shared and static. Then looks at
# what is exported and what the header needs. Ends with 77 (skipped) for a sanitized build, whose
# libraries need the sanitizer in every program.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=${1:?usage: run.sh BUILD_DIR}
CC=${CC:-cc}

fail() {
  echo "package: $*" >&2
  exit 1
}

if grep -q '^ALLOT_SANITIZE:[A-Z]*=.' "$build/CMakeCache.txt"; then
  echo "package: a sanitized build is not for installing" >&2
  exit 77
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
cmake --install "$build" --prefix "$prefix" >"$work/install.log" || {
  cat "$work/install.log" >&2
  fail "does not install"
}
library=$(find "$prefix" -name 'liballot.so')
[ -n "$library" ] || fail "no liballot.so was installed"
libdir=$(dirname "$library")
export PKG_CONFIG_PATH=$libdir/pkgconfig LD_LIBRARY_PATH=$libdir

# What is exported is what the header declares, no more and no less.
nm -D --defined-only "$library" | sed -n 's/.* T \(.*\)@@.*/\1/p' | sort >"$work/exported"
nm -D --defined-only "$library" | awk '$2 != "T" && $2 != "A"' >"$work/others"
[ ! -s "$work/others" ] || fail "exports more than functions: $(cat "$work/others")"
grep -o '\ballot_[a-z_]*(' "$prefix/include/allot.h" | tr -d '(' | sort -u >"$work/named"
# Comments name functions too; a declaration starts its line with a type.
sed -n 's/^[a-z].*\b\(allot_[a-z_]*\)(.*/\1/p' "$prefix/include/allot.h" | sort -u >"$work/declared"
diff "$work/declared" "$work/exported" >&2 || fail "declared (<) and exported (>) differ"
comm -23 "$work/named" "$work/declared" >"$work/unknown"
[ ! -s "$work/unknown" ] || fail "comments name what is not there: $(cat "$work/unknown")"
readelf -d "$library" | grep -q 'SONAME.*\[liballot.so.0\]' || fail "the soname is not liballot.so.0"

# The archive keeps its inner names to itself.
nm --defined-only --extern-only "$libdir/liballot.a" 2>/dev/null | sed -n 's/.* [A-Z] //p' | sort |
  diff "$work/exported" - >&2 || fail "liballot.a shows other names than liballot.so"

# The header alone, strictly, and from C++ where there is a compiler.
echo '#include <allot.h>' >"$work/header.c"
"$CC" -std=c17 -pedantic -Wall -Wextra -Werror -I"$prefix/include" -M "$work/header.c" |
  grep -E 'protobuf|uv\.h|pb-c' && fail "the header needs more than the C library"
"$CC" -std=c17 -pedantic -Wall -Wextra -Werror -I"$prefix/include" -fsyntax-only "$work/header.c"
if command -v c++ >/dev/null; then
  c++ -x c++ -std=c++17 -pedantic -Wall -Wextra -Werror -I"$prefix/include" -fsyntax-only \
    "$work/header.c"
fi

cmake -S "$here" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$CC" \
  --log-level=WARNING >"$work/cmake.log"
cmake --build "$work/cmake" >>"$work/cmake.log" || {
  cat "$work/cmake.log" >&2
  fail "does not build by CMake"
}
cp "$here/Makefile" "$here/program.c" "$work"
make -s -C "$work" CC="$CC" CFLAGS='-Wall -Wextra -Werror'

for program in cmake/shared cmake/static by-pkg-config by-pkg-config-static; do
  said=$("$work/$program") || fail "$program: exit status $?"
  echo "$program: $said"
done
readelf -d "$work/cmake/static" "$work/by-pkg-config-static" | grep -q 'liballot' &&
  fail "a static program loads liballot"

"$prefix/bin/allotctl" --version
if command -v scdoc >/dev/null; then
  for page in man1/allotctl.1 man3/allot.3; do
    [ -s "$prefix/share/man/$page" ] || fail "$page was not installed"
  done
fi
