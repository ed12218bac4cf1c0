// SPDX-License-Identifier: Apache-2.0
/* The vocabulary of a GGUF file, written as tokenizer files: what is written is JSON, with each piece under
 * its id. */
#include "base/json.h"
#include "fuzz_file.h"
#include "prompt/vocab_sources.h"
#include "prompt/vocab_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static json_t *parse(const struct pc_buf *b)
{
    json_t *v = NULL;
    struct paco_error err = {0};
    if (pc_json_parse(b->data, b->len, NULL, 0, &v, &err) < 0)
        abort();
    return v;
}

static int use(void *ctx, const struct pc_vocab *v, struct paco_error *err)
{
    struct pc_vocab_files f = {0};
    (void)ctx;
    int rc = pc_vocab_write(v, &(struct pc_vocab_write_options){.max_length = 8}, &f, err);
    if (rc == 0) {
        json_t *t = parse(&f.tokenizer);
        const json_t *vocab = json_object_get(json_object_get(t, "model"), "vocab");
        for (size_t i = 0; i < v->n_pieces && t; i++) {
            const json_t *id = json_object_getn(vocab, v->pieces[i].span.text, v->pieces[i].span.len);
            if (v->pieces[i].span.len && json_integer_value(id) != (json_int_t)i)
                abort();
        }
        json_decref(t);
        json_decref(parse(&f.config));
        json_decref(parse(&f.special_map));
    }
    pc_vocab_files_release(&f);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct paco_error err = {0};
    int rc = pc_vocab_gguf_read(fuzz_file(data, size), use, NULL, &err);
    if (rc < 0)
        fuzz_check_error(rc, &err);
    return 0;
}
