// SPDX-License-Identifier: Apache-2.0
/* Each tensor of the result is one `part`: its tensor of the lead, its partner in the base, and which rule
 * joins them. All rules are settled, and all shapes checked, when the node is made; a read only follows them.
 */
#include "algebra/combine.h"

#include "algebra/column_mean.h"
#include "algebra/order.h"
#include "algebra/read_f32.h"
#include "algebra/trace.h"
#include "base/file.h"
#include "kernels/convert.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const char EMBEDDING[] = "model.embed_tokens.weight", HEAD[] = "lm_head.weight";
enum { SAMPLED_ROWS = 64, LANE = 4096 };

enum rule {
    RULE_FLOAT,    /* lead +- base, rows beyond the base's by pad_row */
    RULE_INV_FREQ, /* lead +- the formula */
    RULE_INTEGER,  /* wrap-around */
    RULE_COPY,     /* truth values: the lead's */
};

struct part {
    const struct pc_tensor *lead, *base; /* base is NULL for RULE_INV_FREQ */
    enum rule rule;
    int times;   /* the base counts this often */
    float *mean; /* (row_elems), once a row beyond the base's was read */
};

struct node {
    const struct pc_checkpoint *lead, *base;
    struct pc_combine_options opt;
    bool subtract;
    struct part *parts;
    pthread_mutex_t lock; /* of the means */
};

static bool is_embedding(const char *name)
{
    return strcmp(name, EMBEDDING) == 0 || strcmp(name, HEAD) == 0;
}

static bool is_inv_freq(const struct pc_tensor *t)
{
    return pc_ends_with(t->name, "rotary_emb.inv_freq") && t->n_dims == 1;
}

static bool is_integer(enum pc_dtype dtype)
{
    return dtype >= PC_I64 && dtype <= PC_U8;
}

/* ---- reading ---- */

static void join(const struct node *node, float *out, const float *a, const float *b, size_t n)
{
    if (node->subtract)
        pc_convert()->sub(out, a, b, n);
    else
        pc_convert()->add(out, a, b, n);
}

/* out = lead +- base, both as stored, in lanes that stay in the first-level cache. */
static void join_stored(
    const struct node *node, const struct part *p, float *out, const void *lead, const void *base, uint64_t n)
{
    const struct pc_convert *cv = pc_convert();
    const struct pc_dtype_traits *lt = pc_dtype_traits(p->lead->dtype), *bt = pc_dtype_traits(p->base->dtype);
    float wide_lead[LANE], wide_base[LANE];
    for (uint64_t i = 0; i < n; i += LANE) {
        size_t m = n - i < LANE ? (size_t)(n - i) : LANE;
        const float *a = (const float *)lead + i, *b = (const float *)base + i;
        if (p->lead->dtype != PC_F32) {
            cv->to_f32[p->lead->dtype](wide_lead, (const char *)lead + i / lt->n_block * lt->block_size, m);
            a = wide_lead;
        }
        if (p->base->dtype != PC_F32) {
            cv->to_f32[p->base->dtype](wide_base, (const char *)base + i / bt->n_block * bt->block_size, m);
            b = wide_base;
        }
        join(node, out + i, a, b, m);
        if (p->times == 2)
            join(node, out + i, out + i, b, m);
    }
}

static int read_common(const struct node *node, const struct part *p, uint64_t row0, uint64_t n_rows,
    float *out, struct pc_trace *tr, struct paco_error *err)
{
    void *lead = pc_trace_scratch(tr, n_rows * p->lead->row_size, err);
    void *base = lead ? pc_trace_scratch(tr, n_rows * p->base->row_size, err) : NULL;
    if (!base)
        return err ? err->code : PACO_EMEM;
    int rc = pc_tensor_read_traced(p->lead, row0, n_rows, lead, tr, err);
    if (rc == 0)
        rc = pc_tensor_read_traced(p->base, row0, n_rows, base, tr, err);
    if (rc == 0)
        join_stored(node, p, out, lead, base, n_rows * p->lead->row_elems);
    return rc;
}

static int mean_of(struct node *node, struct part *p, const float **mean, struct paco_error *err)
{
    int rc = 0;
    pthread_mutex_lock(&node->lock);
    if (!p->mean) {
        float *m = pc_alloc((size_t)p->base->row_elems, sizeof *m);
        rc = m ? pc_column_mean(p->base, p->base->n_rows, m, err)
               : pc_error_mem(err, p->base->row_elems * sizeof *m, "the mean of the base's rows");
        if (rc == 0)
            p->mean = m;
        else
            pc_free(m);
    }
    *mean = p->mean;
    pthread_mutex_unlock(&node->lock);
    return rc;
}

/* Rows that the base lacks. */
static int read_grown(struct node *node, struct part *p, uint64_t row0, uint64_t n_rows, float *out,
    struct pc_trace *tr, struct paco_error *err)
{
    size_t cols = (size_t)p->lead->row_elems;
    const float *lead, *mean = NULL;
    int rc = pc_trace_read_f32(p->lead, row0, n_rows, NULL, &lead, tr, err);
    if (rc == 0 && node->opt.pad_row == PC_PAD_MEAN)
        rc = mean_of(node, p, &mean, err);
    for (uint64_t r = 0; r < n_rows && rc == 0; r++) {
        float *row = out + r * cols;
        if (mean) {
            join(node, row, lead + r * cols, mean, cols);
            if (p->times == 2)
                join(node, row, row, mean, cols);
        } else if (node->opt.pad_row == PC_PAD_ZERO) {
            memset(row, 0, cols * sizeof *row);
        } else {
            memcpy(row, lead + r * cols, cols * sizeof *row);
        }
    }
    return rc;
}

static int read_float(struct node *node, struct part *p, uint64_t row0, uint64_t n_rows, float *out,
    struct pc_trace *tr, struct paco_error *err)
{
    uint64_t n_base = p->base->n_rows, common = row0 < n_base ? n_base - row0 : 0;
    if (common > n_rows)
        common = n_rows;
    int rc = common ? read_common(node, p, row0, common, out, tr, err) : 0;
    if (rc == 0 && common < n_rows)
        rc = read_grown(node, p, row0 + common, n_rows - common, out + common * p->lead->row_elems, tr, err);
    if (rc == 0)
        tr->n_special += pc_convert()->count_nonfinite(out, (size_t)(n_rows * p->lead->row_elems));
    return rc;
}

/* 1 / theta^(2i/d) with each step rounded to F32, as the constructor of the rotary embedding does. */
static int read_inv_freq(const struct node *node, const struct part *p, uint64_t row0, uint64_t n_rows,
    float *out, struct pc_trace *tr, struct paco_error *err)
{
    const float *lead;
    int rc = pc_trace_read_f32(p->lead, row0, n_rows, NULL, &lead, tr, err);
    double theta = node->opt.rope_theta > 0 ? node->opt.rope_theta : 10000;
    for (uint64_t i = 0; i < n_rows && rc == 0; i++) {
        float exponent = (float)(2 * (row0 + i)) / (float)(2 * p->lead->n_rows);
        float value = 1.0f / (float)pow(theta, (double)exponent);
        join(node, &out[i], &lead[i], &value, 1);
    }
    return rc;
}

/* In unsigned arithmetic of 64 bits, of which the low ones are the narrower types'. */
static void join_integers(const struct node *node, const struct pc_tensor *t, unsigned char *out,
    const unsigned char *lead, const unsigned char *base, uint64_t n)
{
    size_t size = pc_dtype_traits(t->dtype)->block_size;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t a = 0, b = 0;
        memcpy(&a, lead + i * size, size);
        memcpy(&b, base + i * size, size);
        a = node->subtract ? a - b : a + b;
        memcpy(out + i * size, &a, size);
    }
}

static int read_integers(const struct node *node, const struct part *p, uint64_t row0, uint64_t n_rows,
    void *out, struct pc_trace *tr, struct paco_error *err)
{
    void *lead = pc_trace_scratch(tr, n_rows * p->lead->row_size, err);
    void *base = lead ? pc_trace_scratch(tr, n_rows * p->lead->row_size, err) : NULL;
    if (!base)
        return err ? err->code : PACO_EMEM;
    int rc = pc_tensor_read_traced(p->lead, row0, n_rows, lead, tr, err);
    if (rc == 0)
        rc = pc_tensor_read_traced(p->base, row0, n_rows, base, tr, err);
    if (rc == 0)
        join_integers(node, p->lead, out, lead, base, n_rows * p->lead->row_elems);
    return rc;
}

static int node_read(const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf,
    struct pc_trace *tr, struct paco_error *err)
{
    struct node *node = t->owner->impl;
    struct part *p = &node->parts[t->index];
    switch (p->rule) {
    case RULE_INV_FREQ: return read_inv_freq(node, p, row0, n_rows, buf, tr, err);
    case RULE_INTEGER: return read_integers(node, p, row0, n_rows, buf, tr, err);
    case RULE_COPY: return pc_tensor_read_traced(p->lead, row0, n_rows, buf, tr, err);
    default: return read_float(node, p, row0, n_rows, buf, tr, err);
    }
}

static bool node_where(const struct pc_tensor *t, const char **path, uint64_t *offset)
{
    const struct node *node = t->owner->impl;
    const struct pc_tensor *lead = node->parts[t->index].lead;
    return lead->owner->ops->where && lead->owner->ops->where(lead, path, offset);
}

static void node_close(struct pc_checkpoint *ck)
{
    struct node *node = ck->impl;
    if (!node)
        return;
    for (size_t i = 0; i < ck->n_tensors; i++)
        pc_free(node->parts[i].mean);
    pthread_mutex_destroy(&node->lock);
}

static const struct pc_checkpoint_ops g_ops = {
    .read = pc_read_untraced, .where = node_where, .close = node_close};

/* ---- binding ---- */

static int misfit(const struct pc_tensor *lead, struct paco_error *err)
{
    const char *path = NULL;
    uint64_t offset;
    if (!lead->owner->ops->where || !lead->owner->ops->where(lead, &path, &offset))
        path = lead->owner->path;
    pc_error_path(err, path);
    return PACO_EMISMATCH;
}

static int shape_misfit(const struct part *p, const char *why, struct paco_error *err)
{
    char a[160], b[160];
    pc_error_set(err, PACO_EMISMATCH, "tensor '%s': shape %s, base has %s%s%s", p->lead->name,
        pc_tensor_shape(p->lead, a, sizeof a), pc_tensor_shape(p->base, b, sizeof b), why ? ", and " : "",
        why ? why : "");
    return misfit(p->lead, err);
}

static bool only_more_rows(const struct pc_tensor *lead, const struct pc_tensor *base)
{
    return lead->n_dims == 2 && base->n_dims == 2 && lead->shape[1] == base->shape[1] &&
           pc_tensor_has_slices(lead) && pc_tensor_has_slices(base) && lead->shape[0] > base->shape[0] &&
           base->shape[0] > 0;
}

static int check_float(const struct node *node, const struct part *p, struct paco_error *err)
{
    const struct pc_tensor *both[2] = {p->lead, p->base};
    for (int i = 0; i < 2; i++)
        if (!pc_tensor_has_f32(both[i]) || is_integer(both[i]->dtype))
            return pc_error_set(err, PACO_EUNSUPPORTED, "tensor '%s': %s with %s cannot be computed with",
                p->lead->name, pc_dtype_name(p->lead->dtype), pc_dtype_name(p->base->dtype));
    if (pc_tensor_same_shape(p->lead, p->base) && p->lead->row_elems == p->base->row_elems)
        return 0;
    bool may_grow = is_embedding(p->lead->name) && only_more_rows(p->lead, p->base);
    if (may_grow && !node->opt.no_growth)
        return 0;
    return shape_misfit(p, may_grow ? node->opt.no_growth : NULL, err);
}

static int check_integer(const struct part *p, struct paco_error *err)
{
    if (!pc_tensor_same_shape(p->lead, p->base))
        return shape_misfit(p, NULL, err);
    if (p->lead->dtype == p->base->dtype)
        return 0;
    pc_error_set(err, PACO_EMISMATCH, "tensor '%s': %s, base has %s", p->lead->name,
        pc_dtype_name(p->lead->dtype), pc_dtype_name(p->base->dtype));
    return misfit(p->lead, err);
}

static int missing(const struct node *node, const struct pc_tensor *lead, struct paco_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < node->lead->n_tensors; i++)
        n += !pc_checkpoint_find(node->base, node->lead->tensors[i].name) &&
             !is_inv_freq(&node->lead->tensors[i]);
    char more[64] = "";
    if (n > 1)
        snprintf(more, sizeof more, " (%zu tensors are not)", n);
    pc_error_set(err, PACO_EMISMATCH, "tensor '%s' is not in the base%s", lead->name, more);
    return misfit(lead, err);
}

static int bind(struct node *node, const struct pc_tensor *lead, struct part *p, struct paco_error *err)
{
    *p = (struct part){.lead = lead, .times = 1};
    p->base = pc_checkpoint_find(node->base, lead->name);
    if (!p->base && strcmp(lead->name, HEAD) == 0 && (node->opt.tied || node->opt.base_tied))
        p->base = pc_checkpoint_find(node->base, EMBEDDING);
    if (!p->base && is_inv_freq(lead) && pc_dtype_traits(lead->dtype)->is_float) {
        p->rule = RULE_INV_FREQ;
        return 0;
    }
    if (!p->base)
        return missing(node, lead, err);
    if (lead->dtype == PC_BOOL) {
        p->rule = RULE_COPY;
        return 0;
    }
    p->rule = is_integer(lead->dtype) ? RULE_INTEGER : RULE_FLOAT;
    return p->rule == RULE_INTEGER ? check_integer(p, err) : check_float(node, p, err);
}

/* How much of the base is in the lead, by rows spread over the embedding: <lead, base> / <base, base>. Near 0
 * in a diff that took the base away once, near -1 where it was twice. */
static int base_content(const struct part *p, double *out, struct paco_error *err)
{
    struct pc_trace tr = {0};
    uint64_t n_rows = p->base->n_rows, n = n_rows < SAMPLED_ROWS ? n_rows : SAMPLED_ROWS;
    double cross = 0, square = 0;
    int rc = 0;
    for (uint64_t i = 0; i < n && rc == 0; i++) {
        const float *a, *b;
        uint64_t row = i * n_rows / n;
        pc_trace_reset(&tr);
        rc = pc_trace_read_f32(p->lead, row, 1, NULL, &a, &tr, err);
        if (rc == 0)
            rc = pc_trace_read_f32(p->base, row, 1, NULL, &b, &tr, err);
        for (uint64_t c = 0; c < p->base->row_elems && rc == 0; c++)
            if (isfinite(a[c]) && isfinite(b[c])) {
                cross += (double)a[c] * (double)b[c];
                square += (double)b[c] * (double)b[c];
            }
    }
    pc_trace_release(&tr);
    *out = square > 0 ? cross / square : 0;
    return rc;
}

static int find_doubled(
    struct node *node, const struct pc_checkpoint *out, struct pc_combine_report *rep, struct paco_error *err)
{
    const struct pc_tensor *t = pc_checkpoint_find(out, EMBEDDING);
    if (!t || !node->opt.tied || node->subtract || node->parts[t->index].rule != RULE_FLOAT)
        return 0;
    double content;
    int rc = base_content(&node->parts[t->index], &content, err);
    if (rc < 0 || content > -0.5)
        return rc;
    rep->doubled = true;
    const struct pc_tensor *head = pc_checkpoint_find(out, HEAD);
    node->parts[t->index].times = 2;
    if (head && node->parts[head->index].rule == RULE_FLOAT)
        node->parts[head->index].times = 2;
    return 0;
}

static void describe(const struct node *node, const struct pc_checkpoint *out, struct pc_combine_report *rep)
{
    for (size_t i = 0; i < out->n_tensors; i++) {
        const struct part *p = &node->parts[i];
        rep->n_computed_inv_freq += p->rule == RULE_INV_FREQ;
        rep->head_is_embedding |= !node->opt.tied && p->base && strcmp(p->lead->name, HEAD) == 0 &&
                                  strcmp(p->base->name, EMBEDDING) == 0;
        if (p->rule == RULE_FLOAT && p->base && p->lead->n_rows > p->base->n_rows)
            rep->grown[rep->n_grown++] =
                (struct pc_grown){&out->tensors[i], p->base->n_rows, p->lead->n_rows - p->base->n_rows};
    }
}

static int build(
    struct pc_checkpoint *ck, struct node *node, struct pc_combine_report *rep, struct paco_error *err)
{
    size_t n = node->lead->n_tensors;
    uint32_t *order = pc_alloc(n, sizeof *order);
    node->parts = pc_arena_alloc(&ck->arena, n ? n : 1, sizeof *node->parts);
    int rc = order && node->parts ? pc_state_dict_order(node->lead, order, err)
                                  : pc_error_mem(err, n * sizeof *node->parts, "a sum of two models");
    if (rc == 0)
        rc = pc_checkpoint_reserve(ck, n, true, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        const struct pc_tensor *lead = &node->lead->tensors[order[i]];
        rc = bind(node, lead, &node->parts[i], err);
        bool stays = node->parts[i].rule == RULE_INTEGER || node->parts[i].rule == RULE_COPY;
        if (rc == 0)
            rc = pc_checkpoint_add_tensor(ck, lead->name, strlen(lead->name), stays ? lead->dtype : PC_F32,
                lead->n_dims, lead->shape, err);
    }
    pc_free(order);
    if (rc == 0)
        rc = find_doubled(node, ck, rep, err);
    if (rc == 0)
        describe(node, ck, rep);
    return rc;
}

static int combine(const struct pc_checkpoint *base, const struct pc_checkpoint *lead,
    const struct pc_combine_options *opt, bool subtract, struct pc_checkpoint **out,
    struct pc_combine_report *report, struct paco_error *err)
{
    struct pc_combine_report rep = {0};
    struct pc_checkpoint *ck = pc_checkpoint_new(subtract ? "subtract" : "add", &g_ops, lead->path, err);
    if (!ck)
        return PACO_EMEM;
    struct node *node = pc_arena_alloc(&ck->arena, 1, sizeof *node);
    int rc = node ? 0 : pc_error_mem(err, sizeof *node, "a sum of two models");
    if (rc == 0) {
        *node = (struct node){.lead = lead, .base = base, .opt = *opt, .subtract = subtract};
        pthread_mutex_init(&node->lock, NULL);
        ck->impl = node;
        ck->read_traced = node_read;
        rc = build(ck, node, &rep, err);
    }
    if (rc < 0) {
        pc_checkpoint_close(ck);
        return rc;
    }
    *out = ck;
    if (report)
        *report = rep;
    return 0;
}

int pc_checkpoint_add(const struct pc_checkpoint *base, const struct pc_checkpoint *diff,
    const struct pc_combine_options *opt, struct pc_checkpoint **out, struct pc_combine_report *report,
    struct paco_error *err)
{
    return combine(base, diff, opt, false, out, report, err);
}

int pc_checkpoint_subtract(const struct pc_checkpoint *base, const struct pc_checkpoint *tuned,
    const struct pc_combine_options *opt, struct pc_checkpoint **out, struct pc_combine_report *report,
    struct paco_error *err)
{
    return combine(base, tuned, opt, true, out, report, err);
}
