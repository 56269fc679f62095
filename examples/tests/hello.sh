#!/usr/bin/env bash
# The README's example: it is the file that is compiled, and two of its processes see the same bytes.
# shellcheck source=examples/tests/daemon.sh
. "$(dirname "$0")/daemon.sh"

sed -n '/^#include/,$p' "$top/examples/hello/hello.c" >"$tmp/file"
awk '/^```c$/ { inside = 1; next } /^```$/ { if (inside) exit } inside' "$top/README.md" >"$tmp/readme"
[ -s "$tmp/readme" ] || fail "README.md has no C block"
diff "$tmp/readme" "$tmp/file" || fail "README.md and examples/hello/hello.c differ"

start_daemon --config /dev/null
mkfifo "$tmp/enter"
"$examples/hello" <"$tmp/enter" >"$tmp/offset" &
started+=($!)
exec {enter}>"$tmp/enter"
while ! [ -s "$tmp/offset" ]; do
  kill -0 "${started[-1]}" 2>/dev/null || fail "hello ended early"
  sleep 0.01
done
offset=$(cat "$tmp/offset")
"$examples/hello" "$offset" | grep -q '^hello from session [0-9]*$' ||
  fail "the second process reads something else"
echo >&"$enter"
wait "${started[-1]}" || fail "hello ended with $?"
unset 'started[-1]'
[ "$("$allotctl" status --json | jq '.pools[0].used_bytes')" = 0 ] || fail "something is left allocated"

ALLOT_SOCKET=$tmp/nobody "$examples/hello" </dev/null 2>"$tmp/error" && fail "no daemon, no error"
grep -q '^hello: .' "$tmp/error" || fail "no daemon, no message"
