// SPDX-License-Identifier: Apache-2.0
#include "serve/mhd_api.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pc_mhd g_mhd;
static bool g_loaded;

static const struct {
    const char *name;
    size_t offset;
} g_names[] = {
    {"MHD_start_daemon", offsetof(struct pc_mhd, start_daemon)},
    {"MHD_quiesce_daemon", offsetof(struct pc_mhd, quiesce_daemon)},
    {"MHD_stop_daemon", offsetof(struct pc_mhd, stop_daemon)},
    {"MHD_suspend_connection", offsetof(struct pc_mhd, suspend)},
    {"MHD_resume_connection", offsetof(struct pc_mhd, resume)},
    {"MHD_create_response_from_buffer", offsetof(struct pc_mhd, response_of_buffer)},
    {"MHD_create_response_from_callback", offsetof(struct pc_mhd, response_of_callback)},
    {"MHD_add_response_header", offsetof(struct pc_mhd, add_header)},
    {"MHD_queue_response", offsetof(struct pc_mhd, queue_response)},
    {"MHD_destroy_response", offsetof(struct pc_mhd, destroy_response)},
    {"MHD_lookup_connection_value", offsetof(struct pc_mhd, lookup)},
    {"MHD_get_connection_info", offsetof(struct pc_mhd, connection_info)},
    {"MHD_is_feature_supported", offsetof(struct pc_mhd, is_feature_supported)},
};

static int load(struct paco_error *err)
{
    static const char *const names[] = {"libmicrohttpd.so.12", "libmicrohttpd.12.dylib"};
    void *lib = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !lib; i++)
        lib = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!lib)
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "a server needs libmicrohttpd, which is not installed (Debian and Ubuntu: apt-get install "
            "libmicrohttpd12)");
    struct pc_mhd m;
    for (size_t i = 0; i < sizeof g_names / sizeof *g_names; i++) {
        void *symbol = dlsym(lib, g_names[i].name);
        if (!symbol) {
            dlclose(lib);
            return pc_error_set(err, PACO_EUNSUPPORTED,
                "this libmicrohttpd has no %s: version 0.9.75 or later is needed", g_names[i].name);
        }
        // POSIX lets a function's address travel in an object pointer; ISO C has no cast that says so.
        memcpy((char *)&m + g_names[i].offset, &symbol, sizeof symbol);
    }
    g_mhd = m;
    g_loaded = true;
    return 0;
}

const struct pc_mhd *pc_mhd_load(struct paco_error *err)
{
    pthread_mutex_lock(&g_lock);
    int rc = g_loaded ? 0 : load(err);
    pthread_mutex_unlock(&g_lock);
    return rc < 0 ? NULL : &g_mhd;
}
