#!/usr/bin/env bash
# The digest example over a directory of awkward files, through script/demo as a user runs it.
# shellcheck source=examples/tests/daemon.sh
. "$(dirname "$0")/daemon.sh"
build=$1

files=$tmp/files
mkdir -p "$files/-d ir" "$files"/$'new\nline'
: >"$files/empty"
printf x >"$files/one byte"
printf 'a\n' >"$files"/$'new\nline/name\nwith\nnewlines\n'
printf b >"$files/-d ir/-n"
printf c >"$files/back\\slash"
printf d >"$files"/$'not utf-8 \xff\xfe'
printf e >"$files/"'$[x]`"quotes'"'"
head -c 4096 /dev/urandom >"$files/page"
head -c 4097 /dev/urandom >"$files/page and a byte"
head -c 3000000 /dev/urandom >"$files/large"
head -c 3000000 /dev/urandom >"$files/large too"
truncate -s 64M "$files/too large for the pool"
ln -s page "$files/symlink"
mkfifo "$files/fifo"
for i in $(seq 300); do printf '%d' "$i" >"$files/small-$i"; done
regular=311
skipped=1
if [ "$(id -u)" != 0 ]; then
  printf x >"$files/unreadable"
  chmod 0 "$files/unreadable"
  skipped=2
fi

# A pool in which the two large files do not fit beside each other.
cat >"$tmp/allotd.conf" <<END
[pool default]
size = 4M
size_max = 4M
access = *=write
END
# Standard error is no terminal: no progress line may be there.
"$top/script/demo" --build "$build" --config "$tmp/allotd.conf" "$files" >"$tmp/out" 2>"$tmp/err" || {
  cat "$tmp/out" "$tmp/err" >&2
  fail "script/demo ended with an error"
}
cat "$tmp/out"
[ -s "$tmp/err" ] && ! cat "$tmp/err" >&2 && fail "something on standard error"
grep -q "^sha256sum agrees on all $regular files$" "$tmp/out" || fail "not all $regular files agree"
grep -q "^files  *$regular  (1 of them empty, $skipped more skipped)$" "$tmp/out" ||
  fail "wrong counts of files"
grep -q '^skipped .*too\\ large\\ for\\ the\\ pool: 67108864 bytes: ' "$tmp/out" ||
  fail "the file that is larger than the pool is not reported"
grep -q '^nothing is allocated any more$' "$tmp/out" || fail "the end is missing"
if grep -q $'\r' "$tmp/out" "$tmp/err"; then fail "a progress line without a terminal"; fi

# Without a directory, or without files, it says so.
mkdir "$tmp/nothing"
"$top/script/demo" --build "$build" "$tmp/nothing" 2>"$tmp/err" && fail "an empty directory passes"
grep -q 'no regular file below' "$tmp/err" || fail "no word about the empty directory"
