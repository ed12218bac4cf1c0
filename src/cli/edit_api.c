// SPDX-License-Identifier: Apache-2.0
#include "cli/edit_api.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static struct pc_edit g_edit;
static bool g_loaded;

static const struct {
    const char *name;
    size_t offset;
} g_names[] = {
    {"el_init", offsetof(struct pc_edit, init)},
    {"el_end", offsetof(struct pc_edit, end)},
    {"el_set", offsetof(struct pc_edit, set)},
    {"el_gets", offsetof(struct pc_edit, gets)},
    {"el_source", offsetof(struct pc_edit, source)},
    {"el_resize", offsetof(struct pc_edit, resize)},
    {"history_init", offsetof(struct pc_edit, history_init)},
    {"history_end", offsetof(struct pc_edit, history_end)},
    {"history", offsetof(struct pc_edit, history)},
};

const struct pc_edit *pc_edit_load(struct paco_error *err)
{
    static const char *const names[] = {"libedit.so.2", "libedit.so.0", "libedit.3.dylib"};
    void *lib = NULL;
    if (g_loaded)
        return &g_edit;
    for (size_t i = 0; i < sizeof names / sizeof *names && !lib; i++)
        lib = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; i < sizeof g_names / sizeof *g_names; i++) {
        void *symbol = lib ? dlsym(lib, g_names[i].name) : NULL;
        if (!symbol) {
            if (lib)
                dlclose(lib);
            pc_error_set(err, PACO_EUNSUPPORTED,
                "lines cannot be edited without libedit (Debian and Ubuntu: apt-get install libedit2)");
            return NULL;
        }
        // POSIX lets a function's address travel in an object pointer; ISO C has no cast that says so.
        memcpy((char *)&g_edit + g_names[i].offset, &symbol, sizeof symbol);
    }
    g_loaded = true;
    return &g_edit;
}
