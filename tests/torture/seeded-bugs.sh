#!/usr/bin/env bash
# tests/torture/seeded-bugs.sh CMAKE BUILD-DIR: builds a variant for each patch in bugs/ and runs the
# test that the patch names, which must pass without it and fail with it. Prints who has caught what.
set -euo pipefail

bugs=$(cd "$(dirname "$0")" && pwd)/bugs
build=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$1" --build "$build" --target seeded-bugs >"$work/build" 2>&1 || {
  cat "$work/build"
  exit 1
}

program_of() { # TEST
  local directory
  for directory in torture integration; do
    if [ -x "$build/tests/$directory/test_$1" ]; then
      echo "$build/tests/$directory/test_$1"
    fi
  done
}

# run LOG PROGRAM PATTERN
run() { timeout 300 "$2" "$3" >"$1" 2>&1 </dev/null; }

# try NAME TEST PATTERN: its line of the table; its file "failed" where it is not caught.
try() {
  local variant=$build/tests/torture/bug-$1 log=$work/$1.log began=$SECONDS status=0 what
  case $2 in
    step*) run "$log" "$variant" "$3" || status=$? ;;
    *) ALLOTD=$variant run "$log" "$(program_of "$2")" "$3" || status=$? ;;
  esac
  what=$(grep -v '^\[ RUN' "$log" |
    grep -m1 -oE -e '[a-z ,]+: state [0-9]+: .*' -e 'test_[a-z_]+__[a-z_]+' -e '[a-z_]+\.c:[0-9]+: .*') ||
    what="status $status"
  case $status in
    0 | 124 | 126 | 127)
      what="NOT CAUGHT, status $status"
      touch "$work/failed"
      ;;
  esac
  printf '%-42s %3d s  %s: %s\n' "$1" $((SECONDS - began)) "$2" "${what# }" >"$work/$1.line"
}

# Without any bug each of these passes.
while read -r test pattern; do
  run "$work/sound" "$(program_of "$test")" "$pattern" || {
    echo "$test $pattern fails without any bug:"
    cat "$work/sound"
    exit 1
  }
done < <(sed -n 's/^Caught by: //p' "$bugs"/*.patch | sort -u)

for patch in "$bugs"/*.patch; do
  read -r test pattern < <(sed -n 's/^Caught by: //p' "$patch")
  while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n || true; done
  try "$(basename "$patch" .patch)" "$test" "$pattern" &
done
wait
cat "$work"/*.line
echo "$(cat "$work"/*.line | wc -l) bugs"
! [ -e "$work/failed" ]
