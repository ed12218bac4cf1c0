#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check_install.sh BUILD: what `make install` puts down is whole: the program runs, each command has its manual page, and a
# program builds against the library with pkg-config alone.
set -u
build=$1
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
n_failed=0
check() {
    what=$1
    shift
    if "$@" >"$T/said" 2>&1; then
        echo "ok - $what"
    else
        echo "not ok - $what"
        sed 's/^/# /' "$T/said"
        n_failed=$((n_failed + 1))
    fi
}

check 'installs' env DESTDIR="$T/root" meson install -C "$build" --no-rebuild --quiet
paco=$(find "$T/root" -path '*/bin/paco')
check 'the program runs' "$paco" --version
for c in $("$paco" help --list); do
    check "a manual page for $c" test -s "$(find "$T/root" -name "paco-$c.1")"
done
check 'bash reads its completion' bash -n "$(find "$T/root" -path '*bash-completion*' -name paco)"
for shell in zsh fish; do
    if command -v $shell >/dev/null; then
        check "$shell reads its completion" $shell -n "$(find "$T/root" -path "*$shell*" -name '*paco*' -type f)"
    else
        echo "ok - $shell reads its completion # SKIP there is no $shell"
    fi
done

cat >"$T/use.c" <<'C'
#include <paco/paco.h>
#include <paco/weights.h>
int main(void)
{
    struct paco_recover_options options = paco_recover_options_default();
    struct paco_job_result result;
    struct paco_error err = {0};
    return paco_recover(&options, &result, &err) == PACO_EINVAL && paco_version()[0] ? 0 : 1;
}
C
pc=$(dirname "$(find "$T/root" -name paco.pc)")
if [ "${PACO_SANITIZED-}" ]; then
    echo "ok - a program builds against the library # SKIP the library is built with sanitizers"
else
    prefix=$T/root$(sed -n 's/^prefix=//p' "$pc/paco.pc")
    flags=$(PKG_CONFIG_PATH=$pc pkg-config --define-variable=prefix="$prefix" --static --cflags --libs paco)
    check 'a program builds against the library' sh -c "${CC:-cc} '$T/use.c' -o '$T/use' $flags"
    check 'and runs' "$T/use"
fi
[ $n_failed = 0 ]
