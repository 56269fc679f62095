# shellcheck shell=bash
# Sourced by the tests of the examples: a private daemon in a temporary directory.
#   SCRIPT.sh PROJECT-BUILD ALLOTD ALLOTCTL EXAMPLES-BUILD
set -euo pipefail
export top allotd=$2 allotctl=$3 examples=$4
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/allot-test.XXXXXX")
started=()
cleanup() {
  for pid in "${started[@]}"; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$tmp"
}
trap cleanup EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

start_daemon() { # ALLOTD-ARGUMENT…
  export ALLOT_SOCKET=$tmp/allot.sock
  "$allotd" --socket "$ALLOT_SOCKET" "$@" &
  started+=($!)
  for _ in $(seq 200); do
    if "$allotctl" ping >/dev/null 2>&1; then return; fi
    kill -0 "${started[-1]}" 2>/dev/null || fail "allotd did not start"
    sleep 0.05
  done
  fail "allotd does not answer"
}
