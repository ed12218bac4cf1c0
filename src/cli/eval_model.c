// SPDX-License-Identifier: Apache-2.0
#include "cli/eval_model.h"

#include "base/cpu.h"
#include "base/digest.h"
#include "base/memory.h"
#include "base/threads.h"
#include "weights/scan.h"

#include <string.h>

static int digest_tensors(const struct pc_checkpoint *ck, struct pc_pool *pool,
    const struct pc_progress *progress, char hex[PC_SHA256_HEX], struct paco_error *err)
{
    struct pc_scan *scans = pc_alloc_zero(ck->n_tensors, sizeof *scans);
    if (!scans)
        return pc_error_mem(err, ck->n_tensors * sizeof *scans, "digests");
    int rc = pc_scan_checkpoint(ck, PC_SCAN_SHA256, pool, progress, "hashing the model", scans, err);
    if (rc == 0)
        rc = pc_content_digest(ck, scans, hex, err);
    pc_free(scans);
    return rc;
}

static int digest_text(const char *text, size_t len, char hex[PC_SHA256_HEX], struct paco_error *err)
{
    uint8_t digest[PC_SHA256_SIZE];
    struct pc_sha256 *h = pc_sha256_new(err);
    if (!h)
        return PACO_EMEM;
    pc_sha256_update(h, text, len);
    pc_sha256_final(h, digest);
    pc_sha256_hex(digest, hex);
    pc_sha256_free(h);
    return 0;
}

/* Pieces and special ids: whatever file they came from. */
static int digest_tokenizer(const struct pc_tokenizer *tok, char hex[PC_SHA256_HEX], struct paco_error *err)
{
    uint8_t digest[PC_SHA256_SIZE];
    struct pc_sha256 *h = pc_sha256_new(err);
    if (!h)
        return PACO_EMEM;
    for (int32_t i = 0; i < pc_tokenizer_n_tokens(tok); i++) {
        size_t len = 0;
        const char *piece = pc_tokenizer_piece(tok, i, &len);
        uint64_t head = (uint64_t)len << 1 | pc_tokenizer_is_special(tok, i);
        pc_sha256_update(h, &head, sizeof head);
        pc_sha256_update(h, piece ? piece : "", len);
    }
    const int32_t ids[] = {
        pc_tokenizer_bos(tok), pc_tokenizer_eos(tok), pc_tokenizer_pad(tok), pc_tokenizer_adds_bos(tok)};
    pc_sha256_update(h, ids, sizeof ids);
    pc_sha256_final(h, digest);
    pc_sha256_hex(digest, hex);
    pc_sha256_free(h);
    return 0;
}

static int digest_config(const struct pc_config *config, char hex[PC_SHA256_HEX], struct paco_error *err)
{
    char *text = pc_config_write(config);
    if (!text)
        return pc_error_mem(err, 4096, "a configuration");
    int rc = digest_text(text, strlen(text), hex, err);
    pc_free(text);
    return rc;
}

static json_t *text_or_null(const char *text)
{
    return text ? json_string_nocheck(text) : json_null();
}

int pc_eval_fingerprint(const struct pc_model *model, const struct pc_model_args *args,
    const struct pc_tokenizer *tok, const struct pc_progress *progress, json_t **out, struct paco_error *err)
{
    char weights[PC_SHA256_HEX], diff[PC_SHA256_HEX], tokenizer[PC_SHA256_HEX], config[PC_SHA256_HEX];
    struct pc_pool *pool = pc_pool_new((int)args->threads, err);
    int rc = pool ? digest_tensors(model->source.ck, pool, progress, weights, err) : PACO_EMEM;
    if (rc == 0 && model->diff.ck)
        rc = digest_tensors(model->diff.ck, pool, progress, diff, err);
    pc_pool_free(pool);
    if (rc == 0)
        rc = digest_tokenizer(tok, tokenizer, err);
    if (rc == 0)
        rc = digest_config(model->config, config, err);
    if (rc < 0)
        return rc;
    json_t *o = json_object();
    int bad = json_object_set_new(o, "content_sha256", text_or_null(weights));
    bad |= json_object_set_new(o, "diff_sha256", text_or_null(model->diff.ck ? diff : NULL));
    bad |= json_object_set_new(o, "tokenizer_sha256", text_or_null(tokenizer));
    bad |= json_object_set_new(o, "config_sha256", text_or_null(config));
    bad |= json_object_set_new(o, "type", text_or_null(args->type));
    bad |= json_object_set_new(o, "dtype", text_or_null(args->load_in_8bit ? "llm.int8" : args->dtype));
    bad |= json_object_set_new(o, "kv_type", text_or_null(args->kv_type));
    bad |= json_object_set_new(o, "cpu", text_or_null(pc_cpu_level()));
    if (bad) {
        json_decref(o);
        return pc_error_mem(err, 1024, "a model's description");
    }
    *out = o;
    return 0;
}
