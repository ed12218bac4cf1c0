// SPDX-License-Identifier: Apache-2.0
#include "cli/finetune_model.h"

#include "base/cpu.h"
#include "base/host.h"
#include "base/memory.h"
#include "cli/launch.h"
#include "prompt/format.h"
#include "prompt/vocabulary.h"
#include "train/show.h"
#include "weights/narrow.h"
#include "weights/scan.h"
#include "weights/special_tokens.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- opening ---- */

/* Upstream gives a LLaMA tokenizer without a pad token one, and the model a row for it. Beside an adapter
 * that row is neither trained nor saved, and nothing is padded here: then there is none. */
static int choose_pad(struct pc_finetune *f, struct paco_error *err)
{
    struct pc_special_tokens tokens;
    const struct pc_source *lead = f->model.lead;
    if (f->is_lora || lead->kind != PC_SOURCE_DIR || !pc_tokenizer_marks_spaces(f->tok))
        return 0;
    int rc = pc_special_tokens_read(lead->dir, &tokens, err);
    f->encode.gets_pad = rc == 0 && tokens.is_llama && !tokens.has_pad;
    return rc;
}

/* --packing: what is left to train, together. */
static int pack(struct pc_finetune *f, struct paco_error *err)
{
    const struct pc_examples *e = &f->examples;
    if (!f->v->packing)
        return 0;
    int rc = pc_packs_make(e, f->encode.max_seq_length, f->train.seed, f->train.shuffle, &f->packs, err);
    if (rc == 0)
        pc_command_note(f->self, "%zu packs of up to %u examples, %.1f %% full", f->packs.n, f->packs.most,
            100 * (double)e->n_ids / ((double)f->packs.n * f->packs.room));
    return rc;
}

static void note_examples(struct pc_finetune *f)
{
    const struct pc_examples *e = &f->examples;
    pc_command_note(f->self,
        "%zu examples of %llu tokens, %llu of them trained (%.1f %%); the longest has %u", e->n,
        (unsigned long long)e->n_ids, (unsigned long long)e->n_trained,
        100 * (double)e->n_trained / (double)e->n_ids, e->longest);
    if (e->n_truncated)
        pc_command_note(f->self, "%zu of %zu examples are longer than %u tokens and were cut off there",
            e->n_truncated, e->n_read, f->encode.max_seq_length);
    if (e->n_dropped)
        pc_command_note(
            f->self, "%zu of %zu examples have nothing to learn and are left out", e->n_dropped, e->n_read);
    int32_t own = f->model.config->max_positions;
    if (own > 0 && e->longest > (uint32_t)own)
        pc_command_note(f->self,
            "%u tokens are more than the %d positions this model was trained for: --max_seq_length %d cuts "
            "there",
            (unsigned)e->longest, own, own);
}

/* --validation_file, or a share of the training file. */
static int open_validation(struct pc_finetune *f, struct paco_error *err)
{
    struct pc_examples *v = &f->validation;
    double share = f->v->validation_share / 100;
    int rc = 0;
    if (f->v->validation_file && f->party.rank == 0) { // who measures
        struct pc_examples_options o = f->encode;
        o.encoding = f->examples.encoding;
        o.limit = 0;
        rc = pc_examples_read(f->v->validation_file, &o, v, err);
    } else if (share > 0) { // nobody trains these
        size_t n = (size_t)((double)f->examples.n * share + 0.5);
        rc = pc_examples_hold_out(&f->examples, n ? n : 1, f->train.seed, v, err);
    }
    if (rc == 0 && v->n)
        pc_command_note(
            f->self, "%zu examples of %llu tokens are for validation", v->n, (unsigned long long)v->n_ids);
    return rc;
}

int pc_finetune_open(struct pc_finetune *f, struct paco_error *err)
{
    const struct pc_model_args args = {.model = f->v->model, .diff = f->v->diff, .type = f->v->type};
    f->notes.progress = pc_progress_bar(f->self);
    pc_kernels_init(&f->kernels, pc_cpu_flags());
    f->pool = pc_pool_new(pc_launch_threads(f->v->threads), err);
    if (!f->pool)
        return err->code ? err->code : PACO_EMEM;
    int rc = pc_model_open(&args, &f->model, err);
    if (rc == 0)
        rc = pc_vocabulary_open(f->model.lead->vocabulary, &f->tok, err);
    if (rc == 0)
        rc = choose_pad(f, err);
    if (rc < 0)
        return rc;
    f->encode.tokenizer = f->tok;
    f->encode.pool = f->pool;
    f->encode.progress = pc_progress_bar(f->self);
    f->encode.notes = &f->notes;
    rc = pc_examples_read(f->v->train_file, &f->encode, &f->examples, err);
    if (f->encode.gets_pad)
        f->new_pad = pc_encoding_new_pad(f->examples.encoding);
    if (rc == 0)
        rc = open_validation(f, err);
    if (rc < 0)
        return rc;
    note_examples(f);
    return pack(f, err);
}

/* As training sees them: (examples) of the first epoch. */
static int first_order(const struct pc_finetune *f, uint32_t *order, struct paco_error *err)
{
    const struct pc_train_options *o = &f->train;
    if (!f->v->packing) {
        pc_examples_order(o->seed, 0, o->shuffle, order, f->examples.n);
        return 0;
    }
    uint32_t *at = pc_alloc(f->packs.n + 1, sizeof *at);
    if (!at)
        return pc_error_mem(err, (f->packs.n + 1) * sizeof *at, "the order of packs");
    pc_packs_order(&f->packs, o->seed, 0, o->shuffle, order, at);
    pc_free(at);
    return 0;
}

int pc_finetune_show(const struct pc_finetune *f, struct paco_error *err)
{
    enum { MAX_TEXT = 1 << 28 };
    struct pc_buf text;
    size_t n = f->examples.n < (size_t)f->v->show_examples ? f->examples.n : (size_t)f->v->show_examples;
    uint32_t *order = pc_alloc(f->examples.n, sizeof *order);
    if (!order)
        return pc_error_mem(err, f->examples.n * sizeof *order, "the order of examples");
    pc_progress_bar_end();
    pc_buf_init(&text, MAX_TEXT);
    int rc = first_order(f, order, err);
    if (rc == 0)
        rc = pc_examples_show(&f->examples, f->tok, order, n, pc_command_color(true), &text, err);
    if (rc == 0 && text.len)
        fwrite(text.data, 1, text.len, stderr);
    pc_buf_release(&text);
    pc_free(order);
    return rc;
}

/* ---- laying out ---- */

/* Rows of the embedding: as many as the model has, or, when they are too few, as the tokenizer has tokens. */
static int settle_vocabulary(struct pc_finetune *f, struct paco_error *err)
{
    int32_t n_tokens = pc_tokenizer_n_tokens(f->tok) + (f->new_pad != NULL),
            have = f->model.config->vocab_size;
    f->config = *f->model.config;
    if (n_tokens <= have)
        return 0;
    if (!f->new_pad || n_tokens != have + 1)
        return pc_error_set(err, PACO_EMISMATCH, "the tokenizer has %d tokens, the model's embedding %d rows",
            n_tokens, have);
    pc_command_note(f->self,
        "the tokenizer has no pad token: %s becomes token %d, as upstream does, and its row %s", f->new_pad,
        have, f->examples.encoding == PC_ENCODING_STANFORD ? "the mean of the others" : "is drawn at random");
    f->config.vocab_size = n_tokens;
    return 0;
}

/* The options of an adapter that is trained further are its own. */
static int open_adapter(struct pc_finetune *f, struct paco_error *err)
{
    int rc = pc_adapter_open(f->v->init_adapter, &f->adapter, err);
    if (rc == 0)
        rc = pc_lora_options_of(f->adapter->ck, f->adapter->config.root, &f->lora_options, err);
    if (rc < 0)
        pc_error_path(err, f->v->init_adapter);
    return rc;
}

static int bind_lora(struct pc_finetune *f, enum pc_products products, struct paco_error *err)
{
    f->config = *f->model.config;
    int rc = f->v->init_adapter ? open_adapter(f, err) : 0;
    if (rc == 0)
        rc = pc_params_add_lora(f->params, &f->config, &f->lora_options, err);
    if (rc == 0)
        rc = pc_params_allocate(f->params, err);
    if (rc == 0)
        rc = pc_llama_bind(f->model.weights, &f->config, &f->kernels, products, &f->llama, err);
    if (rc == 0)
        rc = pc_lora_bind(
            f->params->ck, &f->config, &f->kernels, products, pc_lora_scale(&f->lora_options), &f->lora, err);
    return rc;
}

/* The least that training every weight takes, before any of it is asked for; pc_finetune_check knows the
 * rest. */
static int check_least(const struct pc_finetune *f, struct paco_error *err)
{
    const struct pc_params *p = f->params;
    uint64_t flat = p->n_flat * sizeof(float);
    double weights = (double)pc_params_size(p) * 1e-9,
           gradients = (double)(f->train.in_backward ? pc_in_backward_size(p) : flat) * 1e-9;
    double left = (double)pc_host_memory_available() * 1e-9 / f->party.n_local;
    if (weights + gradients <= left)
        return 0;
    return pc_error_set(err, PACO_EMEM,
        "needs more than %.2f GB: weights %.2f, gradients %.2f, optimiser states and activations besides; "
        "%.2f GB are "
        "available (--weights bf16 and --update_in_backward take less, --use_lora trains an adapter and "
        "takes "
        "far less)",
        weights + gradients, weights, gradients, left);
}

static int bind_model(struct pc_finetune *f, enum pc_products products, struct paco_error *err)
{
    int rc = settle_vocabulary(f, err);
    if (f->v->weights && strcmp(f->v->weights, "bf16") == 0)
        f->params->matrices = PC_BF16;
    if (rc == 0 && f->train.in_backward && f->party.collect)
        rc = pc_error_set(err, PACO_EINVAL,
            "--update_in_backward is for one process: several ranks add up their gradients before any update "
            "(--zero 2 keeps a share of them each)");
    if (rc == 0 && f->params->matrices == PC_BF16 && f->party.collect)
        rc = pc_error_set(err, PACO_EINVAL,
            "--weights bf16 is for one process: several ranks share F32 weights (--zero 3 keeps a share of "
            "them "
            "each)");
    if (rc == 0)
        rc = pc_params_add_llama(f->params, &f->config, err);
    if (rc == 0)
        rc = check_least(f, err);
    if (rc == 0)
        rc = pc_params_allocate(f->params, err);
    return rc < 0 ? rc : pc_llama_bind(f->params->ck, &f->config, &f->kernels, products, &f->llama, err);
}

static void weights_arrived(void *ctx, uint64_t first, uint64_t end)
{
    const struct pc_finetune *f = ctx;
    pc_ranks_give_back(f->ranks, f->params->w, first, end);
}

/* What is measured on the way is measured by rank 0, which has no whole model then. */
static int check_measures(const struct pc_finetune *f, struct paco_error *err)
{
    const struct pc_finetune_values *v = f->v;
    if (f->ranks->zero < 3 ||
        (!v->validation_file && v->validation_share <= 0 && !v->sample_prompts && !v->eval_tasks))
        return 0;
    return pc_error_set(err, PACO_EINVAL,
        "--zero 3 keeps the whole model nowhere, so nothing can be measured on the way: --zero 2, or leave "
        "out "
        "validation, samples and evaluations");
}

int pc_finetune_bind(struct pc_finetune *f, struct paco_error *err)
{
    enum pc_products products = f->train.bf16 ? PC_PRODUCTS_TRAIN_BF16 : PC_PRODUCTS_F32;
    int rc = pc_params_new(&f->params, err);
    if (rc < 0)
        return rc;
    rc = f->is_lora ? bind_lora(f, products, err) : bind_model(f, products, err);
    if (rc == 0 && f->party.collect)
        rc = pc_ranks_new(&f->ranks, f->party.collect, f->params, (int)f->v->zero, err);
    if (rc == 0 && f->ranks)
        rc = check_measures(f, err);
    if (rc == 0 && f->ranks && f->ranks->zero >= 3) {
        f->params->arrived = weights_arrived;
        f->params->ctx = f;
    }
    return rc;
}

/* ---- loading ---- */

/* What was tuned in a chat format is asked in it: the base may have had another. */
static size_t put_template(const struct pc_finetune *f, struct paco_file *file)
{
    enum pc_encoding encoding = f->examples.encoding;
    const char *text = pc_format_template(encoding == PC_ENCODING_MESSAGES   ? PC_FORMAT_TULU
                                          : encoding == PC_ENCODING_STANFORD ? PC_FORMAT_ALPACA
                                                                             : PC_FORMAT_RAW);
    if (!text)
        return 0;
    *file = (struct paco_file){"chat_template.jinja", text, strlen(text)};
    return 1;
}

/* An adapter's folder has its own configuration, and its base's tokenizer. */
static int make_adapter_files(struct pc_finetune *f, struct paco_error *err)
{
    struct paco_file files[PC_VOCAB_FILES + 2] = {
        {"adapter_config.json", f->adapter_config.data, f->adapter_config.len}};
    size_t n = 1 + put_template(f, &files[1]);
    struct pc_training_options *run = &f->run;
    int rc = 0;
    if (pc_source_makes_files(f->model.lead))
        rc = pc_vocab_output_make(f->v->diff ? f->v->diff : f->v->model, &f->vocab, err);
    for (size_t i = 0; i < f->vocab.n_files; i++)
        files[n++] = f->vocab.files[i];
    if (rc == 0)
        rc = pc_job_files(&f->made, files, n, &f->files, &f->n_files, err);
    run->saving.tokenizer_from = f->model.lead->kind == PC_SOURCE_DIR ? f->model.lead->dir : NULL;
    run->saving.file_name = "adapter_model.safetensors";
    return rc;
}

/* Configuration and tokenizer, which travel with the model. */
static int make_model_files(struct pc_finetune *f, struct paco_error *err)
{
    const struct pc_source *lead = f->model.lead;
    int rc = 0;
    if (pc_source_makes_files(lead)) {
        rc = pc_gguf_files_make(lead, f->params->ck, "finetune", &f->made, err);
        if (rc == 0)
            rc = pc_vocab_output_make(f->v->diff ? f->v->diff : f->v->model, &f->vocab, err);
    }
    if (rc == 0 && f->new_pad)
        rc = pc_pad_files_make(lead->dir, f->new_pad, pc_tokenizer_n_tokens(f->tok), &f->pad, err);
    struct paco_file files[PC_VOCAB_FILES + PC_PAD_FILES + 1];
    size_t n = put_template(f, &files[0]);
    for (size_t i = 0; i < f->vocab.n_files; i++)
        files[n++] = f->vocab.files[i];
    for (size_t i = 0; i < f->pad.n_files; i++)
        files[n++] = (struct paco_file){f->pad.files[i].name, f->pad.files[i].bytes, f->pad.files[i].len};
    if (rc == 0)
        rc = pc_job_files(&f->made, files, n, &f->files, &f->n_files, err);
    f->run.saving.files_from = lead->kind == PC_SOURCE_GGUF ? NULL : lead->dir;
    return rc;
}

static int make_files(struct pc_finetune *f, struct paco_error *err)
{
    enum { MAX_CONFIG = 1 << 20 };
    pc_buf_init(&f->adapter_config, MAX_CONFIG);
    if (f->is_lora)
        pc_lora_config_write(&f->lora_options, f->v->model, &f->adapter_config);
    int rc = pc_buf_check(&f->adapter_config, "adapter_config.json", err);
    if (rc == 0)
        rc = f->is_lora ? make_adapter_files(f, err) : make_model_files(f, err);
    f->run.saving.identity = f->identity;
    f->run.saving.files = f->files;
    f->run.saving.n_files = f->n_files;
    f->run.saving.progress = pc_progress_bar(f->self);
    f->run.saving.notes = &f->notes;
    return rc;
}

/* What the trained parameters are at first. */
static int read_params(struct pc_finetune *f, struct paco_error *err)
{
    const struct pc_progress *bar = pc_progress_bar(f->self);
    enum pc_new_rows how = f->examples.encoding == PC_ENCODING_STANFORD ? PC_ROWS_MEAN : PC_ROWS_RANDOM;
    if (f->is_lora && !f->adapter)
        return pc_params_init_lora(f->params, f->train.seed), 0;
    int rc = pc_params_read(f->params, f->adapter ? f->adapter->ck : f->model.weights, f->pool, bar, err);
    if (rc == 0 && !f->is_lora)
        rc = pc_params_fill_new_rows(f->params, f->model.weights, how, f->train.seed, err);
    return rc;
}

int pc_finetune_narrow(const struct pc_finetune *f, struct pc_checkpoint **out, struct paco_error *err)
{
    enum paco_dtype dtype = f->train.bf16 && !f->is_lora ? PACO_DTYPE_BF16 : PACO_DTYPE_F32;
    return pc_narrow(f->params->ck, dtype, f->params->ck, f->pool, NULL, out, err);
}

int pc_finetune_load(struct pc_finetune *f, struct paco_error *err)
{
    int rc = pc_finetune_identify(f, err);
    if (rc == 0)
        rc = make_files(f, err);
    if (rc == 0)
        rc = read_params(f, err);
    if (rc == 0)
        rc = pc_llama_load(f->llama, err);
    if (rc == 0)
        pc_params_attach(f->params, f->llama);
    return rc;
}

void pc_finetune_close(struct pc_finetune *f)
{
    pc_trainer_free(f->trainer);
    pc_lora_free(f->lora);
    pc_adapter_close(f->adapter);
    pc_buf_release(&f->adapter_config);
    pc_ranks_free(f->ranks);
    pc_llama_free(f->llama);
    pc_params_free(f->params);
    pc_packs_release(&f->packs);
    pc_examples_release(&f->validation);
    pc_examples_release(&f->examples);
    pc_tokenizer_free(f->tok);
    pc_model_close(&f->model);
    pc_pool_free(f->pool);
    pc_notes_release(&f->notes);
    json_decref(f->identity);
    pc_gguf_files_release(&f->made);
    pc_pad_files_release(&f->pad);
    pc_vocab_output_release(&f->vocab);
    pc_free(f->files);
}
