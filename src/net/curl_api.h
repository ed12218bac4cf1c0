// SPDX-License-Identifier: Apache-2.0
/* libcurl, loaded when the first request is made. Linked, it and the thirty libraries behind it (TLS,
 * Kerberos, LDAP, ...) cost every command 7 MB of resident memory and 20 ms before main; `recover` promises
 * 64 MiB in all and needs no network. So only curl's header is used at build time, and what is called of it
 * is this table. The names are of libcurl.so.4, whose interface has been kept since 2006. */
#ifndef PC_NET_CURL_API_H
#define PC_NET_CURL_API_H

#include "base/error.h"

#define CURL_DISABLE_TYPECHECK
#define CURL_DISABLE_DEPRECATION
#include <curl/curl.h>

struct pc_curl {
    CURLcode (*global_init_mem)(long, curl_malloc_callback, curl_free_callback, curl_realloc_callback,
        curl_strdup_callback, curl_calloc_callback);
    CURL *(*easy_init)(void);
    CURLcode (*easy_setopt)(CURL *, CURLoption, ...);
    CURLcode (*easy_getinfo)(CURL *, CURLINFO, ...);
    void (*easy_cleanup)(CURL *);
    const char *(*easy_strerror)(CURLcode);
    struct curl_slist *(*slist_append)(struct curl_slist *, const char *);
    void (*slist_free_all)(struct curl_slist *);
    CURLM *(*multi_init)(void);
    CURLMcode (*multi_add_handle)(CURLM *, CURL *);
    CURLMcode (*multi_remove_handle)(CURLM *, CURL *);
    CURLMcode (*multi_perform)(CURLM *, int *);
    CURLMcode (*multi_poll)(CURLM *, struct curl_waitfd *, unsigned, int, int *);
    CURLMsg *(*multi_info_read)(CURLM *, int *);
    CURLMcode (*multi_cleanup)(CURLM *);
    const char *(*multi_strerror)(CURLMcode);
};

/** The table, the same for all; loads and initialises libcurl on the first call. NULL when it cannot be had:
 * PACO_EUNSUPPORTED says which package is missing. Thread-safe. */
const struct pc_curl *pc_curl_load(struct paco_error *err);

#endif
