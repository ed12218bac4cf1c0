# SPDX-License-Identifier: Apache-2.0
# Sourced by integration scripts, which get PACO (the program) from meson:
#
#     . "$(dirname "$0")/lib.sh"
#     run 0 "$PACO" inspect model              # exit status; $T/out and $T/err hold what it printed
#     says "$T/err" 'no such file'             # a fixed string in a file
#     finish
#
# Each check prints "ok - ..." or "not ok - ..." for tools/run-tests. $T is a directory of the script's own.
set -u
PACO=${PACO:?PACO is not set}
T=$(mktemp -d "${TMPDIR:-/tmp}/paco-test.XXXXXX")
trap 'rm -rf "$T"' EXIT
trap 'exit 1' INT TERM
n_failed=0

pass() { printf 'ok - %s\n' "$*"; }
fail() { printf 'not ok - %s\n' "$*"; n_failed=$((n_failed + 1)); }
skip() { printf 'ok - %s # SKIP %s\n' "$1" "$2"; }

# run STATUS COMMAND...
run() {
    want=$1
    shift
    "$@" >"$T/out" 2>"$T/err" </dev/null
    got=$?
    what="$(basename "$1") $(shift; printf '%s ' "$@" | sed "s|$T/||g" | cut -c1-80)"
    if [ $got = "$want" ]; then
        pass "$what: exit $want"
    else
        fail "$what: exit $got, wanted $want"
        sed 's/^/# /' "$T/err" | tail -n 5
    fi
}

says() {
    if grep -qF -- "$2" "$1"; then
        pass "says '$2'"
    else
        fail "does not say '$2'"
        sed 's/^/# /' "$1" | tail -n 5
    fi
}

lacks() {
    if grep -qF -- "$2" "$1"; then fail "says '$2', which it should not"; else pass "does not say '$2'"; fi
}

same() { if cmp -s "$1" "$2"; then pass "$(basename "$1") and $(basename "$2") are the same"; else fail "$1 and $2 differ"; fi; }

absent() { if [ -e "$1" ]; then fail "$(basename "$1") exists"; else pass "$(basename "$1") does not exist"; fi; }

finish() { [ "$n_failed" = 0 ]; exit; }
