// SPDX-License-Identifier: Apache-2.0
/* How well texts are predicted: the files DIR/perplexity/NAME.txt in the order of their names' bytes, or the
 * one file that --data names. No benchmark of upstream's.
 *
 * A text is read as `paco perplexity` reads it (engine/perplexity.h, windows end to end): an item is a window
 * of --max_context_length tokens (512), the predictions in its second half count, and BOS takes the place of
 * its first token where the tokenizer begins texts with it. What looks like a special token in a text is
 * text. The mean over the tokens that count is to the last bit what that command prints.
 *
 * A token is more text for one tokenizer than for another, so bits per byte are given too. The bytes of a
 * token are those by which the decoding of the whole text grows: of a character that tokens divide the last
 * has all.
 *
 * Behind an endpoint nobody here knows its tokens: a window is then as many times four bytes of text, cut
 * before a space where there is one nearby, and what counts are the tokens of its second half. */
#include "base/file.h"
#include "base/memory.h"
#include "engine/perplexity.h"
#include "eval/eval_data.h"
#include "eval/task_out.h"
#include "eval/tasks.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DEFAULT_CONTEXT = 512, BYTES_PER_TOKEN = 4, MAX_CONTEXT = 1 << 24, LONG_NAME = 80 };

struct text {
    char *name;
    struct pc_ids ids;
    struct pc_buf bytes; /* as the items' offsets are counted in it */
};

struct item {
    size_t i_text, i_window;
    size_t start, len, tail_len; /* bytes */
    struct pc_window window;     /* tokens; without a tokenizer none */
};

struct pc_task_data {
    struct text *texts;
    struct item *items;
    size_t n_texts, capacity, n_items, item_capacity;
    int32_t context;
};

/* ---- windows ---- */

static int add_item(struct pc_task_data *d, const struct item *item, struct paco_error *err)
{
    if (d->n_items == PC_EVAL_MAX_ITEMS)
        return pc_error_set(err, PACO_ELIMIT, "the texts make more than %d windows of %d tokens",
            PC_EVAL_MAX_ITEMS, d->context);
    int rc = pc_grow(&d->items, &d->item_capacity, d->n_items, sizeof *d->items, "windows", err);
    if (rc == 0)
        d->items[d->n_items++] = *item;
    return rc;
}

/* ends[i]: bytes of the text up to the end of token i. */
static int decode_all(
    const struct pc_task_env *env, struct text *t, size_t n, size_t *ends, struct paco_error *err)
{
    struct pc_decoder decoder;
    int rc = 0;
    pc_decoder_init(&decoder, env->tok, true);
    pc_buf_clear(&t->bytes);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = pc_decoder_push(&decoder, t->ids.v[i], &t->bytes, err);
        ends[i] = t->bytes.len;
    }
    return rc < 0 ? rc : pc_buf_check(&t->bytes, "a text", err);
}

static int cut_tokens(struct pc_task_data *d, const struct pc_task_env *env,
    const struct pc_perplexity_options *o, int64_t n_windows, struct paco_error *err)
{
    struct text *t = &d->texts[d->n_texts - 1];
    size_t n = (size_t)n_windows * (size_t)d->context, *ends = pc_alloc(n, sizeof *ends);
    int rc = ends ? decode_all(env, t, n, ends, err) : pc_error_mem(err, n * sizeof *ends, "a text");
    for (int64_t i = 0; i < n_windows && rc == 0; i++) {
        struct pc_window w = pc_perplexity_window(o, t->ids.n, i);
        size_t end = ends[w.start + (size_t)w.n - 1];
        struct item item = {.i_text = d->n_texts - 1,
            .i_window = (size_t)i,
            .start = w.start ? ends[w.start - 1] : 0,
            .tail_len = end - ends[w.start + (size_t)w.first],
            .window = w};
        item.len = end - item.start;
        if (o->bos >= 0)
            t->ids.v[w.start] = o->bos;
        rc = add_item(d, &item, err);
    }
    pc_free(ends);
    return rc;
}

/* The text in the model's tokens, as `paco perplexity` has it. */
static int encode(struct text *t, const struct pc_task_env *env, int32_t *begins_with, struct paco_error *err)
{
    int32_t bos = pc_tokenizer_bos(env->tok);
    bool begins = bos >= 0 && (env->bos < 0 ? pc_tokenizer_adds_bos(env->tok) : env->bos > 0);
    *begins_with = begins ? bos : -1;
    int rc = begins ? pc_ids_add(&t->ids, bos, err) : 0;
    return rc < 0 ? rc
                  : pc_tokenizer_encode(
                        env->tok, t->bytes.data ? t->bytes.data : "", t->bytes.len, 0, &t->ids, err);
}

static int add_token_windows(struct pc_task_data *d, const struct pc_task_env *env, struct paco_error *err)
{
    struct text *t = &d->texts[d->n_texts - 1];
    struct pc_perplexity_options o = {.context = d->context, .max_windows = env->flags->limit};
    int rc = encode(t, env, &o.bos, err);
    if (rc < 0)
        return rc;
    int64_t n = pc_perplexity_windows(&o, t->ids.n);
    if (n == 0)
        pc_note(env->notes, "%s has %zu tokens, a window %d: it is left out (a smaller -c reads it)", t->name,
            t->ids.n, d->context);
    return n ? cut_tokens(d, env, &o, n, err) : 0;
}

/* Where to cut text at about `at`: before a space among the bytes down to `least`, or between characters. */
static size_t cut_near(const char *text, size_t at, size_t least)
{
    for (size_t i = at; i > least; i--)
        if (text[i] == ' ' || text[i] == '\n')
            return i;
    while (at > least && ((unsigned char)text[at] & 0xc0) == 0x80)
        at--;
    return at;
}

static int add_text_windows(struct pc_task_data *d, const struct pc_task_env *env, struct paco_error *err)
{
    const struct pc_buf *text = &d->texts[d->n_texts - 1].bytes;
    size_t per = (size_t)d->context * BYTES_PER_TOKEN, at = 0, i = 0;
    int64_t limit = env->flags->limit;
    int rc = 0;
    for (; rc == 0 && text->len - at > per && (limit <= 0 || i < (uint64_t)limit); i++) {
        size_t end = cut_near(text->data, at + per, at + per / 4 * 3),
               half = cut_near(text->data, at + (end - at) / 2, at + per / 4);
        const struct item item = {
            .i_text = d->n_texts - 1, .i_window = i, .start = at, .len = end - at, .tail_len = end - half};
        rc = add_item(d, &item, err);
        at = end;
    }
    if (rc == 0 && i == 0)
        pc_note(env->notes, "%s has %zu bytes, a window %zu: it is left out (a smaller -c reads it)",
            d->texts[d->n_texts - 1].name, text->len, per);
    return rc;
}

/* ---- the data ---- */

static int add_text(
    struct pc_task_data *d, const struct pc_task_env *env, const char *path, struct paco_error *err)
{
    int rc = pc_grow(&d->texts, &d->capacity, d->n_texts, sizeof *d->texts, "texts", err);
    if (rc < 0)
        return rc;
    struct text *t = &d->texts[d->n_texts++];
    *t = (struct text){.name = pc_strdup(pc_path_base(path))};
    rc = pc_eval_slurp(env, path, &t->bytes, err);
    if (rc == 0 && !t->name)
        rc = pc_error_mem(err, strlen(path), "a name");
    if (rc == 0)
        rc = env->tok ? add_token_windows(d, env, err) : add_text_windows(d, env, err);
    return rc;
}

static int add_folder(
    struct pc_task_data *d, const struct pc_task_env *env, const char *dir, struct paco_error *err)
{
    char **names = NULL;
    size_t n = 0;
    int rc = pc_dir_list(dir, &names, &n, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (!pc_ends_with(names[i], ".txt"))
            continue;
        char *path = pc_path_join(dir, names[i]);
        rc = path ? add_text(d, env, path, err) : pc_error_mem(err, strlen(dir), "a path");
        pc_free(path);
    }
    pc_names_free(names, n);
    if (rc == 0 && d->n_texts == 0)
        rc = pc_data_error(err, PACO_ENOENT, dir,
            "no texts: there is no folder `perplexity`, and no file whose name ends in .txt (--data may name "
            "one text, too)");
    return rc;
}

static int read_texts(struct pc_task_data *d, const struct pc_task_env *env, struct paco_error *err)
{
    static const char *const at[] = {"perplexity", NULL};
    char *dir = NULL;
    int rc = 0;
    if (env->data_file)
        rc = add_text(d, env, env->data_file, err);
    else if (pc_eval_find(env->data_dir, "perplexity", at, &dir, NULL) == 0)
        rc = add_folder(d, env, dir, err);
    else
        rc = add_folder(d, env, env->data_dir, err); // the texts' own folder
    pc_free(dir);
    if (rc == 0 && d->n_items == 0)
        rc = pc_data_error(err, PACO_ELIMIT, env->data_file ? env->data_file : env->data_dir,
            "no text is as long as a window of %d tokens: a smaller -c, or a longer text", d->context);
    return rc;
}

/* ---- the door ---- */

static void perplexity_close(struct pc_task_data *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->n_texts; i++) {
        pc_free(d->texts[i].name);
        pc_ids_release(&d->texts[i].ids);
        pc_buf_release(&d->texts[i].bytes);
    }
    pc_free(d->texts);
    pc_free(d->items);
    pc_free(d);
}

static int perplexity_open(const struct pc_task *task, const struct pc_task_env *env,
    struct pc_task_data **out, struct paco_error *err)
{
    (void)task;
    int64_t context = env->flags->max_context_length;
    context = context ? context : DEFAULT_CONTEXT;
    if (context < PC_PERPLEXITY_LEAST || context > MAX_CONTEXT)
        return pc_error_set(err, PACO_EINVAL, "windows of %lld tokens (-c): %d to %d are expected",
            (long long)context, PC_PERPLEXITY_LEAST, MAX_CONTEXT);
    struct pc_task_data *d = pc_alloc_zero(1, sizeof *d);
    if (!d)
        return pc_error_mem(err, sizeof *d, "texts");
    d->context = (int32_t)context;
    int rc = read_texts(d, env, err);
    if (rc < 0)
        perplexity_close(d);
    else
        *out = d;
    return rc;
}

static size_t perplexity_n_items(const struct pc_task_data *d)
{
    return d->n_items;
}

/* A name that would not fit whole could be another's too. */
static void perplexity_name_item(const struct pc_task_data *d, size_t i, char out[96], const char **group)
{
    const struct item *it = &d->items[i];
    const char *name = d->texts[it->i_text].name;
    if (strlen(name) <= LONG_NAME - 16)
        snprintf(out, 96, "%s/%zu", name, it->i_window);
    else
        snprintf(out, 96, "text %zu/%zu", it->i_text, it->i_window);
    *group = name;
}

static int perplexity_ask(const struct pc_task_data *d, size_t i, struct pc_ask *ask, struct paco_error *err)
{
    (void)err;
    const struct item *it = &d->items[i];
    const struct text *t = &d->texts[it->i_text];
    pc_buf_add(ask->prompt, t->bytes.data + it->start, it->len);
    ask->kind = PC_ASK_NATS;
    ask->ids = it->window.n ? t->ids.v + it->window.start : NULL;
    ask->n_ids = (size_t)it->window.n;
    ask->first = (size_t)it->window.first;
    ask->tail_len = it->tail_len;
    return 0;
}

static int perplexity_judge(const struct pc_task_data *d, size_t i, const struct pc_answers *answers,
    json_t *record, struct paco_error *err)
{
    (void)d, (void)i;
    const struct pc_nats *nats = &answers->nats;
    if (nats->n_tokens <= 0 || !isfinite(nats->sum))
        return pc_error_set(err, PACO_EFORMAT, "no probabilities came back");
    return pc_object_put(record, "perplexity", json_real(exp(nats->sum / (double)nats->n_tokens)), err);
}

/* ---- results ---- */

/* Sums over windows: of nats, and of what they are spread over (tokens or bytes). */
struct sums {
    double nats, over, nats2, over2, nats_over;
    size_t n;
};

static void add(struct sums *s, double nats, double over)
{
    s->nats += nats;
    s->over += over;
    s->nats2 += nats * nats;
    s->over2 += over * over;
    s->nats_over += nats * over;
    s->n++;
}

/* Of a ratio of sums over n windows: the root of sum (nats - ratio over)^2 n / (n - 1), over the sum. Where
 * all windows have as many tokens this is the standard error of the mean of their means. */
static double error_of(const struct sums *s)
{
    double ratio = s->nats / s->over, n = (double)s->n;
    double squares = s->nats2 - 2 * ratio * s->nats_over + ratio * ratio * s->over2;
    return s->n < 2 ? (double)NAN : sqrt((squares > 0 ? squares : 0) * n / (n - 1)) / s->over;
}

struct measure {
    struct sums tokens, bytes;
};

static void add_record(struct measure *m, const json_t *record)
{
    double nats = pc_json_double(record, "nats");
    add(&m->tokens, nats, pc_json_double(record, "n_scored"));
    add(&m->bytes, nats, pc_json_double(record, "n_scored_bytes"));
}

static int put_measure(const struct measure *m, json_t *out, struct paco_error *err)
{
    static const double ln2 = 0.69314718055994530942;
    double mean = m->tokens.nats / m->tokens.over, error = error_of(&m->tokens);
    const struct {
        const char *name;
        double value;
    } numbers[] = {{"perplexity", exp(mean)}, {"perplexity_standard_error", exp(mean) * error},
        {"nats_per_token", mean}, {"nats_per_token_standard_error", error},
        {"bits_per_byte", m->bytes.nats / m->bytes.over / ln2},
        {"bits_per_byte_standard_error", error_of(&m->bytes) / ln2}};
    int rc = 0;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && rc == 0; i++)
        rc = pc_object_put(out, numbers[i].name, pc_json_number(numbers[i].value), err);
    if (rc == 0)
        rc = pc_object_put(out, "n_windows", json_integer((json_int_t)m->tokens.n), err);
    if (rc == 0)
        rc = pc_object_put(out, "n_scored", json_integer((json_int_t)m->tokens.over), err);
    if (rc == 0)
        rc = pc_object_put(out, "n_scored_bytes", json_integer((json_int_t)m->bytes.over), err);
    return rc;
}

/* Of each text, where there are several. */
static int put_texts(
    const struct pc_task_data *d, const struct measure *of, json_t *metrics, struct paco_error *err)
{
    json_t *texts = json_object();
    int rc = pc_object_put(metrics, "texts", texts, err);
    for (size_t i = 0; i < d->n_texts && rc == 0; i++) {
        json_t *o = json_object();
        rc = pc_object_put(texts, d->texts[i].name, o, err);
        if (rc == 0)
            rc = put_measure(&of[i], o, err);
    }
    return rc;
}

static int perplexity_finish(const struct pc_task_data *d, const json_t *records, const char *dir,
    json_t *metrics, double *score, double *se, struct paco_error *err)
{
    (void)dir; // nobody else has files of this
    struct measure all = {0}, *of = pc_alloc_zero(d->n_texts, sizeof *of);
    if (!of)
        return pc_error_mem(err, d->n_texts * sizeof *of, "texts");
    for (size_t i = 0; i < d->n_items; i++) {
        const json_t *record = json_array_get(records, i);
        if (!pc_record_is_good(record))
            continue;
        add_record(&all, record);
        add_record(&of[d->items[i].i_text], record);
    }
    int rc = put_measure(&all, metrics, err);
    if (rc == 0)
        rc = pc_object_put(metrics, "context", json_integer(d->context), err);
    if (rc == 0 && d->n_texts > 1)
        rc = put_texts(d, of, metrics, err);
    *score = exp(all.tokens.nats / all.tokens.over);
    *se = *score * error_of(&all.tokens);
    pc_free(of);
    return rc;
}

const struct pc_task pc_task_perplexity = {
    .name = "perplexity",
    .summary = "How well texts are predicted: e to the mean of -log p, over the second halves of windows",
    .setting = "texts",
    .card_score = (double)NAN,
    .metrics_style = PC_JSON_PYTHON,
    .is_perplexity = true,
    .open = perplexity_open,
    .close = perplexity_close,
    .n_items = perplexity_n_items,
    .name_item = perplexity_name_item,
    .ask = perplexity_ask,
    .judge = perplexity_judge,
    .finish = perplexity_finish,
};
