// SPDX-License-Identifier: Apache-2.0
/* Repairs of configuration files: what was JSON stays JSON, and there is nothing left to repair. */
#include "base/json.h"
#include "weights/repair.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void repair(const char *name, struct pc_buf *text, struct pc_buf *said)
{
    static const struct pc_special_tokens tokens = {
        .any_file = true, .has_pad = true, .pad = "<pad>", .pad_id = 32000, .is_llama = true};
    pc_repair(name, &(struct pc_repair_options){.tokens = &tokens, .dtype = PC_F32}, text, said);
}

static void try_name(const char *name, const uint8_t *data, size_t size)
{
    struct pc_buf text, said;
    json_t *before = NULL, *after = NULL;
    pc_buf_init(&text, 2 * size + 4096);
    pc_buf_init(&said, 1 << 20);
    pc_buf_add(&text, data, size);
    bool valid = pc_json_parse((const char *)data, size, NULL, 0, &before, NULL) == 0;
    repair(name, &text, &said);
    if (valid && json_is_object(before) && !text.failed) {
        if (pc_json_parse(text.data, text.len, NULL, 0, &after, NULL) < 0)
            abort();
        if ((said.len == 0) != (text.len == size && (size == 0 || memcmp(text.data, data, size) == 0)))
            abort();
        pc_buf_clear(&said);
        repair(name, &text, &said);
        if (said.len)
            abort();
    }
    json_decref(before);
    json_decref(after);
    pc_buf_release(&text);
    pc_buf_release(&said);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_name("config.json", data, size);
    try_name("generation_config.json", data, size);
    try_name("tokenizer_config.json", data, size);
    try_name("special_tokens_map.json", data, size);
    return 0;
}
