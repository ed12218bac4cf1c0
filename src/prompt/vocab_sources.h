// SPDX-License-Identifier: Apache-2.0
/* The adapters behind vocabulary.h: each reads one kind of file and builds the tokenizer it describes. Beside
 * a tokenizer.json or tokenizer.model lie small JSON files that name the special tokens and settings: the
 * "side" of a vocabulary. */
#ifndef PC_PROMPT_VOCAB_SOURCES_H
#define PC_PROMPT_VOCAB_SOURCES_H

#include "base/json.h"
#include "base/map.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocab.h"

enum {
    PC_VOCAB_MAX_VALUES = 4 << 20,   /* in a tokenizer.json; 256 K pieces and their merges make 2 million */
    PC_VOCAB_MAX_FILE = 128 << 20,   /* tokenizer.json; the largest in use have some 30 MB */
    PC_VOCAB_MAX_MODEL = 16 << 20,   /* tokenizer.model, of either kind; the largest in use have some 5 MB */
    PC_VOCAB_MAX_MEMORY = 256 << 20, /* of an unpacked tokenizer.model */
    PC_VOCAB_MAX_SIDE_FILE = 16 << 20, /* tokenizer_config.json with its added tokens */
    PC_VOCAB_MAX_NAMED = 4096,         /* additional special tokens */
};

/* ---- side files ---- */

struct pc_vocab_side {
    json_t *config; /* tokenizer_config.json, an empty object when there is none */
    json_t *map;    /* special_tokens_map.json, likewise */
    json_t *added;  /* added_tokens.json, likewise */
    bool era_2023;  /* no added_tokens_decoder in config: what Transformers wrote before 4.34 */
};

/** A special token by its name: how it is spelt, and whether as a plain string or an object with flags. */
struct pc_named_token {
    struct pc_span span;
    struct pc_added flags; /* span and id unset */
    bool plain;
};

/** Read the side files in dir; NULL means none. Release in any case. */
int pc_vocab_side_read(struct pc_vocab_side *side, const char *dir, struct paco_error *err);
void pc_vocab_side_release(struct pc_vocab_side *side);

/** "bos_token" and so on. False when absent, null or empty (some old files hold ""). A view into side. */
bool pc_vocab_side_named(const struct pc_vocab_side *side, const char *key, struct pc_named_token *out);
/** A token as these files spell it: a string, or an object with content and flags. */
bool pc_vocab_side_token(const json_t *v, struct pc_named_token *out);
/** The list "additional_special_tokens" (or version 5's "extra_special_tokens"), borrowed, or NULL. */
const json_t *pc_vocab_side_additional(const struct pc_vocab_side *side);
/** A boolean of tokenizer_config.json: 0, 1, or -1 when it is absent or null. */
int pc_vocab_side_flag(const struct pc_vocab_side *side, const char *key);

/** A list of added tokens that grows; each text once. */
struct pc_added_list {
    struct pc_added *v;
    size_t n, capacity;
    struct pc_map by_text;
};
void pc_added_release(struct pc_added_list *list);
/** The entry of that text, or NULL. */
struct pc_added *pc_added_find(const struct pc_added_list *list, struct pc_span text);
/** Add an entry, unless its text is there; returns it, or NULL when memory is out. Texts are borrowed. */
struct pc_added *pc_added_add(struct pc_added_list *list, const struct pc_added *entry);

/* ---- adapters ---- */

/** What a vocabulary is handed to, valid for the call alone. err is not NULL; what it returns is returned. */
typedef int (*pc_vocab_use)(void *ctx, const struct pc_vocab *vocab, struct paco_error *err);
/** The use that makes a tokenizer: ctx is a struct pc_tokenizer **. */
int pc_vocab_build(void *ctx, const struct pc_vocab *vocab, struct paco_error *err);

/** Read the vocabulary of whatever pc_vocabulary_open takes and hand it to use. scores: of a folder with
 * both, take the tokenizer.model, whose pieces have scores, before the tokenizer.json. */
int pc_vocab_read(const char *path, bool scores, pc_vocab_use use, void *ctx, struct paco_error *err);

/** Read the vocabulary inside a GGUF file and hand it to use. */
int pc_vocab_gguf_read(const char *path, pc_vocab_use use, void *ctx, struct paco_error *err);
/** GGUF's name for how v cuts text before its byte-level model, or NULL: one of which the patterns, in order,
 * and ignore_merges are v's. Static storage. len excludes what follows the name. */
const char *pc_vocab_gguf_pre_name(const struct pc_vocab *v, size_t *len);
/** LLaMA 3's expression, which cuts a text into words. Static storage. */
const char *pc_vocab_llama3_pattern(void);
/** Its chat template, owned, or NULL in *out. */
int pc_vocab_gguf_chat_template(const char *path, char **out, struct paco_error *err);
/** A tokenizer.json with its side files, handed to use. */
int pc_vocab_json_read(
    const char *path, const struct pc_vocab_side *side, pc_vocab_use use, void *ctx, struct paco_error *err);
/** The same from memory, as a tokenizer; path is for messages. */
int pc_vocab_json_parse(const char *text, size_t len, const char *path, const struct pc_vocab_side *side,
    struct pc_tokenizer **out, struct paco_error *err);
/** A tokenizer.model with its side files, handed to use. side NULL: SentencePiece's own names and no
 * others. parse: the same from memory, as a tokenizer. */
int pc_vocab_spm_read(
    const char *path, const struct pc_vocab_side *side, pc_vocab_use use, void *ctx, struct paco_error *err);
int pc_vocab_spm_parse(const uint8_t *bytes, size_t len, const char *path, const struct pc_vocab_side *side,
    struct pc_tokenizer **out, struct paco_error *err);

/** Whether path is a tokenizer.model of tiktoken's kind, as LLaMA 3 has it: lines of a piece in base64 and
 * its rank. False, too, for what cannot be read. */
bool pc_vocab_is_tiktoken(const char *path);
/** Read it, with LLaMA 3's expression and its 256 special tokens, whose names params.json in the same folder
 * decides about (3.1 and later, with "use_scaled_rope", renamed some). Ranks must be 0, 1, 2 ... in order
 * (PACO_EFORMAT with the line's offset). As pc_vocab_gguf_read. */
int pc_vocab_tiktoken_read(const char *path, pc_vocab_use use, void *ctx, struct paco_error *err);
/** The same from memory; path is for messages. */
int pc_vocab_tiktoken_parse(const char *text, size_t len, const char *path, bool since_3_1, pc_vocab_use use,
    void *ctx, struct paco_error *err);

#endif
