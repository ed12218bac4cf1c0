// SPDX-License-Identifier: Apache-2.0
/* A judge asked as upstream asks GPT-4 (reference, section 7.2): five comparisons in a prompt, behind a
 * worked example and an example of three at once; each pair in one order, or the other, by chance; the reply
 * must name exactly five outputs, or none of its comparisons counts. The last prompt is filled up with a
 * comparison that is thrown away.
 *
 * Upstream's wording was not at hand: the prompt's is ours, its parts and their order are upstream's. There
 * the order of a pair hangs on Python's hash of a text, which differs with each process, and items are
 * shuffled; here it hangs on CRC-32 of the instruction, and items keep their order, so that a run can be
 * repeated. */
#include "base/crc32.h"
#include "base/memory.h"
#include "eval/alpaca_judge.h"
#include "eval/tasks.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N_TOGETHER = 5, MAX_TOKENS = 250 };

static size_t count(const struct pc_task_data *d)
{
    return (d->pairs.n + N_TOGETHER - 1) / N_TOGETHER;
}

static void name_item(const struct pc_task_data *d, size_t item, char out[96], const char **group)
{
    snprintf(out, 96, "from %zu", d->pairs.v[item * N_TOGETHER].i);
    *group = NULL;
}

/* Whether output (a) is the model's. */
static bool is_swapped(const struct pc_alpaca_pair *pair)
{
    return pc_crc32(0, pair->base->instruction.v, pair->base->instruction.len) & 1;
}

static void put_comparison(struct pc_buf *b, size_t number, struct pc_text instruction, struct pc_text input,
    struct pc_text one, struct pc_text two)
{
    pc_buf_printf(b, "\n# Comparison %zu\n", number);
    pc_alpaca_judge_put(b, "## Instruction\n", instruction);
    if (input.len)
        pc_alpaca_judge_put(b, "\n## Input\n", input);
    pc_alpaca_judge_put(b, "\n## Output (a)\n", one);
    pc_alpaca_judge_put(b, "\n## Output (b)\n", two);
    pc_buf_puts(b, "\n");
}

#define TEXT(s) ((struct pc_text){(s), sizeof(s) - 1})

static void put_examples(struct pc_buf *b)
{
    const struct pc_text none = TEXT("");
    pc_buf_puts(b, "You compare outputs of language models. For each comparison below, choose the output "
                   "that follows its "
                   "instruction better: correct, helpful, and no longer than it needs to be. Reply with one "
                   "line for each "
                   "comparison, in order: its number and the output you choose.\n\nHere is an example.\n");
    put_comparison(b, 1, TEXT("Write the plural of the word."), TEXT("mouse"), TEXT("mice"),
        TEXT("The plural is mouses."));
    pc_buf_puts(b, "\n1. Output (a)\n\nHere is an example of three comparisons at once.\n");
    put_comparison(
        b, 1, TEXT("Name a colour of the rainbow."), none, TEXT("Brown."), TEXT("Green is one of them."));
    put_comparison(b, 2, TEXT("Answer with one word: what do bees make?"), none, TEXT("Honey"),
        TEXT("Bees are insects that live in hives and make many things, honey for example."));
    put_comparison(
        b, 3, TEXT("Translate into French."), TEXT("Good morning"), TEXT("Good evening"), TEXT("Bonjour"));
    pc_buf_puts(b, "\n1. Output (b)\n2. Output (a)\n3. Output (b)\n\nNow compare these.\n");
}

static void put_prompt(const struct pc_task_data *d, size_t item, struct pc_buf *b)
{
    put_examples(b);
    for (size_t k = 0; k < N_TOGETHER; k++) {
        size_t i = item * N_TOGETHER + k;
        if (i >= d->pairs.n) {
            put_comparison(b, k + 1, TEXT("1+1="), TEXT(""), TEXT("2"), TEXT("3"));
            continue;
        }
        const struct pc_alpaca_row *base = d->pairs.v[i].base, *model = d->pairs.v[i].model;
        bool swapped = is_swapped(&d->pairs.v[i]);
        put_comparison(b, k + 1, base->instruction, base->input, swapped ? model->output : base->output,
            swapped ? base->output : model->output);
    }
}

/* What it will take, before it is begun. A token of English is about four bytes. */
static void note_cost(const struct pc_task_data *d, struct pc_notes *notes)
{
    struct pc_buf b;
    double n_in = 0, n_out = (double)count(d) * MAX_TOKENS;
    pc_buf_init(&b, PC_EVAL_MAX_FILE);
    for (size_t item = 0; item < count(d); item++) {
        pc_buf_clear(&b);
        put_prompt(d, item, &b);
        n_in += (double)b.len / 4;
    }
    pc_buf_release(&b);
    pc_note(notes,
        "judging %zu pairs: %zu requests, about %.0f tokens of prompts and at most %.0f of replies (about "
        "$%.2f at GPT-4's "
        "$30 and $60 a million)",
        d->pairs.n, count(d), n_in, n_out, n_in * 30e-6 + n_out * 60e-6);
}

static int open_data(const struct pc_task *task, const struct pc_task_env *env, struct pc_task_data **out,
    struct paco_error *err)
{
    int rc = pc_alpaca_judge_open(task, env, out, err);
    if (rc == 0)
        note_cost(*out, env->notes);
    return rc;
}

static int ask(const struct pc_task_data *d, size_t item, struct pc_ask *a, struct paco_error *err)
{
    struct pc_buf question;
    pc_buf_init(&question, PC_EVAL_MAX_FILE);
    put_prompt(d, item, &question);
    int rc = pc_buf_check(&question, "a prompt", err);
    if (rc == 0)
        rc = pc_format_render(d->format, &(struct pc_message){"user", question.data}, 1, a->prompt, err);
    pc_buf_release(&question);
    a->kind = PC_ASK_TEXT;
    a->bos = true;
    a->new_only = true;
    a->max_tokens = MAX_TOKENS;
    a->n_samples = 1;
    return rc;
}

/* The letters behind each "Output (" that names a or b. False unless they are exactly n. */
static bool read_letters(const char *text, size_t len, char *letters, size_t n)
{
    static const char word[] = "Output (";
    const char *end = text + len;
    size_t found = 0;
    for (const char *at = text; (at = memmem(at, (size_t)(end - at), word, sizeof word - 1)); at++) {
        const char *letter = at + sizeof word - 1;
        if (letter < end && (*letter == 'a' || *letter == 'b')) {
            if (found < n)
                letters[found] = *letter;
            found++;
        }
    }
    return found == n;
}

static int judge(const struct pc_task_data *d, size_t item, const struct pc_answers *answers, json_t *record,
    struct paco_error *err)
{
    char letters[N_TOGETHER];
    bool ok = read_letters(answers->texts[0], answers->lens[0], letters, N_TOGETHER);
    json_t *list = json_array(), *said = json_array();
    int rc = list && said ? 0 : -1;
    for (size_t k = 0; k < N_TOGETHER && item * N_TOGETHER + k < d->pairs.n && rc == 0; k++) {
        bool model = ok && (letters[k] == 'a') == is_swapped(&d->pairs.v[item * N_TOGETHER + k]);
        rc = json_array_append_new(list, ok ? json_integer(model ? 2 : 1) : json_null());
        if (rc == 0)
            rc = json_array_append_new(said, ok ? json_stringn(&letters[k], 1) : json_null());
    }
    if (rc == 0)
        rc = json_object_set(record, "extraction", said);
    if (rc == 0)
        rc = json_object_set(record, "preferences", list);
    json_decref(said);
    json_decref(list);
    return rc < 0 ? pc_error_mem(err, 0, "a record") : 0;
}

static int finish(const struct pc_task_data *d, const json_t *records, const char *dir, json_t *metrics,
    double *score, double *se, struct paco_error *err)
{
    double *preferences = pc_alloc(d->pairs.n, sizeof *preferences);
    if (!preferences)
        return pc_error_mem(err, d->pairs.n * sizeof *preferences, "preferences");
    for (size_t i = 0; i < d->pairs.n; i++) {
        const json_t *list = json_object_get(json_array_get(records, i / N_TOGETHER), "preferences");
        const json_t *p = json_array_get(list, i % N_TOGETHER);
        preferences[i] = json_is_integer(p) ? (double)json_integer_value(p) : (double)NAN;
    }
    int rc = pc_alpaca_pairs_finish(&d->pairs, preferences, d->judge, dir, metrics, score, se, err);
    pc_free(preferences);
    return rc;
}

const struct pc_task pc_task_alpaca_judge_text = {
    .name = "alpaca_judge_text",
    .summary =
        "the same as upstream asks GPT-4: five comparisons in a prompt, each in one order; not its wording",
    .setting = "judged by its reply",
    .card_score = NAN,
    .metrics_style = PC_JSON_PRETTY_4,
    .open = open_data,
    .close = pc_alpaca_judge_close,
    .n_items = count,
    .name_item = name_item,
    .ask = ask,
    .judge = judge,
    .finish = finish,
};
