#!/bin/sh
# SPDX-License-Identifier: MIT
#
# docs/allocators.md tells the truth: the files and test cases that it names are there, its example
# compiles and runs, and its figures are those of docs/performance.md.
#
# usage: allocators.sh COMPILER LIBRARY        (in the project's directory)
set -eu

compiler=$1
library=$2
page=docs/allocators.md
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0

complain() {
    echo "$page: $*" >&2
    failed=1
}

for name in $(grep -o "\`[^\`]*\`" "$page" | tr -d "\`" | sort -u); do
    case $name in
    test_*__*)
        grep -rqE "\b$name\b" --include='*.c' --include='*.cpp' tests || complain "no test case $name"
        ;;
    lib/*,) ;; # a row of docs/performance.md
    */*) [ -e "$name" ] || complain "no file $name" ;;
    esac
done

awk '/^```c$/ { inside = 1; next } /^```$/ { if (inside) exit } inside' "$page" >"$dir/example.c"
"$compiler" -std=c17 -Wall -Wextra -Werror -Ilib/include "$dir/example.c" "$library" -o "$dir/example"
"$dir/example" || complain "the example fails"

# A line "| `ROW`: … | figure | …" against the ratios of the rows "lib/ALLOCATOR, ROW".
awk -F ' *[|] *' '
    FNR == NR {
        if ($2 ~ /^lib\//) { split($5, part, " "); ratio[$2] = part[1] }
        next
    }
    $2 == "row" { for (i = 3; i < NF; i++) name[i] = $i }
    $2 ~ /^`[^`]*`: / {
        split($2, part, "`")
        row = part[2]
        for (i = 3; i < NF; i++) {
            told++
            if ($i != ratio["lib/" name[i] ", " row]) {
                print row ", " name[i] ": " $i " is " ratio["lib/" name[i] ", " row]
                wrong = 1
            }
        }
    }
    END { exit wrong || !told }' docs/performance.md "$page" >&2 || complain "figures are not those measured"
exit $failed
