#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tools/install-deps, with stand-ins for dpkg-query, apt-get, id and sudo.
root=$1
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
n_failed=0
mkdir "$T/bin"
export T

tool() {
    printf '#!/bin/sh\n%s\n' "$2" >"$T/bin/$1"
    chmod +x "$T/bin/$1"
}
# Each file of $T/have is an installed package.
tool dpkg-query 'for p; do :; done; [ -e "$T/have/$p" ] && echo "install ok installed" || exit 1'
tool apt-get 'echo "apt-get $*" >>"$T/log"; case $* in *" install "*) [ -z "${BROKEN-}" ] || { echo "E: no such thing"; exit 100; } ;; esac'
tool id 'echo "${ID:-0}"'
tool sudo 'echo "sudo $*" >>"$T/log"; [ "$1" = -v ] || exec "$@"'

try() {
    : >"$T/log"
    env PATH="$T/bin:/usr/bin:/bin" "$@" >"$T/out" 2>&1
    code=$?
}

check() {
    what=$1
    shift
    if "$@"; then
        echo "ok - $what"
    else
        echo "not ok - $what"
        sed 's/^/# /' "$T/out" "$T/log"
        n_failed=$((n_failed + 1))
    fi
}
says() { grep -q -e "$1" "$T/out"; }
did() { grep -q -e "$1" "$T/log"; }
idle() { [ ! -s "$T/log" ] && [ ! -s "$T/out" ]; }

mkdir "$T/have"
try "$root/tools/install-deps" --list test
check '--list prints the set in one line' [ "$code$(grep -c '^gcc .* libcmocka-dev .*bubblewrap$' "$T/out")" = 01 ]
check '--list installs nothing' [ ! -s "$T/log" ]
try "$root/tools/install-deps" --check build
check '--check names what is missing and what to run' says 'to install them, run: tools/install-deps build'
check '--check fails' [ $code = 1 ]
check '--check installs nothing' [ ! -s "$T/log" ]

try "$root/tools/install-deps" test
check 'says what it installs' says 'installing.* meson .*libcmocka-dev'
check 'updates the lists' did 'apt-get.* update$'
check 'installs' did 'apt-get.* install --no-install-recommends .*libjansson-dev'
check 'needs no sudo as root' [ "$code$(grep -c sudo "$T/log")" = 00 ]

try env ID=1000 "$root/tools/install-deps" test
check 'uses sudo when not root' did '^sudo env DEBIAN_FRONTEND=noninteractive apt-get'

try env BROKEN=1 "$root/tools/install-deps" build
check 'shows the last words of a failure' says 'E: no such thing'
check 'fails when apt-get does' [ $code = 1 ]

for p in $(sed -n "s/^    //; /^build=/,/'\$/p; /^test=/p; /^ci=/p; /^arm=/p" "$root/tools/install-deps" | tr -d "'\"" | sed 's/^[a-z]*=//'); do
    : >"$T/have/$p"
done
for set in build test ci arm; do
    try "$root/tools/install-deps" $set
    check "does nothing when all of '$set' is there" idle
done
try "$root/tools/install-deps" nonsense
check 'an unknown set is misuse' [ $code = 2 ]
[ $n_failed = 0 ]
