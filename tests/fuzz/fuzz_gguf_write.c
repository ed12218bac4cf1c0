// SPDX-License-Identifier: Apache-2.0
/* The other way round: what any GGUF file holds, through Hugging Face's layout and vocabulary back into
 * GGUF's. What is planned must be a layout that fits, and the vocabulary's metadata as many entries as it
 * says. */
#include "format/config.h"
#include "format/gguf_write.h"
#include "fuzz_file.h"
#include "prompt/vocab_gguf_write.h"
#include "prompt/vocab_sources.h"
#include "weights/gguf_names.h"
#include "weights/gguf_types.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int use(void *ctx, const struct pc_vocab *v, struct paco_error *err)
{
    const struct pc_vocab_gguf_options o = {.n_rows = v->n_pieces < 1 << 20 ? v->n_pieces + 1 : 1 << 20};
    struct pc_vocab_gguf_report report;
    struct pc_gguf_head *head = ctx;
    return pc_vocab_gguf_write(v, &o, head, &report, err);
}

static void plan(const struct pc_checkpoint *ck, const struct pc_gguf_head *head, const enum pc_dtype *types)
{
    struct pc_out_tensor *tensors = calloc(ck->n_tensors + 1, sizeof *tensors);
    struct pc_layout *l = NULL;
    struct paco_error err = {0};
    for (size_t i = 0; tensors && i < ck->n_tensors; i++) {
        const struct pc_tensor *t = &ck->tensors[i];
        tensors[i] = (struct pc_out_tensor){.name = t->name, .dtype = types[i], .n_dims = t->n_dims};
        memcpy(tensors[i].shape, t->shape, sizeof t->shape);
    }
    int rc = tensors ? pc_layout_new_gguf(head, "x", tensors, (uint32_t)ck->n_tensors, &l, &err) : 0;
    if (rc < 0)
        fuzz_check_error(rc, &err);
    for (uint32_t i = 0; l && i < l->n_tensors; i++)
        if (l->tensors[i].offset % PC_GGUF_ALIGNMENT ||
            l->tensors[i].offset + l->tensors[i].size > l->files[0].size)
            abort();
    pc_layout_free(l);
    free(tensors);
}

static void choose(
    const struct pc_checkpoint *ck, const struct pc_config *config, const struct pc_gguf_head *head)
{
    enum pc_dtype *types = calloc(ck->n_tensors + 1, sizeof *types);
    uint32_t file_type;
    for (int choice = PACO_DTYPE_F32; types && choice <= PACO_DTYPE_Q6_K; choice++) {
        pc_gguf_types_choose(ck, config, (enum paco_dtype)choice, types, &file_type, NULL);
        plan(ck, head, types);
    }
    free(types);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pc_checkpoint *ck = NULL, *renamed = NULL, *hf = NULL, *permuted = NULL, *back = NULL;
    struct pc_config config;
    struct pc_gguf_head head;
    struct paco_error err = {0};
    const char *path = fuzz_file(data, size);
    pc_gguf_head_init(&head);
    int rc = pc_vocab_gguf_read(path, use, &head, &err);
    if (rc < 0)
        fuzz_check_error(rc, &err);
    err = (struct paco_error){0};
    rc = pc_gguf_open(path, &ck, &err);
    if (rc == 0)
        rc = pc_config_from_gguf(ck, &config, &err);
    if (rc == 0)
        rc = pc_gguf_as_hf(ck, &config, &renamed, &hf, &err);
    if (rc == 0)
        rc = pc_gguf_from_hf(hf, &config, NULL, &permuted, &back, &err);
    if (rc < 0)
        fuzz_check_error(rc, &err);
    else
        choose(back, &config, &head);
    if (back)
        fuzz_read_all(back);
    pc_checkpoint_close(permuted);
    pc_checkpoint_close(hf);
    pc_checkpoint_close(renamed);
    pc_checkpoint_close(ck);
    pc_gguf_head_release(&head);
    return 0;
}
