// SPDX-License-Identifier: Apache-2.0
/* What `paco finetune` trains and on what, from names on the command line to a trainer. */
#ifndef PC_CLI_FINETUNE_MODEL_H
#define PC_CLI_FINETUNE_MODEL_H

#include "cli/finetune_options.h"
#include "cli/finetune_ranks.h"
#include "cli/model_args.h"
#include "cli/vocab_files.h"
#include "train/lora.h"
#include "weights/adapter.h"
#include "weights/gguf_files.h"
#include "weights/pad_token.h"

/** Everything is *owned*: pc_finetune_close. Start from zero. */
struct pc_finetune {
    const struct pc_command *self;
    const struct pc_finetune_values *v;
    struct pc_train_options train;
    struct pc_examples_options encode;
    struct pc_training_options run;
    struct pc_lora_options lora_options;
    bool is_lora;

    struct pc_model model;   /* what is trained, as it was */
    struct pc_config config; /* of what is trained: a larger vocabulary, perhaps */
    struct pc_tokenizer *tok;
    const char *new_pad; /* a token that the model gets, or NULL */
    struct pc_kernels kernels;
    struct pc_pool *pool;
    struct pc_notes notes;
    struct pc_examples examples, validation; /* validation: never trained; none without being asked for */
    struct pc_packs packs;                   /* of the examples, with --packing */
    struct pc_params *params;
    struct pc_llama *llama;
    struct pc_adapter *adapter; /* to begin with, or NULL */
    struct pc_lora *lora;       /* what is trained, or NULL: the model itself */
    struct pc_buf adapter_config;
    struct pc_finetune_party party; /* who trains with us; outlives the others */
    struct pc_ranks *ranks;         /* NULL: nobody */
    struct pc_trainer *trainer;
    json_t *identity;
    char states_dir[4096]; /* where the file of --states_on_disk is made */

    struct pc_gguf_files made; /* the files beside the weights, where the model has none of that kind */
    struct pc_vocab_output vocab;
    struct pc_pad_files pad;
    struct pc_write_file *files;
    size_t n_files;
};

/** Open the model and its tokenizer, and read the examples. */
int pc_finetune_open(struct pc_finetune *f, struct paco_error *err);

/** Print v->show_examples of the examples on stderr, as training sees them. f is open. */
int pc_finetune_show(const struct pc_finetune *f, struct paco_error *err);

/** Lay out what is trained and bind the model to it: nothing is read yet, and little memory taken. */
int pc_finetune_bind(struct pc_finetune *f, struct paco_error *err);

/** The weights as they are saved, at this moment: *owned* (pc_checkpoint_close), over f's memory. */
int pc_finetune_narrow(const struct pc_finetune *f, struct pc_checkpoint **out, struct paco_error *err);

/** Read the weights, and say who this run is. */
int pc_finetune_load(struct pc_finetune *f, struct paco_error *err);

/** Make f->identity, of what is open and bound: finetune_identity.c. */
int pc_finetune_identify(struct pc_finetune *f, struct paco_error *err);

void pc_finetune_close(struct pc_finetune *f);

#endif
