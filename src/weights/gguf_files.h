// SPDX-License-Identifier: Apache-2.0
/* What a GGUF file has inside, or Meta's code by heart, and a Hugging Face folder in files of its own:
 * configuration and model card. (The tokenizer's files are prompt/vocab_write.h's.) */
#ifndef PC_WEIGHTS_GGUF_FILES_H
#define PC_WEIGHTS_GGUF_FILES_H

#include "base/buf.h"
#include "weights/source.h"
#include "weights/write.h"

#include "paco/weights.h"

enum { PC_GGUF_FILES = 3 };

/** Zero before first use; release with pc_gguf_files_release. files are views into the rest. */
struct pc_gguf_files {
    struct pc_write_file files[PC_GGUF_FILES];
    size_t n_files;
    char *config;
    struct pc_buf generation, card;
};

/** config.json, generation_config.json and README.md, with the file's name and licence in its front matter,
 * for the tensors of out, which are made of src. job: "convert", for the card's text. */
int pc_gguf_files_make(const struct pc_source *src, const struct pc_checkpoint *out, const char *job,
    struct pc_gguf_files *made, struct paco_error *err);
void pc_gguf_files_release(struct pc_gguf_files *f);

/** made's files and n more of the caller's, as one list: *out is *owned* (pc_free), its members are views. */
int pc_job_files(const struct pc_gguf_files *made, const struct paco_file *more, size_t n,
    struct pc_write_file **out, size_t *n_out, struct paco_error *err);

#endif
