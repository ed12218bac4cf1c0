// SPDX-License-Identifier: Apache-2.0
#include "cli/finetune_alike.h"

#include "base/cpu.h"
#include "base/memory.h"
#include "paco/paco.h"
#include "train/state.h"

#include <string.h>

enum { MAX_TEXT = 1 << 20 };

/* Options that may differ: paths, which each machine has its own of (what lies there is compared), and what
 * decides about no number. */
static bool is_own(const struct pc_option *o)
{
    static const char *const paths[] = {"DIR", "FILE", "MODEL"}, *const names[] = {"threads", "json"};
    for (size_t i = 0; o->arg && i < sizeof paths / sizeof *paths; i++)
        if (strcmp(o->arg, paths[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(o->name, names[i]) == 0)
            return true;
    return false;
}

/* *owned*; NULL for an option without a value. */
static json_t *value_of(const struct pc_option *o, const struct pc_finetune_values *values)
{
    const char *at = (const char *)values + o->offset;
    const char *text;
    switch (o->type) {
    case PC_OPT_FLAG: return json_boolean(*(const bool *)at);
    case PC_OPT_INT: return json_integer((json_int_t) * (const int64_t *)(const void *)at);
    case PC_OPT_FLOAT: return pc_json_number(*(const double *)(const void *)at);
    case PC_OPT_STRING:
    case PC_OPT_CHOICE: memcpy(&text, at, sizeof text); return text ? json_string_nocheck(text) : NULL;
    default: return NULL;
    }
}

/* *owned*; NULL when memory is out. */
static json_t *describe(const struct pc_finetune *f)
{
    json_t *all = json_pack("{s:s,s:i,s:s}", "version of paco", paco_version(), "format of checkpoints",
        PC_TRAIN_STATE_FORMAT, "instructions (--cpu)", pc_cpu_level());
    bool good = all && json_object_update(all, f->identity) == 0;
    for (const struct pc_option *o = pc_finetune_rows; good && o->name; o++) {
        if (is_own(o) || json_object_get(all, o->name))
            continue;
        json_t *value = value_of(o, f->v);
        good = !value || json_object_set_new(all, o->name, value) == 0;
    }
    if (good)
        return all;
    json_decref(all);
    return NULL;
}

/* Rank 0's description, in everyone's hands. *owned*. */
static int hear(const struct pc_finetune *f, const json_t *own, json_t **out, struct paco_error *err)
{
    struct pc_collect *collect = f->party.collect;
    struct pc_buf text;
    pc_buf_init(&text, MAX_TEXT);
    if (own && f->party.rank == 0)
        pc_json_write(&text, own, PC_JSON_COMPACT);
    uint64_t n = text.len;
    int rc = own ? pc_buf_check(&text, "what this run is", err) : pc_error_mem(err, 4096, "what this run is");
    rc = pc_collect_agree(collect, rc, err);
    if (rc == 0)
        rc = pc_collect_tell(collect, &n, sizeof n, err);
    char *bytes = rc == 0 && n < MAX_TEXT ? pc_alloc_zero(1, (size_t)n + 1) : NULL;
    if (rc == 0 && !bytes)
        rc = pc_error_mem(err, n, "what rank 0's run is");
    if (rc == 0 && f->party.rank == 0)
        memcpy(bytes, text.data, (size_t)n);
    if (rc == 0)
        rc = pc_collect_tell(collect, bytes, (size_t)n, err);
    if (rc == 0)
        rc = pc_json_parse(bytes, (size_t)n, NULL, 0, out, err);
    pc_free(bytes);
    pc_buf_release(&text);
    return rc;
}

int pc_finetune_compare(const struct pc_finetune *f, struct paco_error *err)
{
    json_t *own = describe(f), *theirs = NULL;
    int rc = hear(f, own, &theirs, err);
    if (rc == 0 && !json_equal(own, theirs)) {
        struct pc_buf text;
        pc_buf_init(&text, 800);
        pc_train_differences(theirs, own, " (rank 0: ", ", here: ", &text);
        rc = pc_error_set(err, PACO_EMISMATCH,
            "does not do what rank 0 does; what differs: %s. All ranks must be given the same program, "
            "options, "
            "base and examples",
            text.data && !text.failed ? text.data : "much");
        pc_buf_release(&text);
    }
    json_decref(own);
    json_decref(theirs);
    return rc;
}
