// SPDX-License-Identifier: Apache-2.0
/* What paco serve may be told. */
#ifndef PC_CLI_SERVE_OPTIONS_H
#define PC_CLI_SERVE_OPTIONS_H

#include "cli/model_args.h"

struct pc_serve_args {
    struct pc_model_args model;
    const char *log;
    bool log_prompts;
    const char *alias, *host, *key_file, *cert, *cert_key, *cors, *format, *system, *bos;
    struct pc_strings keys, stops, diffs, adapters;
    int64_t port, context, parallel, kv_tokens, n, queue, top_k;
    double timeout, temp, top_p, min_p, repeat_penalty;
};

/** The defaults that are not zero. */
struct pc_serve_args pc_serve_defaults(void);

/** Rows for a struct pc_serve_args. */
extern const struct pc_option pc_serve_options[];

#endif
