#!/usr/bin/env bash
# The comparison of the digest example finds a wrong digest, and tells it from a file that changed.
# shellcheck source=examples/tests/daemon.sh
. "$(dirname "$0")/daemon.sh"
compare=$top/examples/digest/compare

record() { # what the example writes for these files
  rm -rf "$tmp/results"
  mkdir "$tmp/results"
  sha256sum -z -- "$@" >"$tmp/results/digests"
  stat --printf '%s %.9Z %n\0' -- "$@" >"$tmp/results/stamps"
}
files=("$tmp/one" "$tmp"/$'two\nlines' "$tmp/thr ee")
for file in "${files[@]}"; do printf '%s' "$file" >"$file"; done

record "${files[@]}"
"$compare" "$tmp/results" >"$tmp/out" || fail "equal digests do not pass"
grep -q '^sha256sum agrees on all 3 files$' "$tmp/out" || fail "equal digests: wrong count"

sed -i -z '2s/^./z/' "$tmp/results/digests"
"$compare" "$tmp/results" >"$tmp/out" 2>"$tmp/err" && fail "a wrong digest passes"
grep -q '^MISMATCH: .*two\\nlines' "$tmp/err" || fail "the wrong digest is not named"

record "${files[@]}"
printf more >>"${files[0]}"
rm "${files[1]}"
"$compare" "$tmp/results" >"$tmp/out" 2>"$tmp/err" || fail "changed files are taken for mismatches"
grep -q ' on 1 files of 3; 2 changed meanwhile, 0 mismatches$' "$tmp/out" || fail "wrong count of changed"
