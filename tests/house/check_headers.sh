#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Each public header compiles alone, as C17 and, where a C++ compiler is there, as C++17.
root=$1
failed=0
flags='-Wall -Wextra -Werror -pedantic -fsyntax-only'
for h in "$root"/include/paco/*.h; do
    name=paco/$(basename "$h")
    if ! printf '#include <%s>\n#include <%s>\n' "$name" "$name" | ${CC:-cc} -std=c17 $flags -I"$root/include" -x c -; then
        echo "not ok - $name alone in C17"
        failed=1
    else
        echo "ok - $name alone in C17"
    fi
    if ! command -v c++ >/dev/null 2>&1; then
        echo "ok - $name alone in C++17 # SKIP no C++ compiler"
    elif ! printf '#include <%s>\nint main() { return 0; }\n' "$name" | c++ -std=c++17 $flags -I"$root/include" -x c++ -; then
        echo "not ok - $name alone in C++17"
        failed=1
    else
        echo "ok - $name alone in C++17"
    fi
done
exit $failed
