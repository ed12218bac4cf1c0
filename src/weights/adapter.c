// SPDX-License-Identifier: Apache-2.0
/* PEFT's names. A module of the base, "model.layers.0.self_attn.q_proj", appears in an adapter as
 *
 *     base_model.model.MODULE.lora_A.weight              (r, in)      and lora_B.weight (out, r)
 *     base_model.model.MODULE.lora_embedding_A           (r, vocab)   and lora_embedding_B (hidden, r)
 *     base_model.model.MODULE.weight                     saved whole: modules_to_save, biases, grown
 * embeddings base_model.model.MODULE.base_layer.weight          an updated embedding, saved whole as well
 *
 * and, when a training script saved the raw state dict, with ".default" behind the factor,
 * ".modules_to_save.default" before the parameter, and ".original_module" for the base's own copy, which is
 * not needed. Some tools leave out the prefix. Everything else in the file is an error: a tensor that finds
 * no place is a tensor that would be lost. */
#include "weights/adapter.h"

#include "base/file.h"
#include "weights/diagnose.h"

#include <stdio.h>
#include <string.h>

static const char g_prefix[] = "base_model.model.";

enum role { ROLE_SAVED, ROLE_A, ROLE_B, ROLE_EMBEDDING_A, ROLE_EMBEDDING_B, ROLE_IGNORED, ROLE_REFUSED };

/* What one tensor of an adapter is: its role, and the base's tensor it concerns. */
struct part {
    enum role role;
    char target[PC_MAX_NAME + 16];
};

/* If name contains ".KEY" followed by ".", or by the end, put what precedes into head and what follows into
 * tail. */
static bool split_at(const char *name, const char *key, char *head, size_t head_size, const char **tail)
{
    size_t len = strlen(key);
    for (const char *p = strstr(name, key); p; p = strstr(p + 1, key)) {
        if (p == name || p[-1] != '.' || (p[len] != '.' && p[len] != '\0'))
            continue;
        snprintf(head, head_size, "%.*s", (int)(p - 1 - name), name);
        *tail = p[len] == '.' ? p + len + 1 : p + len;
        return true;
    }
    return false;
}

/* Drop a leading "default." or a whole "default": the adapter's name in raw state dicts. */
static const char *skip_default(const char *tail)
{
    static const char word[] = "default";
    size_t n = sizeof word - 1;
    if (strncmp(tail, word, n) != 0 || (tail[n] != '.' && tail[n] != '\0'))
        return tail;
    return tail[n] == '.' ? tail + n + 1 : tail + n;
}

static void classify(const char *name, struct part *part)
{
    static const struct {
        const char *key;
        enum role role;
        const char *rest; /* what must follow, "" for nothing, NULL for the base's own parameter name */
    } keys[] = {
        {"lora_A", ROLE_A, "weight"},
        {"lora_B", ROLE_B, "weight"},
        {"lora_embedding_A", ROLE_EMBEDDING_A, ""},
        {"lora_embedding_B", ROLE_EMBEDDING_B, ""},
        {"modules_to_save", ROLE_SAVED, NULL},
        {"base_layer", ROLE_SAVED, NULL},
        {"original_module", ROLE_IGNORED, NULL},
        {"lora_magnitude_vector", ROLE_REFUSED, NULL},
        {"token_adapter", ROLE_REFUSED, NULL},
    };
    char head[PC_MAX_NAME + 1];
    const char *tail;
    if (strncmp(name, g_prefix, sizeof g_prefix - 1) == 0)
        name += sizeof g_prefix - 1;
    *part = (struct part){.role = ROLE_SAVED};
    snprintf(part->target, sizeof part->target, "%s", name);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!split_at(name, keys[i].key, head, sizeof head, &tail))
            continue;
        tail = skip_default(tail);
        bool fits = !keys[i].rest || strcmp(tail, keys[i].rest) == 0;
        part->role = fits ? keys[i].role : ROLE_REFUSED;
        snprintf(part->target, sizeof part->target, "%s.%s", head, keys[i].rest ? "weight" : tail);
        return;
    }
}

struct binding {
    const struct pc_adapter *adapter;
    const struct pc_checkpoint *base;
    struct pc_lowrank_term *terms; /* by index of the base's tensor */
    const struct pc_tensor *head;  /* a saved lm_head.weight the tied base has no tensor for */
    struct pc_adapter_report report;
};

static int no_place(
    const struct binding *b, const struct pc_tensor *t, const char *target, struct paco_error *err)
{
    struct pc_outline o;
    char sizes[160];
    pc_diagnose_outline(b->base, &o);
    return pc_error_set(err, PACO_EMISMATCH,
        "the adapter's tensor '%s' has no place in the base: there is no '%s'; the base %s", t->name, target,
        pc_diagnose_describe(&o, sizes, sizeof sizes));
}

/* True in *same if two tensors have the same type, shape and bytes. */
static int same_bytes(
    const struct pc_tensor *x, const struct pc_tensor *y, bool *same, struct paco_error *err)
{
    *same = x->dtype == y->dtype && pc_tensor_same_shape(x, y);
    if (!*same || x->size == 0)
        return 0;
    uint64_t step = ((uint64_t)1 << 20) / x->row_size;
    step = step < 1 ? 1 : step;
    char *a = pc_alloc((size_t)step, (size_t)x->row_size), *b = pc_alloc((size_t)step, (size_t)x->row_size);
    int rc = a && b ? 0 : pc_error_mem(err, 2 * step * x->row_size, "comparing two tensors");
    for (uint64_t row = 0; row < x->n_rows && rc == 0 && *same; row += step) {
        uint64_t n = x->n_rows - row < step ? x->n_rows - row : step;
        rc = pc_tensor_read(x, row, n, a, err);
        if (rc == 0)
            rc = pc_tensor_read(y, row, n, b, err);
        *same = rc == 0 && memcmp(a, b, (size_t)(n * x->row_size)) == 0;
    }
    pc_free(a);
    pc_free(b);
    return rc;
}

/* PEFT writes a tensor saved whole under two names when the vocabulary grew; that is no loss if both are the
 * same. */
static int take(const struct pc_tensor **slot, const struct pc_tensor *t, struct paco_error *err)
{
    bool same = true;
    int rc = *slot ? same_bytes(*slot, t, &same, err) : 0;
    if (rc == 0 && !same)
        rc = pc_error_set(err, PACO_EFORMAT, "the adapter's tensors '%s' and '%s' mean the same, but differ",
            (*slot)->name, t->name);
    *slot = t;
    return rc;
}

static int bind_tensor(struct binding *b, const struct pc_tensor *t, struct paco_error *err)
{
    struct part part;
    classify(t->name, &part);
    if (part.role == ROLE_IGNORED)
        return 0;
    if (part.role == ROLE_REFUSED)
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "the adapter's tensor '%s' is of a kind this version cannot merge (DoRA, biases inside "
            "the update, trained single tokens)",
            t->name);
    const struct pc_tensor *target = pc_checkpoint_find(b->base, part.target);
    if (!target && strcmp(part.target, "lm_head.weight") == 0) {
        if (part.role != ROLE_SAVED)
            return pc_error_set(err, PACO_EUNSUPPORTED,
                "the adapter's tensor '%s' updates lm_head, which this base ties to its embedding: "
                "the result would need a head of its own",
                t->name);
        return take(&b->head, t, err);
    }
    if (!target)
        return no_place(b, t, part.target, err);
    struct pc_lowrank_term *term = &b->terms[target->index];
    term->name = target->name;
    term->transposed |= part.role == ROLE_EMBEDDING_A || part.role == ROLE_EMBEDDING_B;
    if (part.role == ROLE_SAVED)
        return take(&term->source, t, err);
    return take(part.role == ROLE_A || part.role == ROLE_EMBEDDING_A ? &term->a : &term->b, t, err);
}

/* A whole tensor may differ from the base's in its number of rows only if it is one of the two that grow with
 * the vocabulary. */
static int check_saved(const struct binding *b, const struct pc_tensor *target, const struct pc_tensor *saved,
    struct paco_error *err)
{
    bool grows =
        strcmp(target->name, "model.embed_tokens.weight") == 0 || strcmp(target->name, "lm_head.weight") == 0;
    bool fits = saved->n_dims == target->n_dims;
    for (int d = 0; d < saved->n_dims && fits; d++)
        fits = saved->shape[d] == target->shape[d] || (d == 0 && grows);
    char a[160], s[160];
    if (fits)
        return 0;
    return pc_error_set(err, PACO_EMISMATCH,
        "the adapter's tensor '%s' is %s, the base's '%s' is %s: is %s the adapter's base?", saved->name,
        pc_tensor_shape(saved, s, sizeof s), target->name, pc_tensor_shape(target, a, sizeof a),
        b->base->path ? b->base->path : "this");
}

/* PEFT decides by the layer's class and ignores fan_in_fan_out on a plain linear layer, which is all LLaMA
 * has; GPT-2's Conv1D layers, the ones stored (in, out), have these names. When only one way fits, it is that
 * one. */
static bool stored_in_out(const struct pc_lowrank_term *term, const struct pc_tensor *w)
{
    static const char *const conv1d[] = {
        ".c_attn.weight", ".c_proj.weight", ".c_fc.weight", ".q_attn.weight"};
    uint64_t n_in = term->a->shape[1], n_out = term->b->shape[0];
    if (w->n_dims == 2 && n_in != n_out)
        return w->shape[0] == n_in && w->shape[1] == n_out;
    for (size_t i = 0; i < sizeof conv1d / sizeof *conv1d; i++)
        if (pc_ends_with(w->name, conv1d[i]))
            return true;
    return false;
}

static int finish_update(
    struct binding *b, struct pc_lowrank_term *term, const struct pc_tensor *target, struct paco_error *err)
{
    if (!term->a || !term->b)
        return pc_error_set(err, PACO_EMISMATCH, "the adapter has '%s' without its other factor",
            (term->a ? term->a : term->b)->name);
    char module[PC_MAX_NAME + 1];
    snprintf(module, sizeof module, "%.*s", (int)(strlen(target->name) - strlen(".weight")), target->name);
    int64_t r;
    int rc = pc_adapter_config_module(&b->adapter->config, module, &r, &term->scale, err);
    if (rc < 0)
        return rc;
    char shape[160];
    if (term->a->n_dims != 2 || term->b->n_dims != 2 || term->a->shape[0] != (uint64_t)r ||
        term->b->shape[1] != (uint64_t)r)
        return pc_error_set(err, PACO_EMISMATCH,
            "the adapter's tensor '%s' is %s, but adapter_config.json gives its module rank %lld",
            term->a->shape[0] != (uint64_t)r ? term->a->name : term->b->name,
            pc_tensor_shape(term->a->shape[0] != (uint64_t)r ? term->a : term->b, shape, sizeof shape),
            (long long)r);
    if (b->adapter->config.fan_in_fan_out && !term->transposed) {
        term->transposed = stored_in_out(term, term->source ? term->source : target);
        b->report.ignored_layout |= !term->transposed;
    }
    b->report.n_updated++;
    return 0;
}

/* A tied base has no lm_head. An adapter may still hold one; that is no loss if it is the embedding again. */
static int check_tied_head(const struct binding *b, struct paco_error *err)
{
    const struct pc_tensor *embedding = pc_checkpoint_find(b->base, "model.embed_tokens.weight");
    if (!b->head || !embedding)
        return b->head ? no_place(b, b->head, "lm_head.weight", err) : 0;
    const struct pc_lowrank_term *term = &b->terms[embedding->index];
    bool same = false;
    int rc = term->a ? 0 : same_bytes(b->head, term->source ? term->source : embedding, &same, err);
    if (rc < 0 || same)
        return rc;
    return pc_error_set(err, PACO_EUNSUPPORTED,
        "the adapter's tensor '%s' differs from the embedding, to which this base ties it: the result "
        "would need a head of its own",
        b->head->name);
}

static int check_vocab(struct binding *b, struct paco_error *err)
{
    uint64_t rows[2] = {0, 0};
    static const char *const names[2] = {"model.embed_tokens.weight", "lm_head.weight"};
    for (int i = 0; i < 2; i++) {
        const struct pc_tensor *t = pc_checkpoint_find(b->base, names[i]);
        if (t)
            rows[i] = b->terms[t->index].source ? b->terms[t->index].source->shape[0] : t->shape[0];
    }
    b->report.vocab = rows[0];
    if (rows[0] && rows[1] && rows[0] != rows[1])
        return pc_error_set(err, PACO_EMISMATCH, "with this adapter '%s' would have %llu rows and '%s' %llu",
            names[0], (unsigned long long)rows[0], names[1], (unsigned long long)rows[1]);
    return 0;
}

static int bind_all(struct binding *b, struct paco_error *err)
{
    const struct pc_checkpoint *ck = b->adapter->ck;
    int rc = 0;
    for (size_t i = 0; i < ck->n_tensors && rc == 0; i++)
        rc = bind_tensor(b, &ck->tensors[i], err);
    for (size_t i = 0; i < b->base->n_tensors && rc == 0; i++) {
        struct pc_lowrank_term *term = &b->terms[i];
        if (term->source && (rc = check_saved(b, &b->base->tensors[i], term->source, err)) == 0 && !term->a)
            b->report.n_replaced++;
        if (rc == 0 && (term->a || term->b))
            rc = finish_update(b, term, &b->base->tensors[i], err);
    }
    if (rc == 0)
        rc = check_tied_head(b, err);
    if (rc == 0)
        rc = check_vocab(b, err);
    if (rc == 0 && b->report.n_updated + b->report.n_replaced == 0)
        rc = pc_error_set(err, PACO_EMISMATCH, "the adapter holds no tensors");
    return rc;
}

int pc_adapter_terms(const struct pc_adapter *adapter, const struct pc_checkpoint *base,
    struct pc_lowrank_term *terms, struct pc_adapter_report *report, struct paco_error *err)
{
    struct binding b = {.adapter = adapter, .base = base, .terms = terms};
    memset(terms, 0, base->n_tensors * sizeof *terms);
    int rc = bind_all(&b, err);
    if (rc < 0)
        pc_error_path(err, adapter->ck->path);
    else if (report)
        *report = b.report;
    return rc;
}

int pc_adapter_apply(const struct pc_adapter *adapter, const struct pc_checkpoint *base,
    struct pc_checkpoint **out, struct pc_adapter_report *report, struct paco_error *err)
{
    struct pc_lowrank_term *terms = pc_alloc_zero(base->n_tensors, sizeof *terms);
    if (!terms)
        return pc_error_mem(err, base->n_tensors * sizeof *terms, "an adapter's terms");
    int rc = pc_adapter_terms(adapter, base, terms, report, err);
    size_t n = 0;
    for (size_t i = 0; i < base->n_tensors && rc == 0; i++)
        if (terms[i].name)
            terms[n++] = terms[i];
    if (rc == 0) {
        rc = pc_checkpoint_lowrank(base, terms, n, out, err);
        if (rc < 0)
            pc_error_path(err, adapter->ck->path);
    }
    pc_free(terms);
    return rc;
}
