# Everything a person types. The build itself is meson's: see meson.build.
BUILD ?= build
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60
JOBS ?=
export BUILD

.PHONY: all whole demo test arm parity bench install fuzz lint format asan tsan clean help

# The program and the library; `make test` and its like build the rest when they need it.
all: $(BUILD)/build.ninja
	@ninja -C $(BUILD) $(if $(JOBS),-j $(JOBS)) program

whole: $(BUILD)/build.ninja
	@ninja -C $(BUILD) $(if $(JOBS),-j $(JOBS))

$(BUILD)/build.ninja:
	@tools/install-deps --check build
	@meson setup $(BUILD) >/dev/null || { tail -n 20 $(BUILD)/meson-logs/meson-log.txt; exit 1; }

## demo: recover a fine-tune from its diff, and talk to it; installs what is missing
demo:
	@tools/demo

## test: every test; installs what is missing
test:
	@tools/install-deps test
	@tools/run-tests $(if $(TALLY),--add-to $(TALLY))

## arm: build for AArch64 and test under qemu-user, as three processors; installs what is missing
arm:
	@tools/arm

## parity: compare with the reference implementations (downloads several hundred MB of Python packages)
parity: whole
	@tests/parity/run

## bench: speed and memory against what this machine can give
bench: whole
	@bench/run

## install: program, library, headers, man pages, completion, under PREFIX (default /usr/local)
install: $(BUILD)/build.ninja
	@meson configure $(BUILD) "-Dprefix=$$(realpath -m -- "$(PREFIX)")" >/dev/null
	@ninja -C $(BUILD) build.ninja >/dev/null # the prefix changes no program: nothing to look at
	@ninja -C $(BUILD) $(if $(JOBS),-j $(JOBS)) program
	@meson install -C $(BUILD) --quiet --no-rebuild
	@if [ "$$(id -u)" = 0 ]; then chown -R -h --from=0 "$$(stat -c %u:%g Makefile)" $(BUILD); fi # as sudo leaves it, make could not write there
	@bin=$$(realpath -m -- "$(PREFIX)")/bin; echo "installed: $(DESTDIR)$$bin/paco"; \
	    [ "$(DESTDIR)" ] || case ":$$PATH:" in *":$$bin:"*) ;; *) echo "not on your PATH yet: export PATH=\"$$bin:\$$PATH\"" ;; esac

## fuzz: every fuzz target for FUZZ_SECONDS each (default 60), with sanitizers; needs clang
fuzz:
	@tools/fuzz $(FUZZ_SECONDS)

## asan: unit tests, bad files and fuzz corpus under the address and undefined behaviour sanitizers
asan:
	@tools/install-deps test
	@tools/asan

## tsan: tests of what threads share under the thread sanitizer
tsan:
	@tools/install-deps test
	@tools/tsan

## lint: white space, static analysis, and the rules of the tree
lint:
	@tools/lint

## format: rewrite white space with clang-format
format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

## clean: remove what was built
clean:
	rm -rf $(BUILD) $(BUILD)-*

help:
	@echo "make                   build $(BUILD)/paco"
	@sed -n 's/^## \([a-z]*\): /\1 /p' $(MAKEFILE_LIST) | while read -r n t; do printf 'make %-17s %s\n' "$$n" "$$t"; done
