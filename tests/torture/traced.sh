#!/bin/sh
# Stands in for the daemon: the one that TRACED names, killed at its TRACED_WHEN-th TRACED_CALL. It
# keeps its pid and its parent: strace is the one that is detached.
exec strace -D -qq -f -o /dev/null -e "trace=$TRACED_CALL" \
  -e "inject=$TRACED_CALL:signal=KILL:when=$TRACED_WHEN" "$TRACED" "$@"
