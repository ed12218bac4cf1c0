// SPDX-License-Identifier: Apache-2.0
/* Meta's params.json: what is accepted has sizes that can be computed with, and is a config.json that reads
 * back the same. */
#include "format/config.h"
#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pc_config c, again;
    struct paco_error err = {0};
    int rc = pc_config_from_meta(fuzz_file(data, size), 32000, 0, &c, &err);
    if (rc < 0) {
        fuzz_check_error(rc, &err);
        return 0;
    }
    if (c.n_layers < 1 || c.n_kv_heads < 1 || c.n_heads % c.n_kv_heads || c.head_dim < 2 || c.head_dim % 2 ||
        c.n_heads > (1 << 20) / c.head_dim || c.vocab_size < 1 || c.max_positions < 1 ||
        c.intermediate_size < 1 || c.intermediate_size > 1 << 20 || c.n_eos < 1)
        abort();
    char *text = pc_config_write(&c);
    if (!text)
        abort();
    if (pc_config_read(fuzz_file((const uint8_t *)text, strlen(text)), &again, &err) < 0)
        abort();
    if (again.intermediate_size != c.intermediate_size || again.rope_theta != c.rope_theta ||
        again.rope_factor != c.rope_factor || again.rms_norm_eps != c.rms_norm_eps || again.n_eos != c.n_eos)
        abort();
    pc_free(text);
    return 0;
}
