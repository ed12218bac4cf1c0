// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf_types.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

/* By paco_dtype: the type of most matrices, and llama.cpp's number. */
static const struct mix {
    enum pc_dtype dtype;
    uint32_t file_type;
} g_mixes[] = {
    [PACO_DTYPE_F32] = {PC_F32, 0},
    [PACO_DTYPE_F16] = {PC_F16, 1},
    [PACO_DTYPE_BF16] = {PC_BF16, 32},
    [PACO_DTYPE_Q8_0] = {PC_Q8_0, 7},
    [PACO_DTYPE_Q4_0] = {PC_Q4_0, 2},
    [PACO_DTYPE_Q4_1] = {PC_Q4_1, 3},
    [PACO_DTYPE_Q5_0] = {PC_Q5_0, 8},
    [PACO_DTYPE_Q5_1] = {PC_Q5_1, 9},
    [PACO_DTYPE_Q4_K] = {PC_Q4_K, 15},
    [PACO_DTYPE_Q5_K] = {PC_Q5_K, 17},
    [PACO_DTYPE_Q6_K] = {PC_Q6_K, 18},
};

enum pc_dtype pc_block_choice(enum paco_dtype choice)
{
    return choice >= PACO_DTYPE_Q8_0 && choice <= PACO_DTYPE_Q6_K ? g_mixes[choice].dtype : PC_N_DTYPES;
}

static bool is_matrix(const struct pc_tensor *t)
{
    return t->n_dims > 1 && pc_ends_with(t->name, ".weight") && !pc_ends_with(t->name, "_norm.weight");
}

/* The number in "blk.7.attn_v.weight", or -1. */
static int layer_of(const char *name)
{
    return strncmp(name, "blk.", 4) == 0 ? (int)strtol(name + 4, NULL, 10) : -1;
}

static bool wants_more_bits(int layer, int n)
{
    return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
}

static enum pc_dtype mixed_type(
    const struct pc_tensor *t, const struct pc_config *config, bool has_head, enum pc_dtype dtype)
{
    bool mixes = dtype == PC_Q4_K || dtype == PC_Q5_K;
    int n = config->n_layers, layer = layer_of(t->name);
    if (strcmp(t->name, has_head ? "output.weight" : "token_embd.weight") == 0)
        return dtype == PC_Q8_0 ? PC_Q8_0 : PC_Q6_K;
    if (layer < 0 || !mixes)
        return dtype;
    bool value = pc_ends_with(t->name, ".attn_v.weight"), down = pc_ends_with(t->name, ".ffn_down.weight");
    if ((value || down) && wants_more_bits(layer, n))
        return PC_Q6_K;
    return value && dtype == PC_Q4_K && n == 80 && config->n_heads != config->n_kv_heads ? PC_Q5_K : dtype;
}

/* What llama.cpp takes where the rows are no whole number of blocks. */
static enum pc_dtype fitting_type(const struct pc_tensor *t, enum pc_dtype dtype)
{
    if (t->row_elems % pc_dtype_traits(dtype)->n_block == 0)
        return dtype;
    enum pc_dtype smaller = dtype == PC_Q4_K   ? PC_Q5_0
                            : dtype == PC_Q5_K ? PC_Q5_1
                            : dtype == PC_Q6_K ? PC_Q8_0
                                               : PC_F16;
    return t->row_elems % pc_dtype_traits(smaller)->n_block == 0 ? smaller : PC_F16;
}

static enum pc_dtype kept_type(const struct pc_tensor *t)
{
    switch (t->dtype) {
    case PC_F64: return PC_F32;
    case PC_F8_E4M3:
    case PC_F8_E5M2: return PC_F16;
    default: return t->dtype;
    }
}

static enum pc_dtype type_of(const struct pc_tensor *t, const struct pc_config *config, bool has_head,
    enum paco_dtype choice, enum pc_dtype *wished)
{
    const struct pc_dtype_traits *traits = pc_dtype_traits(t->dtype);
    *wished = t->dtype;
    if (!traits->is_float && !traits->is_quant)
        return t->dtype;
    *wished = PC_F32;
    if (!is_matrix(t))
        return traits->is_quant ? t->dtype : PC_F32;
    *wished = choice == PACO_DTYPE_KEEP || choice == PACO_DTYPE_AUTO ? kept_type(t) : g_mixes[choice].dtype;
    if (pc_block_choice(choice) == PC_N_DTYPES)
        return *wished;
    *wished = mixed_type(t, config, has_head, *wished);
    return fitting_type(t, *wished);
}

/* The file type of the matrices that are most of the bytes. */
static uint32_t guess_file_type(const struct pc_checkpoint *ck, const enum pc_dtype *types)
{
    uint64_t most = 0;
    uint32_t found = 0;
    for (size_t m = 0; m < sizeof g_mixes / sizeof *g_mixes; m++) {
        uint64_t n = 0;
        for (size_t i = 0; i < ck->n_tensors; i++)
            n += is_matrix(&ck->tensors[i]) && types[i] == g_mixes[m].dtype
                     ? pc_tensor_n_elements(&ck->tensors[i])
                     : 0;
        if (n > most) {
            most = n;
            found = g_mixes[m].file_type;
        }
    }
    return found;
}

struct counts {
    uint32_t fell[PC_N_DTYPES][PC_N_DTYPES]; /* from what was wished to what fits */
    uint64_t width[PC_N_DTYPES][PC_N_DTYPES];
    uint32_t again[PC_N_DTYPES]; /* by the type they had */
};

static void say(const struct counts *c, struct pc_notes *notes)
{
    for (int a = 0; a < PC_N_DTYPES; a++) {
        for (int b = 0; b < PC_N_DTYPES; b++)
            if (c->fell[a][b])
                pc_note(notes, "%u tensor%s in %s instead of %s: rows of %llu are no multiple of %u",
                    c->fell[a][b], c->fell[a][b] == 1 ? "" : "s", pc_dtype_name((enum pc_dtype)b),
                    pc_dtype_name((enum pc_dtype)a), (unsigned long long)c->width[a][b],
                    pc_dtype_traits((enum pc_dtype)a)->n_block);
        if (c->again[a])
            pc_note(notes,
                "%u tensor%s %s already and quantised a second time, which loses more than from the original "
                "would",
                c->again[a], c->again[a] == 1 ? " was" : "s were", pc_dtype_name((enum pc_dtype)a));
    }
}

void pc_gguf_types_choose(const struct pc_checkpoint *ck, const struct pc_config *config,
    enum paco_dtype choice, enum pc_dtype *types, uint32_t *file_type, struct pc_notes *notes)
{
    bool has_head = pc_checkpoint_find(ck, "output.weight") != NULL;
    struct counts counts = {.again = {0}};
    for (size_t i = 0; i < ck->n_tensors; i++) {
        const struct pc_tensor *t = &ck->tensors[i];
        enum pc_dtype wished;
        types[i] = type_of(t, config, has_head, choice, &wished);
        if (types[i] != wished && is_matrix(t)) {
            counts.fell[wished][types[i]]++;
            counts.width[wished][types[i]] = t->row_elems;
        }
        if (types[i] != t->dtype && pc_dtype_traits(t->dtype)->is_quant &&
            pc_dtype_traits(types[i])->is_quant)
            counts.again[t->dtype]++;
    }
    *file_type = choice == PACO_DTYPE_KEEP || choice == PACO_DTYPE_AUTO ? guess_file_type(ck, types)
                                                                        : g_mixes[choice].file_type;
    say(&counts, notes);
}
