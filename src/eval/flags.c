// SPDX-License-Identifier: Apache-2.0
#include "eval/flags.h"

#include <math.h>
#include <string.h>

const char pc_fix_names[] =
    "mmlu-none|gsm-quesion|gsm-sign|bbh-stop|bbh-match|tydiqa-bos|codex-stop"; /* in the order of enum pc_fix
                                                                                */

enum { N_FIXES = 7 };

/* The whole numbers of the struct: how they are called, what stands for "not said", whose they are. */
static const struct number {
    const char *name;
    size_t offset;
    int64_t unsaid;
    const char *tasks; /* beginnings of names, each ended by a space */
} g_numbers[] = {
    {"ntrain", offsetof(struct pc_task_flags, ntrain), -1, "mmlu "},
    {"n_shot", offsetof(struct pc_task_flags, n_shot), -1, "gsm mgsm tydiqa "},
    {"n_instances", offsetof(struct pc_task_flags, n_instances), 0, "mmlu "},
    {"max_num_examples", offsetof(struct pc_task_flags, max_num_examples), 0, "gsm codex "},
    {"max_num_examples_per_task", offsetof(struct pc_task_flags, max_num_examples_per_task), 0, "bbh "},
    {"max_num_examples_per_lang", offsetof(struct pc_task_flags, max_num_examples_per_lang), 0,
        "tydiqa mgsm "},
    {"max_context_length", offsetof(struct pc_task_flags, max_context_length), 0, "tydiqa perplexity "},
    {"unbiased_sampling_size_n", offsetof(struct pc_task_flags, unbiased_sampling_size_n), 0, "codex "},
    {"limit", offsetof(struct pc_task_flags, limit), 0, NULL},
};
static const struct number g_switches[] = {
    {"no_cot", offsetof(struct pc_task_flags, no_cot), -1, "gsm bbh "},
    {"no_context", offsetof(struct pc_task_flags, no_context), -1, "tydiqa "},
    {"use_chat_format", offsetof(struct pc_task_flags, use_chat_format), -1, NULL},
};
enum {
    N_NUMBERS = sizeof g_numbers / sizeof *g_numbers,
    N_SWITCHES = sizeof g_switches / sizeof *g_switches
};

struct pc_task_flags pc_task_flags_default(void)
{
    struct pc_task_flags f = {.temperature = (double)NAN, .seed = PC_EVAL_SEED};
    for (size_t i = 0; i < N_NUMBERS; i++)
        *(int64_t *)((char *)&f + g_numbers[i].offset) = g_numbers[i].unsaid;
    for (size_t i = 0; i < N_SWITCHES; i++)
        *(int *)((char *)&f + g_switches[i].offset) = -1;
    return f;
}

static int64_t number_of(const struct pc_task_flags *f, const struct number *n)
{
    return *(const int64_t *)((const char *)f + n->offset);
}

static int switch_of(const struct pc_task_flags *f, const struct number *n)
{
    return *(const int *)((const char *)f + n->offset);
}

/* Name i of pc_fix_names; its length. */
static size_t fix_name(size_t i, const char **name)
{
    const char *s = pc_fix_names;
    for (; i > 0; i--)
        s += strcspn(s, "|") + 1;
    *name = s;
    return strcspn(s, "|");
}

int pc_task_flags_fix(struct pc_task_flags *flags, const char *name, struct paco_error *err)
{
    for (size_t i = 0; i < N_FIXES; i++) {
        const char *s;
        size_t len = fix_name(i, &s);
        if (strlen(name) == len && memcmp(name, s, len) == 0) {
            flags->fixes |= 1u << i;
            return 0;
        }
    }
    return pc_error_set(err, PACO_EINVAL, "--fix '%s' is none of %s", name, pc_fix_names);
}

static json_t *strings(const struct pc_strings *list)
{
    json_t *a = json_array();
    int bad = 0;
    for (size_t i = 0; i < list->n; i++)
        bad |= json_array_append_new(a, json_string_nocheck(list->v[i]));
    if (!bad)
        return a;
    json_decref(a);
    return NULL;
}

static json_t *fixes(unsigned set)
{
    json_t *a = json_array();
    int bad = 0;
    for (size_t i = 0; i < N_FIXES; i++) {
        const char *s;
        size_t len = fix_name(i, &s);
        if (set >> i & 1)
            bad |= json_array_append_new(a, json_stringn(s, len));
    }
    if (!bad)
        return a;
    json_decref(a);
    return NULL;
}

json_t *pc_task_flags_json(const struct pc_task_flags *f)
{
    json_t *o = json_object();
    int bad = 0;
    for (size_t i = 0; i < N_NUMBERS; i++)
        if (number_of(f, &g_numbers[i]) != g_numbers[i].unsaid)
            bad |= json_object_set_new(o, g_numbers[i].name, json_integer(number_of(f, &g_numbers[i])));
    for (size_t i = 0; i < N_SWITCHES; i++)
        if (switch_of(f, &g_switches[i]) >= 0)
            bad |= json_object_set_new(o, g_switches[i].name, json_boolean(switch_of(f, &g_switches[i])));
    if (f->subjects.n)
        bad |= json_object_set_new(o, "subjects", strings(&f->subjects));
    if (f->eval_pass_at_ks.n)
        bad |= json_object_set_new(o, "eval_pass_at_ks", strings(&f->eval_pass_at_ks));
    if (!isnan(f->temperature))
        bad |= json_object_set_new(o, "temperature", json_real(f->temperature));
    if (f->unsafe_exec)
        bad |= json_object_set_new(o, "unsafe_exec", json_true());
    bad |= json_object_set_new(o, "seed", json_integer(f->seed));
    bad |= json_object_set_new(o, "fix", fixes(f->fixes));
    if (!bad)
        return o;
    json_decref(o);
    return NULL;
}

static bool is_for(const char *tasks, const char *name)
{
    while (*tasks) {
        size_t n = strcspn(tasks, " ");
        if (strncmp(tasks, name, n) == 0)
            return true;
        tasks += n + 1;
    }
    return false;
}

/* Flags that are neither numbers nor switches. */
static const struct {
    const char *name, *tasks;
} g_others[] = {{"subjects", "mmlu "}, {"eval_pass_at_ks", "codex "}, {"temperature", "codex "}};

const char *pc_task_flags_misfit(const struct pc_task_flags *f, const struct pc_task *task, size_t i)
{
    for (size_t k = 0; k < N_NUMBERS; k++)
        if (g_numbers[k].tasks && number_of(f, &g_numbers[k]) != g_numbers[k].unsaid &&
            !is_for(g_numbers[k].tasks, task->name) && i-- == 0)
            return g_numbers[k].name;
    for (size_t k = 0; k < N_SWITCHES; k++)
        if (g_switches[k].tasks && switch_of(f, &g_switches[k]) >= 0 &&
            !is_for(g_switches[k].tasks, task->name) && i-- == 0)
            return g_switches[k].name;
    const bool said[] = {f->subjects.n > 0, f->eval_pass_at_ks.n > 0, !isnan(f->temperature)};
    for (size_t k = 0; k < sizeof said / sizeof *said; k++)
        if (said[k] && !is_for(g_others[k].tasks, task->name) && i-- == 0)
            return g_others[k].name;
    return NULL;
}

static bool is_fix_for(const char *fix, const char *task)
{
    size_t n = strcspn(fix, "-");
    return fix[n] == '-' && strncmp(fix, task, n) == 0;
}

bool pc_task_flag_concerns(const char *name, const struct pc_task *task)
{
    for (size_t k = 0; k < N_NUMBERS; k++)
        if (strcmp(g_numbers[k].name, name) == 0)
            return !g_numbers[k].tasks || is_for(g_numbers[k].tasks, task->name);
    for (size_t k = 0; k < N_SWITCHES; k++)
        if (strcmp(g_switches[k].name, name) == 0)
            return !g_switches[k].tasks || is_for(g_switches[k].tasks, task->name);
    for (size_t k = 0; k < sizeof g_others / sizeof *g_others; k++)
        if (strcmp(g_others[k].name, name) == 0)
            return is_for(g_others[k].tasks, task->name);
    return is_fix_for(name, task->name);
}

json_t *pc_task_flags_for(const struct pc_task_flags *flags, const struct pc_task *task)
{
    json_t *o = pc_task_flags_json(flags);
    const char *name;
    for (size_t i = 0; o && (name = pc_task_flags_misfit(flags, task, i)); i++)
        json_object_del(o, name);
    json_t *fixes = json_object_get(o, "fix");
    for (size_t i = json_array_size(fixes); i-- > 0;)
        if (!is_fix_for(json_string_value(json_array_get(fixes, i)), task->name))
            json_array_remove(fixes, i);
    return o;
}
