// SPDX-License-Identifier: Apache-2.0
#include "cli/answering.h"

#include "base/file.h"
#include "base/memory.h"
#include "prompt/vocabulary.h"

#include <math.h>
#include <string.h>
#include <sys/random.h>

enum { PAD_ROW = 32000 };

/* ---- prompts ---- */

struct pc_wishes pc_wishes_plain(const struct pc_model_args *model, const char *bos)
{
    static const struct pc_strings no_stops = {0};
    return (struct pc_wishes){.model = model,
        .format = "raw",
        .bos = bos,
        .stops = &no_stops,
        .temperature = 0,
        .top_p = NAN,
        .min_p = NAN,
        .repetition_penalty = NAN,
        .top_k = -1,
        .seed = 0};
}

int pc_bos_wish(const char *bos)
{
    return strcmp(bos, "auto") == 0 ? -1 : strcmp(bos, "always") == 0;
}

static int choose_format(struct pc_answering *a, const struct pc_command *self, const struct pc_wishes *w,
    const char *vocabulary, struct paco_error *err)
{
    struct pc_prompter *p = &a->prompter;
    *p = (struct pc_prompter){.self = self, .tok = a->tok, .format = PC_FORMAT_RAW, .system = w->system};
    p->bos = pc_bos_wish(w->bos);
    enum pc_format asked = PC_FORMAT_AUTO;
    pc_format_parse(w->format, &asked);
    if (w->ids_only)
        return 0;
    char *chat_template = NULL;
    bool certain = false;
    int rc = pc_vocabulary_chat_template(vocabulary, &chat_template, err);
    if (rc < 0)
        return rc;
    enum pc_format tuned = pc_format_detect(a->tok, chat_template, &certain);
    if (!chat_template && !certain && w->otherwise) {
        rc = pc_vocabulary_chat_template(w->otherwise, &chat_template, err);
        if (rc < 0)
            return rc;
        tuned = pc_format_detect(a->tok, chat_template, &certain);
    }
    pc_free(chat_template);
    p->tuned = tuned == PC_FORMAT_RAW ? PC_FORMAT_AUTO : tuned;
    p->format = asked == PC_FORMAT_AUTO ? tuned : asked;
    if (asked == PC_FORMAT_AUTO && !certain)
        pc_command_note(self, "no prompt format is known for this model: taking %s (--format says otherwise)",
            pc_format_name(tuned));
    else if (asked > PC_FORMAT_RAW && certain && p->tuned && !pc_format_alike(asked, p->tuned))
        pc_command_note(self, "--format %s, but this model was tuned on %s: expect worse answers",
            pc_format_name(asked), pc_format_name(tuned));
    return 0;
}

/* ---- ends ---- */

static void add_eos(struct pc_answering *a, int32_t id)
{
    for (size_t i = 0; i < a->n_eos; i++)
        if (a->eos[i] == id)
            return;
    if (id >= 0 && a->n_eos < PC_MAX_ENDS)
        a->eos[a->n_eos++] = id;
}

int pc_answering_add_stop(struct pc_answering *a, const char *text, struct paco_error *err)
{
    int32_t id = a->tok ? pc_tokenizer_find(a->tok, text, strlen(text)) : -1;
    if (id >= 0 && pc_tokenizer_is_special(a->tok, id))
        add_eos(a, id);
    if (a->n_stops == PC_MAX_ENDS)
        return pc_error_set(err, PACO_ELIMIT, "more than %d texts that end an answer", PC_MAX_ENDS);
    a->stops[a->n_stops++] = text;
    return 0;
}

/* The generation settings' ids, else the config's, else the tokenizer's; the format's next turn; the user's.
 */
static int choose_ends(struct pc_answering *a, const struct pc_wishes *w,
    const struct pc_generation_config *d, struct paco_error *err)
{
    for (int i = 0; i < d->n_eos; i++)
        add_eos(a, d->eos_ids[i]);
    for (int i = 0; i < a->model.config->n_eos && d->n_eos == 0; i++)
        add_eos(a, a->model.config->eos_ids[i]);
    if (a->n_eos == 0 && a->tok)
        add_eos(a, pc_tokenizer_eos(a->tok));
    a->n_own_eos = a->n_eos;
    int rc = 0;
    for (const char *const *s = pc_format_stops(a->prompter.format); *s && rc == 0; s++)
        rc = pc_answering_add_stop(a, *s, err);
    for (size_t i = 0; i < w->stops->n && rc == 0; i++)
        rc = pc_answering_add_stop(a, w->stops->v[i], err);
    return rc;
}

/* ---- sampling ---- */

/* The pad row was added for training and never trained: it must not be chosen. */
static void suppress_pad(struct pc_answering *a)
{
    static const char *const names[] = {"<pad>", "[PAD]"};
    for (size_t i = 0; i < 2 && a->tok; i++) {
        int32_t id = pc_tokenizer_find(a->tok, names[i], strlen(names[i]));
        if (id >= PAD_ROW)
            a->suppressed[a->sampling.n_suppressed++] = id;
    }
    a->sampling.suppressed = a->suppressed;
}

static double either(double wish, double otherwise)
{
    return isnan(wish) ? otherwise : wish;
}

/* Asking for any filter asks for sampling, as asking for a temperature does. */
static void choose_sampling(
    struct pc_answering *a, const struct pc_wishes *w, const struct pc_generation_config *d)
{
    struct pc_sampler_options *s = &a->sampling;
    bool asked = w->top_k >= 0 || !isnan(w->top_p) || !isnan(w->min_p);
    s->temperature = either(w->temperature, d->do_sample || asked ? d->temperature : 0);
    s->top_k = w->top_k >= 0 ? (int32_t)w->top_k : d->top_k;
    s->top_p = either(w->top_p, d->top_p);
    s->min_p = either(w->min_p, 0);
    s->repetition_penalty = either(w->repetition_penalty, d->repetition_penalty);
    s->seed = (uint64_t)w->seed;
    if (w->seed < 0 && getrandom(&s->seed, sizeof s->seed, 0) > 0)
        s->seed >>= 11; /* a number that --seed takes and JSON keeps */
    suppress_pad(a);
}

/* ---- all of it ---- */

static int read_defaults(const struct pc_source *lead, struct pc_generation_config *d, struct paco_error *err)
{
    char *path = pc_path_join(lead->dir, "generation_config.json");
    if (!path)
        return pc_error_mem(err, strlen(lead->dir), "a path");
    /* The folder of a .gguf file says nothing about it. */
    int rc = pc_generation_config_read(lead->kind == PC_SOURCE_GGUF ? "" : path, d, err);
    pc_free(path);
    return rc;
}

static int open_tokenizer(
    struct pc_answering *a, const struct pc_wishes *w, const char *vocabulary, struct paco_error *err)
{
    int rc = pc_vocabulary_open(vocabulary, &a->tok, err);
    if (rc != PACO_ENOENT || !w->ids_only)
        return rc;
    if (err)
        *err = (struct paco_error){0};
    return 0;
}

int pc_answering_settle(
    const struct pc_command *self, const struct pc_wishes *w, struct pc_answering *a, struct paco_error *err)
{
    struct pc_generation_config defaults;
    const struct pc_source *lead = a->model.lead;
    int rc = read_defaults(lead, &defaults, err);
    if (rc == 0 && !a->tok_is_shared)
        rc = open_tokenizer(a, w, lead->vocabulary, err);
    if (rc == 0)
        rc = choose_format(a, self, w, lead->vocabulary, err);
    if (rc == 0)
        rc = choose_ends(a, w, &defaults, err);
    if (rc == 0)
        choose_sampling(a, w, &defaults);
    return rc;
}

int pc_answering_open(
    const struct pc_command *self, const struct pc_wishes *w, struct pc_answering *a, struct paco_error *err)
{
    int rc = pc_model_open(w->model, &a->model, err);
    pc_model_say(self, &a->model);
    return rc == 0 ? pc_answering_settle(self, w, a, err) : rc;
}

void pc_answering_close(struct pc_answering *a)
{
    if (!a->tok_is_shared)
        pc_tokenizer_free(a->tok);
    pc_model_close(&a->model);
}
