#!/usr/bin/env bash
# Both loops of examples/watch are told of what is there, of what comes, and of what goes.
# shellcheck source=examples/tests/daemon.sh
. "$(dirname "$0")/daemon.sh"

until_it_says() { # FILE TEXT
  for _ in $(seq 600); do
    if grep -qx "$2" "$1"; then return; fi
    sleep 0.05
  done
  fail "$1 never said '$2'"
}

start_daemon --config /dev/null
"$allotctl" publish frame/1 1000
"$allotctl" publish sound/1 77
for loop in poll uv; do
  "$examples/watch-$loop" >"$tmp/$loop" &
  started+=($!)
  until_it_says "$tmp/$loop" waiting
done
"$allotctl" publish frame/1 2000 --replace
"$allotctl" unpublish sound/1
for loop in poll uv; do until_it_says "$tmp/$loop" "frame/1: 2000 bytes"; done
"$allotctl" unpublish frame/1
for loop in poll uv; do until_it_says "$tmp/$loop" "frame/1: gone"; done
"$allotctl" publish frame/last 10
for loop in poll uv; do
  wait "${started[-1]}" || fail "a watcher ended with $?"
  unset 'started[-1]'
done
printf '%s\n' "frame/1: 1000 bytes" waiting "frame/1: 2000 bytes" "frame/1: gone" \
  "frame/last: 10 bytes" >"$tmp/expected"
diff "$tmp/expected" "$tmp/poll"
diff "$tmp/expected" "$tmp/uv"

# By hand, too.
mkfifo "$tmp/input"
"$allotctl" watch frame/ <"$tmp/input" >"$tmp/watch" &
started+=($!)
exec {input}>"$tmp/input"
until_it_says "$tmp/watch" "appeared .*frame/last"
until_it_says "$tmp/watch" "complete .*"
exec {input}>&-
wait "${started[-1]}" || fail "allotctl watch ended with $?"
unset 'started[-1]'
# To files: grep -q would not wait for all that is said, and who says it would die of the pipe.
"$allotctl" names frame/ >"$tmp/names"
grep -q 'frame/last$' "$tmp/names" || fail "allotctl names does not list it"
"$allotctl" lookup frame/last </dev/null >"$tmp/found"
grep -q '^frame/last: bytes, 0x' "$tmp/found" || fail "allotctl lookup"
if "$allotctl" lookup nothing </dev/null 2>"$tmp/error"; then fail "something was found"; fi
grep -q 'nothing of that name' "$tmp/error" || fail "allotctl lookup says: $(cat "$tmp/error")"
