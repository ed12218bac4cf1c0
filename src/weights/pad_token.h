// SPDX-License-Identifier: Apache-2.0
/* A folder's tokenizer files with one token more: the pad token that fine-tuning scripts give to tokenizers
 * which have none. */
#ifndef PC_WEIGHTS_PAD_TOKEN_H
#define PC_WEIGHTS_PAD_TOKEN_H

#include "base/buf.h"
#include "weights/write.h"

enum { PC_PAD_FILES = 4 };

/** Zero before first use; release in any case. files are views into texts. */
struct pc_pad_files {
    struct pc_buf texts[PC_PAD_FILES];
    struct pc_write_file files[PC_PAD_FILES];
    size_t n_files;
};

/** added_tokens.json, special_tokens_map.json and tokenizer_config.json, and tokenizer.json where dir has
 * one, of dir with the pad token pad as token id. Everything else in them stays. PACO_EFORMAT for files that
 * are no such objects. */
int pc_pad_files_make(
    const char *dir, const char *pad, int64_t id, struct pc_pad_files *out, struct paco_error *err);
void pc_pad_files_release(struct pc_pad_files *f);

#endif
