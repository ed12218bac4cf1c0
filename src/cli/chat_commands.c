// SPDX-License-Identifier: Apache-2.0
#include "cli/chat_commands.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "cli/output.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PATH = 4096 };

struct word {
    const char *name, *args, *help;
    /** arg is what follows, without white space around it. */
    int (*run)(struct pc_chat *c, const char *arg);
};

static int refuse(const struct pc_chat *c, const char *text)
{
    pc_command_warn(c->self, "%s", text);
    return PACO_EINVAL;
}

/* What a shell would have made of ~/name, for nobody else does. */
static void expand(const char *name, size_t len, char path[MAX_PATH])
{
    const char *home = len > 1 && strncmp(name, "~/", 2) == 0 ? getenv("HOME") : NULL;
    snprintf(path, MAX_PATH, "%s%.*s", home ? home : "", (int)(home ? len - 1 : len), home ? name + 1 : name);
}

static int help(struct pc_chat *c, const char *arg)
{
    struct pc_buf b;
    (void)c;
    (void)arg;
    pc_buf_init(&b, 1 << 16);
    pc_chat_commands_help(&b);
    pc_buf_puts(&b, "A backslash at the end of a line goes on in the next; \"\"\" begins and ends\n"
                    "several lines; what is pasted is one message. Ctrl-C stops an answer, Ctrl-D\n"
                    "leaves. //word says /word to the model.\n");
    fputs(b.data ? b.data : "", stdout);
    pc_buf_release(&b);
    return 0;
}

static int set_system(struct pc_chat *c, const char *arg)
{
    struct paco_error err = {0};
    const char *now = pc_talk_system(&c->talk);
    if (!*arg) {
        pc_print_text(now ? now : "(no system message)", 0);
        putchar('\n');
        return 0;
    }
    if (pc_talk_set_system(&c->talk, strcmp(arg, "-") == 0 ? NULL : arg, &err) < 0)
        return pc_chat_complain(c, &err);
    pc_chat_changed(c);
    pc_command_note(c->self, strcmp(arg, "-") == 0
                                 ? "no system message from here on"
                                 : "the system message stands before the whole conversation "
                                   "from here on");
    return 0;
}

static void say_who(const struct pc_chat *c)
{
    struct pc_buf b;
    pc_buf_init(&b, 1 << 12);
    pc_chat_describe(c->answerer, &b);
    pc_command_note(c->self, "%s", b.data ? b.data : "");
    pc_buf_release(&b);
}

/* The one before stays until the other is there. */
static int set_model(struct pc_chat *c, const char *arg)
{
    struct pc_chat_answerer *other = NULL;
    struct paco_error err = {0};
    struct pc_chat_wishes w = c->wishes;
    char path[MAX_PATH];
    if (*arg) {
        expand(arg, strlen(arg), path);
        w.model.model = path;
        w.model.diff = w.model.adapter = NULL;
        w.format = "auto";
        if (pc_chat_answerer_open(&w, &other, &err) < 0)
            return pc_chat_complain(c, &err);
        pc_chat_answerer_close(c->answerer);
        c->answerer = other;
        pc_chat_changed(c);
    }
    say_who(c);
    return 0;
}

static int set_format(struct pc_chat *c, const char *arg)
{
    enum pc_format format;
    struct paco_error err = {0};
    if (c->wishes.api)
        return refuse(c, "the format is the endpoint's affair");
    if (*arg && (!pc_format_parse(arg, &format) || format == PC_FORMAT_AUTO))
        return refuse(c, "no such format: raw, tulu, alpaca, vicuna, chatml, chatml-plain, llama2, llama3");
    if (*arg && pc_chat_set_format(c->answerer, format, &err) < 0)
        return pc_chat_complain(c, &err);
    if (*arg)
        pc_chat_changed(c);
    pc_command_note(c->self, "format %s", pc_format_name(pc_chat_format(c->answerer)));
    return 0;
}

/* ---- settings ---- */

static const struct setting {
    const char *name;
    size_t offset;
    bool is_count;
    double min, max;
    const char *unset; /* what a model here is then asked with */
} g_settings[] = {
    {"temp", offsetof(struct pc_chat_settings, temperature), false, 0, 1e6, "as the model says"},
    {"top-k", offsetof(struct pc_chat_settings, top_k), true, 0, 1 << 24, "as the model says"},
    {"top-p", offsetof(struct pc_chat_settings, top_p), false, 0, 1, "as the model says"},
    {"min-p", offsetof(struct pc_chat_settings, min_p), false, 0, 1, "as the model says"},
    {"repeat-penalty", offsetof(struct pc_chat_settings, repetition_penalty), false, 0, 1e6,
        "as the model says"},
    {"seed", offsetof(struct pc_chat_settings, seed), true, 0, 9007199254740992.0, "drawn at the start"},
    {"tokens", offsetof(struct pc_chat_settings, tokens), true, 1, 1 << 24, "as many as fit"},
};
enum { N_SETTINGS = sizeof g_settings / sizeof *g_settings };

static void print_settings(const struct pc_chat_settings *s, bool api)
{
    for (size_t i = 0; i < N_SETTINGS; i++) {
        const char *at = (const char *)s + g_settings[i].offset;
        double x = g_settings[i].is_count ? (double)*(const int64_t *)(const void *)at
                                          : *(const double *)(const void *)at;
        if (isnan(x) || (g_settings[i].is_count && x < 0))
            printf("%-16s (not set: %s)\n", g_settings[i].name,
                api ? "as the endpoint says" : g_settings[i].unset);
        else
            printf("%-16s %.15g\n", g_settings[i].name, x);
    }
}

static bool store(struct pc_chat_settings *s, const struct setting *which, const char *text)
{
    char *end;
    double x = strtod(text, &end);
    char *at = (char *)s + which->offset;
    if (end == text || *end || !(x >= which->min && x <= which->max) || (which->is_count && x != floor(x)))
        return false;
    if (which->is_count)
        *(int64_t *)(void *)at = (int64_t)x;
    else
        *(double *)(void *)at = x;
    return true;
}

static int set(struct pc_chat *c, const char *arg)
{
    struct paco_error err = {0};
    struct pc_chat_settings s = c->wishes.settings;
    size_t n = strcspn(arg, " \t");
    if (!*arg) {
        print_settings(&s, c->wishes.api != NULL);
        return 0;
    }
    for (size_t i = 0; i < N_SETTINGS; i++) {
        if (strncmp(g_settings[i].name, arg, n) != 0 || g_settings[i].name[n])
            continue;
        if (!store(&s, &g_settings[i], arg + n + strspn(arg + n, " \t"))) {
            pc_command_warn(c->self, "/set %s wants a number from %.15g to %.15g", g_settings[i].name,
                g_settings[i].min, g_settings[i].max);
            return PACO_EINVAL;
        }
        if (pc_chat_set(c->answerer, &s, &err) < 0)
            return pc_chat_complain(c, &err);
        c->wishes.settings = s;
        c->is_same = false;
        pc_command_note(c->self, "%s %s", g_settings[i].name, arg + n + strspn(arg + n, " \t"));
        return 0;
    }
    return refuse(c, "no such setting: temp, top-k, top-p, min-p, repeat-penalty, seed, tokens");
}

/* ---- the conversation ---- */

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

static int save(struct pc_chat *c, const char *arg)
{
    struct paco_error err = {0};
    char path[MAX_PATH];
    size_t n = strlen(arg);
    bool force = n > 0 && arg[n - 1] == '!';
    expand(arg, n - force, path);
    if (!*path)
        return refuse(c, "/save FILE (FILE! replaces one that is there)");
    if (pc_talk_save(&c->talk, path, force, &err) < 0) {
        if (err.code == PACO_EEXIST)
            return refuse(c, "that file exists: /save FILE! replaces it");
        return pc_chat_complain(c, &err);
    }
    pc_command_note(c->self, "%zu message%s saved; generate -f and finetune read them, too", c->talk.n,
        plural(c->talk.n));
    return 0;
}

static int load(struct pc_chat *c, const char *arg)
{
    struct paco_error err = {0};
    char path[MAX_PATH];
    if (!*arg)
        return refuse(c, "/load FILE");
    expand(arg, strlen(arg), path);
    if (pc_talk_load(&c->talk, path, &err) < 0)
        return pc_chat_complain(c, &err);
    pc_chat_changed(c);
    pc_command_note(c->self, "%zu message%s", c->talk.n, plural(c->talk.n));
    return 0;
}

static int retry(struct pc_chat *c, const char *arg)
{
    (void)arg;
    int rc = pc_chat_retry(c);
    return rc == PACO_ENOENT ? refuse(c, "nothing was asked yet") : rc;
}

static int undo(struct pc_chat *c, const char *arg)
{
    (void)arg;
    if (!pc_talk_undo(&c->talk))
        return refuse(c, "nothing was said yet");
    pc_chat_changed(c);
    size_t left = pc_talk_n_said(&c->talk);
    pc_command_note(c->self, "taken back; %zu message%s left", left, left == 1 ? " is" : "s are");
    return 0;
}

static int new (struct pc_chat *c, const char *arg)
{
    (void)arg;
    pc_talk_clear(&c->talk);
    pc_chat_changed(c);
    pc_command_note(c->self, "a new conversation");
    return 0;
}

static int stats(struct pc_chat *c, const char *arg)
{
    const struct pc_chat_figures *f = pc_chat_figures(c->answerer);
    char rss[32];
    (void)arg;
    size_t said = pc_talk_n_said(&c->talk);
    printf("%zu message%s", said, plural(said));
    if (c->is_counted && f->n_prompt > 0 && pc_chat_context(c->answerer))
        printf(", %lld of %d tokens with the last answer", (long long)(f->n_prompt + f->n_output),
            pc_chat_context(c->answerer));
    else if (c->is_counted && f->n_prompt > 0)
        printf(", %lld tokens with the last answer", (long long)(f->n_prompt + f->n_output));
    putchar('\n');
    if (f->n_computed > 0)
        printf("last prompt: %lld tokens, %lld of them new, %.0f tokens/s\n", (long long)f->n_prompt,
            (long long)f->n_computed,
            f->prefill_seconds > 0 ? (double)f->n_computed / f->prefill_seconds : 0.0);
    if (f->n_output > 0)
        printf("last answer: %lld tokens, %.1f tokens/s, the first after %.2f s\n", (long long)f->n_output,
            f->decode_seconds > 0 ? (double)(f->n_output - 1) / f->decode_seconds : 0.0, f->first_seconds);
    if (pc_chat_context(c->answerer))
        printf("memory at most so far: %s\n", pc_human_bytes(pc_peak_rss(), rss));
    return 0;
}

static int quit(struct pc_chat *c, const char *arg)
{
    (void)arg;
    c->quit = true;
    return 0;
}

/* ---- the table ---- */

static const struct word g_words[] = {
    {"help", "", "this list", help},
    {"system", "[TEXT]", "show or set the system message (-: none)", set_system},
    {"model", "[MODEL]", "show who answers, or let another one go on", set_model},
    {"format", "[NAME]", "show or set how the conversation is wrapped", set_format},
    {"set", "[NAME VALUE]", "show settings, or change one of them (temp, seed, tokens, ...)", set},
    {"retry", "", "another answer to the last message", retry},
    {"undo", "", "take back the last message and its answer", undo},
    {"new", "", "begin again; the system message stays", new},
    {"save", "FILE", "write the conversation as a line of JSON (FILE!: replace)", save},
    {"load", "FILE", "go on with a conversation that was saved", load},
    {"stats", "", "tokens, speeds, memory", stats},
    {"quit", "", "leave, as Ctrl-D does", quit},
    {"exit", "", NULL, quit},
    {"clear", "", NULL, new},
};
enum { N_WORDS = sizeof g_words / sizeof *g_words };

void pc_chat_commands_help(struct pc_buf *out)
{
    for (size_t i = 0; i < N_WORDS; i++) {
        char head[40];
        snprintf(head, sizeof head, "/%s %s", g_words[i].name, g_words[i].args);
        if (g_words[i].help)
            pc_buf_printf(out, "%-20s %s\n", head, g_words[i].help);
    }
}

static int unknown(const struct pc_chat *c, const char *name)
{
    const char *near = NULL;
    int best = 3;
    for (size_t i = 0; i < N_WORDS; i++) {
        int d = pc_edit_distance(g_words[i].name, name);
        near = d < best ? g_words[i].name : near;
        best = d < best ? d : best;
    }
    pc_command_warn(c->self, "there is no /%.40s%s%s%s (/help shows commands)", name,
        near ? ": did you mean /" : "", near ? near : "", near ? "?" : "");
    return PACO_EINVAL;
}

int pc_chat_command(struct pc_chat *c, const char *line)
{
    size_t n = strcspn(line, " \t"), len = strlen(line + n);
    const char *rest = line + n;
    pc_utf8_strip(&rest, &len);
    char *name = pc_strndup(line, n), *arg = pc_strndup(rest, len);
    int rc = PACO_EMEM;
    bool found = false;
    for (size_t i = 0; i < N_WORDS && name && arg && !found; i++)
        if (strcmp(g_words[i].name, name) == 0) {
            found = true;
            rc = g_words[i].run(c, arg);
        }
    if (name && arg && !found)
        rc = unknown(c, name);
    pc_free(name);
    pc_free(arg);
    return rc;
}
