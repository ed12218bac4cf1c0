// SPDX-License-Identifier: Apache-2.0
/* tokenizer_config.json, special_tokens_map.json and added_tokens.json.
 *
 * Until Transformers 4.33 the map won over the config, and a token spelt as a plain string took the white
 * space around it. Since 4.34 the config carries added_tokens_decoder, which says all that, and the map is a
 * copy. A folder is read the way its own Transformers read it; added_tokens_decoder tells which. */
#include "base/file.h"
#include "base/memory.h"
#include "prompt/vocab_sources.h"

#include <string.h>

static int read_object(const char *dir, const char *name, json_t **out, struct paco_error *err)
{
    char *path = dir ? pc_path_join(dir, name) : NULL;
    int rc = dir && !path ? pc_error_mem(err, 1, "a path") : 0;
    if (rc == 0 && path && pc_path_exists(path))
        rc = pc_json_read(path, PC_VOCAB_MAX_SIDE_FILE, out, err);
    if (rc == 0 && !*out && !(*out = json_object()))
        rc = pc_error_mem(err, 1, name);
    pc_free(path);
    return rc;
}

int pc_vocab_side_read(struct pc_vocab_side *side, const char *dir, struct paco_error *err)
{
    *side = (struct pc_vocab_side){0};
    int rc = read_object(dir, "tokenizer_config.json", &side->config, err);
    if (rc == 0)
        rc = read_object(dir, "special_tokens_map.json", &side->map, err);
    if (rc == 0)
        rc = read_object(dir, "added_tokens.json", &side->added, err);
    side->era_2023 = rc == 0 && !json_is_object(json_object_get(side->config, "added_tokens_decoder"));
    return rc;
}

void pc_vocab_side_release(struct pc_vocab_side *side)
{
    json_decref(side->config);
    json_decref(side->map);
    json_decref(side->added);
    *side = (struct pc_vocab_side){0};
}

bool pc_vocab_side_token(const json_t *v, struct pc_named_token *out)
{
    const json_t *text = json_is_object(v) ? json_object_get(v, "content") : v;
    *out = (struct pc_named_token){.plain = json_is_string(v)};
    if (!json_is_string(text) || json_string_length(text) == 0)
        return false;
    out->span = (struct pc_span){json_string_value(text), json_string_length(text)};
    out->flags.special = json_is_true(json_object_get(v, "special"));
    out->flags.lstrip = json_is_true(json_object_get(v, "lstrip"));
    out->flags.rstrip = json_is_true(json_object_get(v, "rstrip"));
    out->flags.normalized = json_is_true(json_object_get(v, "normalized"));
    out->flags.single_word = json_is_true(json_object_get(v, "single_word"));
    return true;
}

bool pc_vocab_side_named(const struct pc_vocab_side *side, const char *key, struct pc_named_token *out)
{
    const json_t *first = side->era_2023 ? side->map : side->config,
                 *second = side->era_2023 ? side->config : side->map;
    return pc_vocab_side_token(json_object_get(first, key), out) ||
           pc_vocab_side_token(json_object_get(second, key), out);
}

const json_t *pc_vocab_side_additional(const struct pc_vocab_side *side)
{
    static const char *const keys[] = {"additional_special_tokens", "extra_special_tokens"};
    for (size_t i = 0; i < 2; i++) {
        const json_t *v = json_object_get(side->map, keys[i]);
        if (!json_is_array(v))
            v = json_object_get(side->config, keys[i]);
        if (json_is_array(v) && json_array_size(v) && json_array_size(v) <= PC_VOCAB_MAX_NAMED)
            return v;
    }
    return NULL;
}

int pc_vocab_side_flag(const struct pc_vocab_side *side, const char *key)
{
    const json_t *v = json_object_get(side->config, key);
    return json_is_boolean(v) ? json_is_true(v) : -1;
}

void pc_added_release(struct pc_added_list *list)
{
    pc_free(list->v);
    pc_map_release(&list->by_text);
    *list = (struct pc_added_list){0};
}

struct pc_added *pc_added_find(const struct pc_added_list *list, struct pc_span text)
{
    uint32_t i;
    return pc_map_get(&list->by_text, text.text, text.len, &i) ? &list->v[i] : NULL;
}

struct pc_added *pc_added_add(struct pc_added_list *list, const struct pc_added *entry)
{
    struct pc_added *there = pc_added_find(list, entry->span);
    if (there)
        return there;
    if (pc_grow(&list->v, &list->capacity, list->n, sizeof *list->v, "added tokens", NULL) < 0)
        return NULL;
    if (pc_map_add(&list->by_text, entry->span.text, entry->span.len, (uint32_t)list->n) < 0)
        return NULL;
    list->v[list->n] = *entry;
    return &list->v[list->n++];
}
