// SPDX-License-Identifier: Apache-2.0
/* Text to token ids and back, for any vocabulary described by struct pc_vocab (vocab.h).
 *
 *     struct pc_ids ids = {0};
 *     pc_tokenizer_encode(tok, text, len, PC_ENCODE_SPECIAL | PC_ENCODE_PARSE, &ids, &err);
 *     ...
 *     pc_ids_release(&ids);
 *
 * A tokenizer is immutable after it is made: any number of threads may encode and decode with it. */
#ifndef PC_TOKENIZER_TOKENIZER_H
#define PC_TOKENIZER_TOKENIZER_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pc_vocab;
struct pc_tokenizer;

/** A growing list of token ids; `{0}` is empty. */
struct pc_ids {
    int32_t *v;
    size_t n, capacity;
};
int pc_ids_add(struct pc_ids *ids, int32_t id, struct paco_error *err);
void pc_ids_release(struct pc_ids *ids);

enum pc_encode_flag {
    PC_ENCODE_SPECIAL = 1, /* add BOS/EOS as the tokenizer's own settings say (add_special_tokens=True) */
    PC_ENCODE_PARSE = 2,   /* recognise added and special tokens inside the text, as Transformers does */
};

/** Build from a description, which is copied. *owned*: pc_tokenizer_free. Refuses descriptions that
 * contradict themselves (PACO_EFORMAT, naming the piece). */
struct pc_tokenizer *pc_tokenizer_new(const struct pc_vocab *vocab, struct paco_error *err);
void pc_tokenizer_free(struct pc_tokenizer *tok);

/** Append the ids of text (len bytes; any bytes, invalid UTF-8 is handled as the reference handles it) to
 * out. flags: enum pc_encode_flag. */
int pc_tokenizer_encode(const struct pc_tokenizer *tok, const char *text, size_t len, unsigned flags,
    struct pc_ids *out, struct paco_error *err);

/** Append the text of n ids to out. skip_special leaves out BOS, EOS and other special tokens. Unknown ids
 * are an error naming the position. The result is valid UTF-8: bytes that never form a character become
 * U+FFFD. */
int pc_tokenizer_decode(const struct pc_tokenizer *tok, const int32_t *ids, size_t n, bool skip_special,
    struct pc_buf *out, struct paco_error *err);

/** Streaming decode: what is shown is always whole characters, and the concatenation of all pieces plus the
 * flush is what pc_tokenizer_decode gives for all ids. */
struct pc_decoder {
    const struct pc_tokenizer *tok; /* borrowed until the last call */
    bool skip_special, started;
    unsigned char held[8]; /* an unfinished character, or a space that may yet be dropped */
    size_t n_held;
};
void pc_decoder_init(struct pc_decoder *d, const struct pc_tokenizer *tok, bool skip_special);
int pc_decoder_push(struct pc_decoder *d, int32_t id, struct pc_buf *out, struct paco_error *err);
int pc_decoder_flush(struct pc_decoder *d, struct pc_buf *out, struct paco_error *err);

int32_t pc_tokenizer_n_tokens(const struct pc_tokenizer *tok);
/** The piece as stored in the vocabulary ("▁the", "Ġthe", "<0x0A>"); NULL for an unknown id. A view into tok.
 */
const char *pc_tokenizer_piece(const struct pc_tokenizer *tok, int32_t id, size_t *len);
/** The bytes it adds to a text it is not the first of; NULL for an unknown id. A view into tok. */
const char *pc_tokenizer_bytes(const struct pc_tokenizer *tok, int32_t id, size_t *len);
/** The id whose piece or added token is exactly text, or -1. */
int32_t pc_tokenizer_find(const struct pc_tokenizer *tok, const char *text, size_t len);
bool pc_tokenizer_is_special(const struct pc_tokenizer *tok, int32_t id);
/** Special ids, -1 where there is none. */
int32_t pc_tokenizer_bos(const struct pc_tokenizer *tok);
int32_t pc_tokenizer_eos(const struct pc_tokenizer *tok);
int32_t pc_tokenizer_pad(const struct pc_tokenizer *tok);
int32_t pc_tokenizer_unk(const struct pc_tokenizer *tok);
/** Whether its own settings put BOS in front of a text. */
bool pc_tokenizer_adds_bos(const struct pc_tokenizer *tok);

/** n bytes in the alphabet of GPT-2, in which byte-level vocabularies spell their pieces, into out (2 n bytes
 * are enough). Returns the length. */
size_t pc_alphabet_encode(const uint8_t *bytes, size_t n, char *out);

/** Whether its pieces hold spaces as U+2581, as SentencePiece and so LLaMA's do. */
bool pc_tokenizer_marks_spaces(const struct pc_tokenizer *tok);

#endif
