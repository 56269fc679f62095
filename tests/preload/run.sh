#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A program of Debian's, with liballot-malloc.so as its malloc and without: the outputs must be equal,
# and libc's own allocator must have handed out nothing. ALLOT_MALLOC names the algorithm.
#
# usage: run.sh LIBRARY PROGRAM WITNESS FAMILY [NAME…]     (in the project's directory)
# FAMILY is test_malloc_family, each NAME an algorithm that is not built in. 77: the program is not
# there; in CI that is a failure.
set -euo pipefail

library=$1
program=$2
witness=$3
family=$4
dir=$(mktemp -d)
server=
finish() {
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; fi
  rm -rf "$dir"
}
trap finish EXIT

lack() { # WHAT
  echo "no $1" >&2
  if [ "${CI:-}" = true ]; then exit 1; fi
  exit 77
}

need() {
  for command in "$@"; do
    command -v "$command" >/dev/null || lack "$command: script/setup test installs it"
  done
}

with() { env LD_PRELOAD="$library $witness" "$@"; }

# Nothing is proved where the library is not loaded; a library that ends early is found here.
loaded=$(with /bin/cat /proc/self/maps)
[[ $loaded == *liballot-malloc.so* ]] || { echo "not loaded: $library" >&2; exit 1; }

# compare FUNCTION: runs it plain and with the library, by way of "$@" before each command.
compare() {
  "$1" plain env >"$dir/plain" 2>&1 || { echo "fails without us:"; cat "$dir/plain"; exit 1; }
  "$1" ours with >"$dir/ours" 2>&1 || { echo "fails with us:"; cat "$dir/ours"; exit 1; }
  diff "$dir/plain" "$dir/ours" >&2
  [ -s "$dir/plain" ] || { echo "said nothing" >&2; exit 1; }
}

refused() { # NAME WHY
  local said

  said=$(ALLOT_MALLOC=$1 with /bin/echo ran 2>&1) && exit 1
  [[ $said == *"ALLOT_MALLOC names $2: $1"* && $said != *ran* ]]
}

run_python() { # its own tests, every allocation through malloc
  shift
  (cd "$dir" && "$@" env PYTHONMALLOC=malloc PYTHONHASHSEED=0 /usr/bin/python3 -I -c '
import sys, unittest
names = ["test_json", "test_dict", "test_list", "test_set", "test_bytes", "test_heapq", "test_deque",
         "test_struct", "test_zlib", "test_memoryview"]
suite = unittest.defaultTestLoader.loadTestsFromNames("test." + n for n in names)
result = unittest.TextTestRunner(stream=open("/dev/null", "w")).run(suite)
print(result.testsRun, len(result.skipped), result.failures, result.errors)
sys.exit(not result.wasSuccessful())')
}

run_git() {
  shift
  "$@" git log --stat -n 60
  "$@" git grep -c allot
  "$@" git fsck --no-dangling --no-progress && echo sound
  "$@" git rev-list --objects HEAD | "$@" git pack-objects --threads=2 --stdout -q | wc -c >/dev/null
}

run_sqlite() {
  shift
  "$@" sqlite3 "$dir/db-$RANDOM" <<'END'
create table t(a integer primary key, b text, c real);
with recursive n(x) as (select 1 union all select x + 1 from n where x < 100000)
  insert into t select x, hex(x * 7919) || printf('%.*c', x % 200, 'y'), x / 3.0 from n;
create index i on t(b);
delete from t where a % 3 = 0;
select count(*), sum(length(b)), round(sum(c), 3) from t;
select b, count(*) from t group by substr(b, 1, 3) order by 1 limit 20;
vacuum;
pragma integrity_check;
END
}

run_gcc() { # all of lib/
  local out=$dir/$1.o file
  local -a all=(-DALLOT_{TLSF,FIRST_FIT,BUDDY,SLAB,BITMAP_PAGES,BITMAP_IDS})

  shift
  for file in lib/*.c lib/*/*.c; do
    "$@" gcc -std=gnu17 -O2 -g0 "${all[@]}" -Ilib/include -c "$file" -o "$out"
    sha256sum <"$out"
  done
}

run_redis() {
  local socket=$dir/$1.socket seen='' i

  shift
  # The server is this program under another name; the package of that name starts a service.
  ln -sf "$(command -v redis-check-rdb)" "$dir/redis-server"
  "$@" "$dir/redis-server" --port 0 --unixsocket "$socket" --save '' --dir "$dir" --daemonize no \
    >"$dir/redis.log" 2>&1 &
  server=$!
  for ((i = 0; i < 1000; i++)); do
    seen=$("$@" redis-cli -s "$socket" ping 2>/dev/null) && break
    kill -0 "$server" || { cat "$dir/redis.log"; return 1; }
    sleep 0.01
  done
  echo "$seen"
  "$@" redis-benchmark -s "$socket" -q -n 20000 -r 5000 -d 300 -c 20 \
    -t set,get,incr,lpush,rpop,sadd,hset,zadd,lrange_100,mset >"$dir/benchmark" ||
    { cat "$dir/benchmark"; return 1; }
  "$@" redis-cli -s "$socket" eval \
    'redis.call("flushall") for i=1,20000 do redis.call("set","k"..i,string.rep("v",i%999)) end
     for i=1,20000,2 do redis.call("del","k"..i) end
     local n=0 for i=2,20000,2 do n=n+#redis.call("get","k"..i) end return n' 0
  "$@" redis-cli -s "$socket" dbsize
  "$@" redis-cli -s "$socket" shutdown nosave
  wait "$server"
  server=
}

case $program in
  python)
    [ -f /usr/lib/python3.11/test/test_json/__init__.py ] ||
      lack "tests of python's own: script/setup test installs them"
    ;;
  git)
    need git
    export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' # whose it is
    git rev-parse HEAD >/dev/null || lack "repository that git reads here"
    ;;
  sqlite) need sqlite3 ;;
  gcc) need gcc ;;
  redis) need redis-check-rdb redis-cli redis-benchmark ;;
  refusal) # ends the program before it starts, and says why
    for name in buddies tls; do refused "$name" "no algorithm that there is"; done
    for name in "${@:5}"; do refused "$name" "an algorithm that is not built in"; done
    exit 0
    ;;
  control) # libc's allocator is seen at work where ours is not there
    "$family" libc
    if with "$family" libc; then exit 1; fi
    said=$(LD_PRELOAD="$witness" "$family" libc 2>&1) && exit 1
    [[ $said == witness:* ]]
    exit 0
    ;;
  *)
    echo "no program $program" >&2
    exit 2
    ;;
esac
compare "run_$program"
