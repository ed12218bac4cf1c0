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

/* What decides about merges, normalisation and splits shows in the ids of these. */
static const char *const g_probes[] = {"The quick brown fox doesn't jump 1234567 times.", "A", " A", "\n",
    "  two spaces\n\n\tand a tab \n", "def f(x):\n    return x != \"y\"\n", "<|user|>\nWhy?\n<|assistant|>\n",
    "\u00c4rger, caf\u00e9, \u043c\u0438\u0440, \u0639\u0631\u0628, \u09ac\u09be\u0982\u09b2\u09be",
    "\ud55c\uad6d\uc5b4, \u65e5\u672c"};

static int add_probes(struct pc_sha256 *h, const struct pc_tokenizer *tok, struct paco_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < sizeof g_probes / sizeof *g_probes && rc == 0; i++) {
        struct pc_ids ids = {0};
        rc = pc_tokenizer_encode(
            tok, g_probes[i], strlen(g_probes[i]), PC_ENCODE_PARSE | PC_ENCODE_SPECIAL, &ids, err);
        uint64_t n = ids.n;
        pc_sha256_update(h, &n, sizeof n);
        if (ids.n)
            pc_sha256_update(h, ids.v, ids.n * sizeof *ids.v);
        pc_ids_release(&ids);
    }
    return rc;
}

/* Pieces, special ids and how it encodes: whatever file they came from. */
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
    int rc = add_probes(h, tok, err);
    pc_sha256_final(h, digest);
    pc_sha256_hex(digest, hex);
    pc_sha256_free(h);
    return rc;
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

/* What ends an answer, in the order of their numbers: which file says which is not of interest. */
static json_t *list_ends(const struct pc_answering *a)
{
    json_t *list = json_array();
    int bad = 0;
    for (int64_t last = -1, next; bad == 0; last = next) {
        next = INT64_MAX;
        for (size_t i = 0; i < a->n_eos; i++)
            next = a->eos[i] > last && a->eos[i] < next ? a->eos[i] : next;
        if (next == INT64_MAX)
            return list;
        bad = json_array_append_new(list, json_integer(next));
    }
    json_decref(list);
    return NULL;
}

/* Its tensors, and the settings they are used with. */
static int digest_adapter(const struct pc_adapter *adapter, struct pc_pool *pool,
    const struct pc_progress *progress, char hex[PC_SHA256_HEX], struct paco_error *err)
{
    uint8_t digest[PC_SHA256_SIZE];
    int rc = digest_tensors(adapter->ck, pool, progress, hex, err);
    struct pc_sha256 *h = rc == 0 ? pc_sha256_new(err) : NULL;
    if (!h)
        return rc < 0 ? rc : PACO_EMEM;
    pc_sha256_update(h, hex, strlen(hex));
    pc_sha256_update(h, adapter->config_bytes.data, adapter->config_bytes.len);
    pc_sha256_final(h, digest);
    pc_sha256_hex(digest, hex);
    pc_sha256_free(h);
    return 0;
}

int pc_eval_fingerprint(const struct pc_answering *a, const struct pc_model_args *args,
    const struct pc_progress *progress, json_t **out, struct paco_error *err)
{
    const struct pc_model *model = &a->model;
    char weights[PC_SHA256_HEX], diff[PC_SHA256_HEX], adapter[PC_SHA256_HEX], tokenizer[PC_SHA256_HEX],
        config[PC_SHA256_HEX];
    struct pc_pool *pool = pc_pool_new((int)args->threads, err);
    int rc = pool ? digest_tensors(model->source.ck, pool, progress, weights, err) : PACO_EMEM;
    if (rc == 0 && model->diff.ck)
        rc = digest_tensors(model->diff.ck, pool, progress, diff, err);
    if (rc == 0 && model->adapter)
        rc = digest_adapter(model->adapter, pool, progress, adapter, err);
    pc_pool_free(pool);
    if (rc == 0)
        rc = digest_tokenizer(a->tok, tokenizer, err);
    if (rc == 0)
        rc = digest_config(model->config, config, err);
    if (rc < 0)
        return rc;
    json_t *o = json_object();
    int bad = json_object_set_new(o, "content_sha256", text_or_null(weights));
    bad |= json_object_set_new(o, "diff_sha256", text_or_null(model->diff.ck ? diff : NULL));
    if (model->adapter) /* a record without one is as it was before there were any */
        bad |= json_object_set_new(o, "adapter_sha256", text_or_null(adapter));
    bad |= json_object_set_new(o, "tokenizer_sha256", text_or_null(tokenizer));
    bad |= json_object_set_new(o, "config_sha256", text_or_null(config));
    bad |= json_object_set_new(o, "ends", list_ends(a));
    bad |= json_object_set_new(o, "format", text_or_null(pc_format_name(a->prompter.tuned)));
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
