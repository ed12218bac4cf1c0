// SPDX-License-Identifier: Apache-2.0
/* A vocabulary, plainly: everything a tokenizer file says, with the file format gone.
 *
 * An adapter (src/prompt/vocab_*.c) fills a struct pc_vocab from its source and hands it to pc_tokenizer_new,
 * which copies what it needs. All pointers are *borrowed* for that call. Zero means absent wherever it can;
 * ids that may be absent are -1.
 *
 * Three families of models hide behind the names people use:
 *   PC_VOCAB_SPM_BPE      SentencePiece BPE: two neighbours merge if their text is a piece, the best score
 * first. PC_VOCAB_SPM_UNIGRAM  SentencePiece unigram: the segmentation with the best sum of scores.
 *   PC_VOCAB_MERGES       a list of merges, earliest first: tokenizer.json's BPE and GGUF's "gpt2", over the
 *                         characters of the text or (with a byte-level step) over its bytes. */
#ifndef PC_TOKENIZER_VOCAB_H
#define PC_TOKENIZER_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pc_vocab_model { PC_VOCAB_SPM_BPE = 1, PC_VOCAB_SPM_UNIGRAM, PC_VOCAB_MERGES };

/** SentencePiece's numbers, which GGUF shares. */
enum pc_piece_type {
    PC_PIECE_NORMAL = 1,
    PC_PIECE_UNKNOWN = 2,
    PC_PIECE_CONTROL = 3,
    PC_PIECE_USER_DEFINED = 4,
    PC_PIECE_UNUSED = 5,
    PC_PIECE_BYTE = 6, /* "<0x0A>" */
};

struct pc_span {
    const char *text;
    size_t len;
};

/** The piece of one id. An empty text is a hole: an id nothing encodes to and nothing decodes from. */
struct pc_piece {
    struct pc_span span;
    float score;
    enum pc_piece_type type;
};

/** Merge left and right into the piece that is their concatenation; the rank is the place in the list. */
struct pc_merge {
    struct pc_span left, right;
};

/** A token looked for in the text itself, before any model: Transformers' AddedToken. */
struct pc_added {
    struct pc_span span;
    int32_t id;
    bool special;        /* left out by skip_special, and not looked for without PC_ENCODE_PARSE */
    bool lstrip, rstrip; /* takes the white space on its left, on its right */
    bool normalized;     /* looked for after normalisation instead of before */
    bool single_word;    /* only between characters that are not of words */
};

enum pc_normal_kind {
    PC_NORMAL_PREPEND = 1, /* a in front, unless the text is empty */
    PC_NORMAL_REPLACE,     /* every a becomes b */
    PC_NORMAL_NFC,
    PC_NORMAL_NFD,
    PC_NORMAL_NFKC,
    PC_NORMAL_NFKD,
};
struct pc_normal_step {
    enum pc_normal_kind kind;
    struct pc_span a, b;
};

/** What becomes of the matches of a split: the names are those of tokenizer.json. */
enum pc_split_behavior {
    PC_SPLIT_ISOLATED = 1,
    PC_SPLIT_REMOVED,
    PC_SPLIT_MERGED_WITH_PREVIOUS,
    PC_SPLIT_MERGED_WITH_NEXT,
    PC_SPLIT_CONTIGUOUS,
};

enum pc_pre_kind {
    PC_PRE_SPLIT = 1,  /* by a regular expression, or a literal text */
    PC_PRE_METASPACE,  /* spaces become U+2581, one is put in front as prefix says, then maybe a cut before
                          each */
    PC_PRE_BYTE_LEVEL, /* from here on the model sees bytes in GPT-2's alphabet */
};
enum pc_prefix { PC_PREFIX_NEVER, PC_PREFIX_FIRST, PC_PREFIX_ALWAYS };

struct pc_pre_step {
    enum pc_pre_kind kind;
    struct pc_span pattern; /* PC_PRE_SPLIT: in Oniguruma's dialect, as tokenizer.json has it */
    bool literal, invert;
    enum pc_split_behavior behavior;
    enum pc_prefix prefix; /* PC_PRE_METASPACE */
    bool cut;              /* PC_PRE_METASPACE: "split" */
    bool add_prefix_space; /* PC_PRE_BYTE_LEVEL */
    bool gpt2_split;       /* PC_PRE_BYTE_LEVEL: "use_regex", GPT-2's own expression first */
};

/** How SentencePiece treats text before its pieces. */
struct pc_spm_rules {
    bool add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces, whitespace_as_suffix;
    const void *charsmap; /* precompiled_charsmap: u32 size, Darts trie, NUL-separated replacements */
    size_t charsmap_size;
};

/** How the text between added tokens is treated. */
enum pc_segments {
    PC_SEGMENTS_FAST = 1, /* the tokenizers library: normalise each, then the pre-tokenizer's steps */
    PC_SEGMENTS_LEGACY,   /* slow LLaMA, legacy: each is a SentencePiece text of its own, dummy prefix and all
                           */
    PC_SEGMENTS_MODERN,   /* slow LLaMA, legacy=False: only the very first has the dummy prefix */
};

/** What decoding takes away from the front. */
enum pc_strip {
    PC_STRIP_NONE,
    PC_STRIP_PIECE, /* one U+2581 at the start of the first piece, as SentencePiece */
    PC_STRIP_SPACE, /* one space at the start of the text, as the tokenizers library's Strip */
};

struct pc_vocab {
    enum pc_vocab_model model;
    const struct pc_piece *pieces; /* indexed by id */
    size_t n_pieces;
    const struct pc_merge *merges;
    size_t n_merges;
    const struct pc_added *added;
    size_t n_added;

    struct pc_spm_rules spm;             /* the SentencePiece models */
    const struct pc_normal_step *normal; /* PC_SEGMENTS_FAST */
    size_t n_normal;
    const struct pc_pre_step *pre; /* PC_SEGMENTS_FAST */
    size_t n_pre;

    bool byte_fallback; /* characters without a piece become "<0xNN>" pieces */
    bool drops_unknown; /* PC_VOCAB_MERGES: what has no piece is left out instead of becoming unk */
    bool fuse_unk;      /* PC_VOCAB_MERGES: neighbouring unknown characters are one unk */
    bool ignore_merges; /* PC_VOCAB_MERGES: a word that is a piece is that piece, whatever the merges say */
    enum pc_segments segments;
    enum pc_strip strip;
    struct pc_span unk_surface; /* what unk decodes to; empty: its own piece */

    int32_t bos, eos, unk, pad;     /* -1: none */
    const int32_t *prefix, *suffix; /* added around a text by PC_ENCODE_SPECIAL */
    size_t n_prefix, n_suffix;
};

#endif
