# Everything a person types. The build itself is meson's: see meson.build.
BUILD ?= build
.PHONY: all test clean

all:
	@test -e $(BUILD)/build.ninja || meson setup $(BUILD) >/dev/null
	@ninja -C $(BUILD)

test: all
	meson test -C $(BUILD) --print-errorlogs

clean:
	rm -rf $(BUILD)
