#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# paco recover against `cp` of the same output, both with `sync`, in turns.
#
#   bench/recover.sh [DIR [LAYERS [ROUNDS]]]
#
# Makes a pair of LLaMA-7B's width in DIR (default: bench-recover in $TMPDIR) with LAYERS layers (default 8: 11.3 GB of
# inputs, 26 GB of disk in all), F16 base and F32 diff, and leaves it there for the next time. Inputs are read once before
# each turn, and so is the output before it is copied. Prints a line per round, then medians, their ratio (1 means as fast
# as cp) and the peak resident memory.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
paco=${PACO:-$here/${BUILD:-build}/paco}
dir=${1:-${TMPDIR:-/tmp}/bench-recover}
layers=${2:-8}
rounds=${3:-5}
mkdir -p "$dir"
pair=$dir/pair-$layers
if [ ! -f "$pair/done" ]; then
    cc -O2 -std=c17 -D_GNU_SOURCE "$here/bench/make_pair.c" -o "$dir/make_pair" -lm
    "$dir/make_pair" "$pair" "$layers"
    touch "$pair/done"
    sync
fi
now() { date +%s.%N; }
passed() { awk "BEGIN { printf \"%.2f\", $2 - $1 }"; }
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { printf "%.2f", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
rm -rf "$dir/out" "$dir/copy" "$dir/times.paco" "$dir/times.cp"
rss=0
for i in $(seq "$rounds"); do
    rm -rf "$dir/out"
    sync
    cat "$pair"/raw/* "$pair"/diff/* >/dev/null
    start=$(now)
    "$paco" recover -q --json --raw "$pair/raw" --diff "$pair/diff" --out "$dir/out" >"$dir/result.json"
    sync
    ours=$(passed "$start" "$(now)")
    peak=$(sed 's/.*"peak_rss_bytes": *\([0-9]*\).*/\1/' "$dir/result.json")
    [ "$peak" -gt "$rss" ] && rss=$peak
    cat "$dir"/out/* >/dev/null
    start=$(now)
    cp -r "$dir/out" "$dir/copy"
    sync
    theirs=$(passed "$start" "$(now)")
    rm -rf "$dir/copy"
    echo "$ours" >>"$dir/times.paco"
    echo "$theirs" >>"$dir/times.cp"
    echo "round $i: recover $ours s, cp $theirs s"
done
a=$(median "$dir/times.paco")
b=$(median "$dir/times.cp")
size=$(du -sb "$dir/out" | cut -f1)
rm -rf "$dir/out"
awk "BEGIN { printf \"recover %.2f s, cp %.2f s (medians of $rounds; both with sync): %.2f of cp's speed; %.2f GB at %.2f GB/s; peak RSS %.1f MiB\\n\",
    $a, $b, $b / $a, $size / 1e9, $size / 1e9 / $a, $rss / 1048576 }"
