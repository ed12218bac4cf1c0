// SPDX-License-Identifier: Apache-2.0
/* paco perplexity: how well a model predicts a text, and how far it is from another. */
#include "base/json.h"
#include "cli/answering.h"
#include "cli/perplexity_asked.h"

#include "base/host.h"
#include "cli/command.h"
#include "cli/input.h"
#include "cli/output.h"
#include "engine/perplexity.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_INPUT = 1 << 30, DEFAULT_CONTEXT = 512 };

static const struct pc_option g_options[] = {
    PC_MODEL_ROWS(struct pc_perplexity_asked, model, true),
    PC_ADAPTER_ROW(struct pc_perplexity_asked, model),
    {.name = "file",
        .short_name = 'f',
        .type = PC_OPT_STRING,
        .offset = offsetof(struct pc_perplexity_asked, file),
        .arg = "TEXT",
        .help = "the text, a file (-: standard input)",
        .required = true},
    {.name = "reference",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct pc_perplexity_asked, reference.model),
        .arg = "MODEL",
        .help = "also say how far the predictions are from this model's"},
    {.name = "reference-diff",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct pc_perplexity_asked, reference.diff),
        .arg = "DIR",
        .help = "a weight diff to be added to the reference"},
    {.name = "reference-adapter",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct pc_perplexity_asked, reference.adapter),
        .arg = "DIR",
        .help = "an adapter folded into the reference"},
    {.name = "context",
        .aliases = "ctx-size",
        .short_name = 'c',
        .type = PC_OPT_INT,
        .offset = offsetof(struct pc_perplexity_asked, context),
        .arg = "N",
        .min = PC_PERPLEXITY_LEAST,
        .max = 1 << 24,
        .help = "tokens of a window (512)"},
    {.name = "stride",
        .aliases = "ppl-stride",
        .type = PC_OPT_INT,
        .offset = offsetof(struct pc_perplexity_asked, stride),
        .arg = "N",
        .min = 0,
        .max = 1 << 24,
        .help = "windows begin N tokens apart and every token counts once (0: end to end, second halves)"},
    {.name = "chunks",
        .type = PC_OPT_INT,
        .offset = offsetof(struct pc_perplexity_asked, chunks),
        .arg = "N",
        .min = 0,
        .max = 9007199254740992.0,
        .help = "read the first N windows only (0: all)"},
    PC_BOS_ROW(struct pc_perplexity_asked, bos),
    PC_RUN_ROWS(struct pc_perplexity_asked, model),
    PC_JSON_ROW(struct pc_perplexity_asked, json),
    {0},
};

/* A model and the text in its tokens. */
struct side {
    struct pc_answering a;
    struct pc_ids ids;
    struct pc_engine *engine;
};

struct job {
    const struct pc_command *self;
    const struct pc_perplexity_asked *v;
    struct side model, reference;
    struct pc_buf text;
    struct pc_perplexity_options o;
    double seconds;
    struct paco_error err;
};

static int open_side(struct job *j, struct side *s, const struct pc_model_args *model)
{
    struct pc_wishes wishes = pc_wishes_plain(model, j->v->bos);
    wishes.ids_only = s == &j->reference; /* it reads the model's tokens */
    return pc_answering_open(j->self, &wishes, &s->a, &j->err);
}

static bool begins_with_bos(const struct side *s)
{
    const struct pc_tokenizer *tok = s->a.tok;
    int bos = s->a.prompter.bos;
    return pc_tokenizer_bos(tok) >= 0 && (bos < 0 ? pc_tokenizer_adds_bos(tok) : bos > 0);
}

/* The text is text: what looks like a special token in it is not one. */
static int encode(struct job *j, struct side *s)
{
    const struct pc_tokenizer *tok = s->a.tok;
    int rc = begins_with_bos(s) ? pc_ids_add(&s->ids, pc_tokenizer_bos(tok), &j->err) : 0;
    if (rc == 0)
        rc = pc_tokenizer_encode(tok, j->text.data ? j->text.data : "", j->text.len, 0, &s->ids, &j->err);
    int32_t n_vocab = s->a.model.config->vocab_size;
    for (size_t i = 0; i < s->ids.n && rc == 0; i++)
        if (s->ids.v[i] >= n_vocab)
            rc = pc_error_set(&j->err, PACO_EMISMATCH,
                "token %zu of the text is %d, the model's vocabulary has %d", i, s->ids.v[i], n_vocab);
    return rc;
}

static int read_text(struct job *j)
{
    pc_buf_init(&j->text, MAX_INPUT);
    int rc = pc_read_input(j->v->file, &j->text, &j->err);
    if (rc == 0)
        rc = encode(j, &j->model);
    if (rc < 0 || !j->reference.a.tok)
        return rc;
    rc = encode(j, &j->reference);
    const struct pc_ids *a = &j->model.ids, *b = &j->reference.ids;
    for (size_t i = 0; i < a->n && i < b->n && rc == 0; i++)
        if (a->v[i] != b->v[i])
            rc = pc_error_set(&j->err, PACO_EMISMATCH,
                "the tokenizers differ: token %zu of the text is %d for the model, %d for the reference", i,
                a->v[i], b->v[i]);
    if (rc == 0 && a->n != b->n)
        rc = pc_error_set(&j->err, PACO_EMISMATCH,
            "the tokenizers differ: the text has %zu tokens for the model, %zu for the reference", a->n,
            b->n);
    return rc;
}

static void choose_windows(struct job *j)
{
    const struct pc_perplexity_asked *v = j->v;
    j->o = (struct pc_perplexity_options){.context = (int32_t)v->context,
        .stride = (int32_t)v->stride,
        .bos = begins_with_bos(&j->model) ? pc_tokenizer_bos(j->model.a.tok) : -1,
        .max_windows = v->chunks};
    pc_model_remark_context(j->self, &j->model.a.model, j->o.context);
}

static int open_engine(struct job *j, struct side *s)
{
    struct pc_engine_options o = pc_model_engine_options(&j->v->model);
    o.max_rows = o.max_logits = PC_PERPLEXITY_LOGITS;
    o.plan_tokens = j->o.context;
    return pc_engine_open(s->a.model.weights, s->a.model.config, &o, &s->engine, &j->err);
}

static int measure(struct job *j, struct pc_perplexity *p)
{
    choose_windows(j);
    if (pc_perplexity_windows(&j->o, j->model.ids.n) == 0)
        return pc_error_set(&j->err, PACO_ELIMIT,
            "the text has %zu tokens, a window %d: use a smaller -c, a longer text or --stride",
            j->model.ids.n, j->o.context);
    int rc = open_engine(j, &j->model);
    if (rc == 0 && j->v->reference.model)
        rc = open_engine(j, &j->reference);
    if (rc < 0)
        return rc;
    double start = pc_seconds();
    j->o.progress = pc_progress_bar(j->self);
    rc = pc_perplexity(
        j->model.engine, j->reference.engine, j->model.ids.v, j->model.ids.n, &j->o, p, &j->err);
    pc_progress_bar_end();
    j->seconds = pc_seconds() - start;
    return rc;
}

static int put_divergence(json_t *o, const struct pc_perplexity *p)
{
    int bad = json_object_set_new(o, "reference_perplexity", pc_json_number(exp(p->reference_nll.mean)));
    bad |= json_object_set_new(o, "kl_mean", pc_json_number(p->kl.mean));
    bad |= json_object_set_new(o, "kl_error", pc_json_number(p->kl.error));
    bad |= json_object_set_new(o, "kl_median", pc_json_number(p->kl_median));
    bad |= json_object_set_new(o, "kl_p99", pc_json_number(p->kl_p99));
    bad |= json_object_set_new(o, "kl_max", pc_json_number(p->kl_max));
    return bad | json_object_set_new(o, "same_top", pc_json_number(p->same_top));
}

static int print_result_json(struct job *j, const struct pc_perplexity *p)
{
    json_t *o = json_object();
    int bad = json_object_set_new(o, "perplexity", pc_json_number(exp(p->nll.mean)));
    bad |= json_object_set_new(o, "perplexity_error", pc_json_number(exp(p->nll.mean) * p->nll.error));
    bad |= json_object_set_new(o, "nll", pc_json_number(p->nll.mean));
    bad |= json_object_set_new(o, "n_tokens", json_integer((json_int_t)j->model.ids.n));
    bad |= json_object_set_new(o, "n_scored", json_integer(p->n_scored));
    bad |= json_object_set_new(o, "n_windows", json_integer(p->n_windows));
    bad |= json_object_set_new(o, "context", json_integer(j->o.context));
    bad |= json_object_set_new(o, "stride", json_integer(j->o.stride));
    if (j->v->reference.model)
        bad |= put_divergence(o, p);
    bad |= json_object_set_new(o, "seconds", pc_json_number(j->seconds));
    bad |= json_object_set_new(o, "tok_s", pc_json_number((double)p->n_computed / j->seconds));
    bad |= json_object_set_new(o, "peak_rss_bytes", json_integer((json_int_t)pc_peak_rss()));
    if (bad) {
        json_decref(o);
        o = NULL; // pc_print_json says what that means
    }
    return pc_print_json(o, &j->err);
}

static void print_result(const struct job *j, const struct pc_perplexity *p)
{
    char n[32];
    printf("perplexity %.4f +/- %.4f over %s tokens, ", exp(p->nll.mean), exp(p->nll.mean) * p->nll.error,
        pc_human_count((uint64_t)p->n_scored, n));
    if (j->o.stride)
        printf("windows of %d every %d\n", j->o.context, j->o.stride);
    else
        printf("the second halves of %s windows of %d\n", pc_human_count((uint64_t)p->n_windows, n),
            j->o.context);
    if (!j->v->reference.model)
        return;
    printf("reference  %.4f +/- %.4f\n", exp(p->reference_nll.mean),
        exp(p->reference_nll.mean) * p->reference_nll.error);
    printf("divergence %.6f +/- %.6f nats a token; median %.6f, 99 %% below %.6f, at most %.6f\n", p->kl.mean,
        p->kl.error, p->kl_median, p->kl_p99, p->kl_max);
    printf("same likeliest token in %.2f %% of places\n", 100 * p->same_top);
}

static int run_job(struct job *j)
{
    const struct pc_perplexity_asked *v = j->v;
    struct pc_perplexity p;
    int rc = open_side(j, &j->model, &v->model);
    if (rc == 0 && v->reference.model)
        rc = open_side(j, &j->reference, &v->reference);
    if (rc == 0)
        rc = read_text(j);
    if (rc == 0)
        rc = measure(j, &p);
    if (rc == 0 && v->json)
        rc = print_result_json(j, &p);
    else if (rc == 0)
        print_result(j, &p);
    return rc;
}

static void release_side(struct side *s)
{
    pc_engine_close(s->engine);
    pc_ids_release(&s->ids);
    pc_answering_close(&s->a);
}

int pc_perplexity_answer(
    const struct pc_command *self, const struct pc_perplexity_asked *asked, struct paco_error *err)
{
    struct job j = {.self = self, .v = asked};
    int rc = run_job(&j);
    release_side(&j.model);
    release_side(&j.reference);
    pc_buf_release(&j.text);
    if (rc < 0)
        *err = j.err;
    return rc;
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct pc_perplexity_asked v = {.context = DEFAULT_CONTEXT, .bos = "auto"};
    struct pc_args args;
    int code = pc_command_parse(self, argc, argv, &v, &args);
    if (code >= 0)
        return code;
    struct paco_error err = {0};
    if (args.positional.n > 0)
        code = pc_command_misuse(self, "'%s' is not expected", args.positional.v[0]);
    else if (v.stride > v.context)
        code =
            pc_command_misuse(self, "--stride %lld is more than a window of %lld: tokens would be left out",
                (long long)v.stride, (long long)v.context);
    else if ((v.reference.diff || v.reference.adapter) && !v.reference.model)
        code = pc_command_misuse(
            self, "--reference-%s needs --reference, its base", v.reference.diff ? "diff" : "adapter");
    else
        code = pc_perplexity_answer(self, &v, &err) < 0 ? pc_command_fail(self, &err) : PC_EXIT_OK;
    pc_args_release(&args);
    return code;
}

const struct pc_command pc_cmd_perplexity = {
    .name = "perplexity",
    .summary = "how well a model predicts a text, and how far it is from another",
    .usage = "-m MODEL -f TEXT [options]",
    .description =
        "Prints the perplexity of TEXT, e to the mean of -log p over the tokens that count, with its "
        "standard\n"
        "error. A text longer than the context is read in windows of -c tokens. Without --stride they lie "
        "end\n"
        "to end and the predictions in the second half of each count (of 512 tokens the last 255), BOS "
        "taking\n"
        "the place of a window's first token where the tokenizer begins texts with it: the same tokens and "
        "the\n"
        "same mean as llama.cpp's perplexity tool. With --stride N windows begin N tokens apart and every\n"
        "token but the first counts once, as in Transformers' guide to perplexity.\n"
        "\n"
        "--reference compares with another model of the same vocabulary, as a quantised model with what it "
        "was\n"
        "made from: the mean Kullback-Leibler divergence from the reference's predictions, in nats, and how\n"
        "often both find the same token likeliest.",
    .examples = "$ paco perplexity -m tuned-q4_k.gguf -f wiki.test.raw\n"
                "$ paco perplexity -m tuned-q4_k.gguf -f wiki.test.raw --reference tuned --chunks 20\n"
                "$ paco perplexity -m llama-7b --diff alpaca-diff -f text.txt -c 2048 --stride 512",
    .options = g_options,
    .run = run,
};
