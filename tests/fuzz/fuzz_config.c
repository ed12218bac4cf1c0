// SPDX-License-Identifier: Apache-2.0
/* config.json and generation_config.json: what is accepted is written, read again and the same. */
#include "format/config.h"
#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(const struct pc_config *a, const struct pc_config *b)
{
    return a->n_layers == b->n_layers && a->hidden_size == b->hidden_size && a->head_dim == b->head_dim &&
           a->n_heads == b->n_heads && a->n_kv_heads == b->n_kv_heads && a->vocab_size == b->vocab_size &&
           a->max_positions == b->max_positions && a->rms_norm_eps == b->rms_norm_eps &&
           a->rope_theta == b->rope_theta && a->rope_scaling == b->rope_scaling && a->tied == b->tied &&
           a->n_eos == b->n_eos && a->bos_id == b->bos_id;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pc_config c, again;
    struct pc_generation_config g;
    struct paco_error err = {0};
    int rc = pc_generation_config_read(fuzz_file(data, size), &g, &err);
    if (rc < 0)
        fuzz_check_error(rc, &err);
    rc = pc_config_read(fuzz_file(data, size), &c, &err);
    if (rc < 0) {
        fuzz_check_error(rc, &err);
        return 0;
    }
    // Products of two sizes are computed in int32 by those who come after.
    if (c.n_layers < 1 || c.n_kv_heads < 1 || c.n_heads % c.n_kv_heads || c.head_dim < 2 || c.head_dim % 2 ||
        c.n_heads > (1 << 20) / c.head_dim || c.vocab_size < 1 || c.max_positions < 1)
        abort();
    char *text = pc_config_write(&c);
    if (!text)
        abort();
    if (pc_config_read(fuzz_file((const uint8_t *)text, strlen(text)), &again, &err) < 0 || !same(&c, &again))
        abort();
    pc_free(text);
    return 0;
}
