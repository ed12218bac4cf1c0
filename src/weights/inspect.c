// SPDX-License-Identifier: Apache-2.0
#include "weights/inspect.h"

#include "base/file.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool is_buffer(const struct pc_tensor *t)
{
    const struct pc_dtype_traits *traits = pc_dtype_traits(t->dtype);
    return pc_ends_with(t->name, ".inv_freq") || !(traits->is_float || traits->is_quant);
}

void pc_inspect_census(const struct pc_checkpoint *ck, struct pc_census *out)
{
    *out = (struct pc_census){0};
    for (size_t i = 0; i < ck->n_tensors; i++) {
        const struct pc_tensor *t = &ck->tensors[i];
        struct pc_dtype_share *share = &out->by_dtype[t->dtype];
        share->n_tensors++;
        share->n_elements += pc_tensor_n_elements(t);
        share->size += t->size;
        out->size += t->size;
        out->n_params += is_buffer(t) ? 0 : pc_tensor_n_elements(t);
    }
}

/* One kind of fault: the first case in words, and how many. */
struct fault {
    char first[512];
    uint32_t n;
};

struct layout {
    const struct pc_checkpoint *ck;
    const struct pc_config *config;
    bool *expected; /* by tensor index */
    struct fault missing, shape, vocab, extra;
};

static void PC_PRINTF(2, 3) add_fault(struct fault *f, const char *fmt, ...)
{
    if (f->n++ == 0) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(f->first, sizeof f->first, fmt, args);
        va_end(args);
    }
}

static void expect(struct layout *l, const char *name, int n_dims, uint64_t rows, uint64_t cols)
{
    const struct pc_tensor *t = pc_checkpoint_find(l->ck, name);
    const uint64_t shape[2] = {rows, cols};
    char want[160], got[160];
    if (!t) {
        add_fault(&l->missing, "%s", name);
        return;
    }
    l->expected[t->index] = true;
    if (t->n_dims == n_dims && memcmp(t->shape, shape, (size_t)n_dims * sizeof *shape) == 0)
        return;
    bool by_vocab = rows == (uint64_t)l->config->vocab_size && t->n_dims == 2 && t->shape[1] == cols;
    if (by_vocab)
        add_fault(&l->vocab, "the configuration says vocab_size %d, but '%s' has %llu rows",
            (int)l->config->vocab_size, name, (unsigned long long)t->shape[0]);
    else
        add_fault(&l->shape, "'%s' is %s, the configuration wants %s", name,
            pc_tensor_shape(t, got, sizeof got), pc_shape_format(n_dims, shape, want, sizeof want));
}

static void expect_linear(
    struct layout *l, int layer, const char *module, uint64_t n_out, uint64_t n_in, bool bias)
{
    char name[128];
    snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, module);
    expect(l, name, 2, n_out, n_in);
    if (bias) {
        snprintf(name, sizeof name, "model.layers.%d.%s.bias", layer, module);
        expect(l, name, 1, n_out, 0);
    }
}

static void expect_layer(struct layout *l, int layer)
{
    const struct pc_config *c = l->config;
    uint64_t hidden = (uint64_t)c->hidden_size, ff = (uint64_t)c->intermediate_size;
    uint64_t q = (uint64_t)c->n_heads * (uint64_t)c->head_dim,
             kv = (uint64_t)c->n_kv_heads * (uint64_t)c->head_dim;
    static const char *const norms[] = {"input_layernorm", "post_attention_layernorm"};
    expect_linear(l, layer, "self_attn.q_proj", q, hidden, c->attention_bias);
    expect_linear(l, layer, "self_attn.k_proj", kv, hidden, c->attention_bias);
    expect_linear(l, layer, "self_attn.v_proj", kv, hidden, c->attention_bias);
    expect_linear(l, layer, "self_attn.o_proj", hidden, q, c->attention_bias);
    expect_linear(l, layer, "mlp.gate_proj", ff, hidden, c->mlp_bias);
    expect_linear(l, layer, "mlp.up_proj", ff, hidden, c->mlp_bias);
    expect_linear(l, layer, "mlp.down_proj", hidden, ff, c->mlp_bias);
    for (int i = 0; i < 2; i++) {
        char name[128];
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, norms[i]);
        expect(l, name, 1, hidden, 0);
    }
}

static int note_fault(struct pc_notes *problems, const struct fault *f, const char *before, const char *after)
{
    if (f->n == 0)
        return 0;
    if (f->n == 1)
        pc_note(problems, "%s%s%s", before, f->first, after);
    else
        pc_note(problems, "%s%s%s (and %u more)", before, f->first, after, f->n - 1);
    return 1;
}

int pc_inspect_layout(const struct pc_checkpoint *ck, const struct pc_config *config,
    struct pc_notes *problems, struct paco_error *err)
{
    struct layout *l = pc_alloc_zero(1, sizeof *l);
    bool *expected = pc_alloc_zero(ck->n_tensors, sizeof *expected);
    int n = 0;
    if (!l || !expected) {
        n = pc_error_mem(err, sizeof *l + ck->n_tensors, "an inspection");
    } else {
        uint64_t vocab = (uint64_t)config->vocab_size, hidden = (uint64_t)config->hidden_size;
        *l = (struct layout){.ck = ck, .config = config, .expected = expected};
        expect(l, "model.embed_tokens.weight", 2, vocab, hidden);
        for (int i = 0; i < config->n_layers; i++)
            expect_layer(l, i);
        expect(l, "model.norm.weight", 1, hidden, 0);
        if (!config->tied || pc_checkpoint_find(ck, "lm_head.weight"))
            expect(l, "lm_head.weight", 2, vocab, hidden);
        for (size_t i = 0; i < ck->n_tensors; i++)
            if (!expected[i] && !pc_ends_with(ck->tensors[i].name, ".inv_freq"))
                add_fault(&l->extra, "%s", ck->tensors[i].name);
        n += note_fault(problems, &l->vocab, "", "");
        n += note_fault(problems, &l->shape, "", "");
        n += note_fault(problems, &l->missing, "missing tensor '", "'");
        n += note_fault(problems, &l->extra, "tensor '", "' has no place in this architecture");
    }
    pc_free(expected);
    pc_free(l);
    return n;
}

void pc_inspect_values(const struct pc_checkpoint *ck, const struct pc_scan *scans, struct pc_notes *problems)
{
    for (size_t i = 0; i < ck->n_tensors; i++)
        if (scans[i].n_nan + scans[i].n_inf)
            pc_note(problems, "tensor '%s' holds %llu NaN and %llu infinite values", ck->tensors[i].name,
                (unsigned long long)scans[i].n_nan, (unsigned long long)scans[i].n_inf);
}
