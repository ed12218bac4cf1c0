// SPDX-License-Identifier: Apache-2.0
#include "net/curl_api.h"

#include "base/memory.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pc_curl g_curl;
static bool g_loaded;

static const struct {
    const char *name;
    size_t offset;
} g_names[] = {
    {"curl_global_init_mem", offsetof(struct pc_curl, global_init_mem)},
    {"curl_easy_init", offsetof(struct pc_curl, easy_init)},
    {"curl_easy_setopt", offsetof(struct pc_curl, easy_setopt)},
    {"curl_easy_getinfo", offsetof(struct pc_curl, easy_getinfo)},
    {"curl_easy_cleanup", offsetof(struct pc_curl, easy_cleanup)},
    {"curl_easy_strerror", offsetof(struct pc_curl, easy_strerror)},
    {"curl_slist_append", offsetof(struct pc_curl, slist_append)},
    {"curl_slist_free_all", offsetof(struct pc_curl, slist_free_all)},
    {"curl_multi_init", offsetof(struct pc_curl, multi_init)},
    {"curl_multi_add_handle", offsetof(struct pc_curl, multi_add_handle)},
    {"curl_multi_remove_handle", offsetof(struct pc_curl, multi_remove_handle)},
    {"curl_multi_perform", offsetof(struct pc_curl, multi_perform)},
    {"curl_multi_poll", offsetof(struct pc_curl, multi_poll)},
    {"curl_multi_info_read", offsetof(struct pc_curl, multi_info_read)},
    {"curl_multi_cleanup", offsetof(struct pc_curl, multi_cleanup)},
    {"curl_multi_strerror", offsetof(struct pc_curl, multi_strerror)},
};

static void *allocate(size_t size)
{
    return pc_alloc(size, 1);
}

static void *reallocate(void *p, size_t size)
{
    return pc_realloc(p, size, 1);
}

static void *open_library(void)
{
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl.4.dylib"};
    void *lib = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !lib; i++)
        lib = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    return lib;
}

static int load(struct paco_error *err)
{
    void *lib = open_library();
    if (!lib)
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "the network needs libcurl, which is not installed (Debian and Ubuntu: apt-get install "
            "libcurl4)");
    struct pc_curl c;
    for (size_t i = 0; i < sizeof g_names / sizeof *g_names; i++) {
        void *symbol = dlsym(lib, g_names[i].name);
        if (!symbol) {
            dlclose(lib);
            return pc_error_set(err, PACO_EUNSUPPORTED,
                "this libcurl has no %s: version 7.66 or later is needed", g_names[i].name);
        }
        // POSIX lets a function's address travel in an object pointer; ISO C has no cast that says so.
        memcpy((char *)&c + g_names[i].offset, &symbol, sizeof symbol);
    }
    CURLcode code =
        c.global_init_mem(CURL_GLOBAL_DEFAULT, allocate, pc_free, reallocate, pc_strdup, pc_alloc_zero);
    if (code != CURLE_OK) {
        dlclose(lib);
        return code == CURLE_OUT_OF_MEMORY ? pc_error_mem(err, 0, "libcurl")
                                           : pc_error_set(err, PACO_EUNSUPPORTED,
                                                 "libcurl does not start: %s", c.easy_strerror(code));
    }
    g_curl = c;
    g_loaded = true;
    return 0;
}

const struct pc_curl *pc_curl_load(struct paco_error *err)
{
    pthread_mutex_lock(&g_lock);
    int rc = g_loaded ? 0 : load(err);
    pthread_mutex_unlock(&g_lock);
    return rc < 0 ? NULL : &g_curl;
}
