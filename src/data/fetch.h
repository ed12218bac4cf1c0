// SPDX-License-Identifier: Apache-2.0
/* Data sets from their authors' places into a folder, upstream's data/eval.
 *
 * A file that is there already is not asked for: with all of them, nothing needs the network. What is under
 * way is FILE.paco-part, and goes on from there after an interruption where the server can; a file gets its
 * name when it is whole and its SHA-256 is right. One that fails does not keep the others from being fetched.
 */
#ifndef PC_DATA_FETCH_H
#define PC_DATA_FETCH_H

#include "base/notes.h"
#include "base/progress.h"
#include "data/sources.h"
#include "net/http.h"

/** All borrowed. */
struct pc_fetch_options {
    const char *dir; /* made if missing */
    /** NULL: the sources. Else where they are instead: "http://mirror/x", or a folder, holding each at
     * HOST/PATH of its address ("raw.githubusercontent.com/openai/..."), as wget -x lays them out. */
    const char *from;
    bool force; /* fetch what is there, too */
    struct pc_http_options http;
    const struct pc_progress *progress;
    struct pc_notes *notes;
};

struct pc_fetch_result {
    size_t n_files, n_there, n_fetched, n_failed;
    uint64_t bytes; /* that came */
};

/** Fetch the files of n sets. When some could not be had the first one's error is returned, after all others
 * were tried. PACO_EVERIFY: another file than the one that is known came, or stands there (force replaces
 * it). */
int pc_data_fetch(const struct pc_data_set *const *sets, size_t n, const struct pc_fetch_options *options,
    struct pc_fetch_result *result, struct paco_error *err);

#endif
