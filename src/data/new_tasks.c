// SPDX-License-Identifier: Apache-2.0
#include "data/new_tasks.h"

#include "base/py_text.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MAX_TEXT = 1 << 26 };

static struct pc_task_text stripped(struct pc_task_text t)
{
    pc_utf8_strip(&t.s, &t.len);
    return t;
}

/* ---- the prompt ---- */

/* Words with one space between, and no colon at the end. */
static void put_instruction(struct pc_buf *out, struct pc_task_text t)
{
    const char *field;
    size_t len, from = out->len;
    while (pc_py_next_field(&t.s, &t.len, &field, &len)) {
        if (out->len > from)
            pc_buf_putc(out, ' ');
        pc_buf_add(out, field, len);
    }
    while (out->len > from && out->data[out->len - 1] == ':')
        out->data[--out->len] = '\0';
}

void pc_new_tasks_prompt(
    struct pc_buf *out, struct pc_task_text preamble, const struct pc_new_task *tasks, size_t n)
{
    pc_buf_add(out, preamble.s, preamble.len);
    pc_buf_putc(out, '\n');
    for (size_t i = 0; i < n; i++) {
        const struct pc_new_task *t = &tasks[i];
        pc_buf_printf(out, "###\n%zu. Instruction: ", i + 1);
        put_instruction(out, t->instruction);
        pc_buf_printf(out, "\n%zu. Input:\n", i + 1);
        pc_buf_add(out, t->input.len ? t->input.s : "<noinput>", t->input.len ? t->input.len : 9);
        pc_buf_printf(out, "\n%zu. Output:\n", i + 1);
        pc_buf_add(out, t->output.s, t->output.len);
        pc_buf_putc(out, '\n');
    }
    pc_buf_printf(out, "###\n%zu. Instruction:", n + 1);
}

/* ---- filters ---- */

/* A character as case-blind patterns of Python compare it with a letter of a to z. */
static uint32_t folded(uint32_t cp)
{
    if (cp == 0x130 || cp == 0x131)
        return 'i';
    if (cp == 0x17f)
        return 's';
    return cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
}

/* Whether word stands at s, and ends there as a word. */
static bool stands_at(const char *s, size_t len, const char *word)
{
    for (; *word; word++)
        if (len == 0 || folded(pc_py_take(&s, &len)) != (uint32_t)*word)
            return false;
    return len == 0 || !pc_py_is_word(pc_py_take(&s, &len));
}

static bool has_word(struct pc_task_text t, const char *word)
{
    bool after_word = false;
    while (t.len) {
        if (!after_word && stands_at(t.s, t.len, word))
            return true;
        after_word = pc_py_is_word(pc_py_take(&t.s, &t.len));
    }
    return false;
}

static size_t count_words(struct pc_task_text t)
{
    const char *field;
    size_t len, n = 0;
    while (pc_py_next_field(&t.s, &t.len, &field, &len))
        n++;
    return n;
}

bool pc_new_task_passes(struct pc_task_text t)
{
    static const char *const not_text[] = {"image", "images", "graph", "graphs", "picture", "pictures",
        "file", "files", "map", "maps", "draw", "plot", "go to", "video", "audio", "music", "flowchart",
        "diagram"};
    static const char program[] = "Write a program";
    size_t n = count_words(t);
    if (n <= 3 || n > 150)
        return false;
    for (size_t i = 0; i < sizeof not_text / sizeof *not_text; i++)
        if (has_word(t, not_text[i]))
            return false;
    if (t.len >= sizeof program - 1 && memcmp(t.s, program, sizeof program - 1) == 0)
        return false;
    uint8_t first = (uint8_t)*t.s;
    return first < 0x80 && !pc_py_is_punctuation(first);
}

/* ---- the reply ---- */

/* "NUMBER. Instruction:" or another label in t at or behind from: where it begins and ends. */
static bool find_label(struct pc_task_text t, size_t from, const char *number, size_t *begin, size_t *end)
{
    static const char *const labels[] = {"Instruction:", "Input:", "Output:"};
    size_t n_number = strlen(number);
    for (const char *hit; (hit = memmem(t.s + from, t.len - from, number, n_number));) {
        size_t at = (size_t)(hit - t.s), i = at + n_number;
        struct pc_task_text rest = {t.s + i, t.len - i};
        pc_utf8_lstrip(&rest.s, &rest.len);
        for (int k = 0; k < 3 && rest.len < t.len - i; k++)
            if (rest.len >= strlen(labels[k]) && memcmp(rest.s, labels[k], strlen(labels[k])) == 0) {
                *begin = at;
                *end = (size_t)(rest.s - t.s) + strlen(labels[k]);
                return true;
            }
        from = at + 1;
    }
    return false;
}

/* Exactly three labels, whatever they are called: what follows each is a field. */
static bool split_piece(struct pc_task_text piece, size_t number, struct pc_new_task *out)
{
    char text[24];
    size_t begin[4], end[4], n = 0;
    snprintf(text, sizeof text, "%zu.", number);
    while (n < 4 && find_label(piece, n ? end[n - 1] : 0, text, &begin[n], &end[n]))
        n++;
    if (n != 3)
        return false;
    struct pc_task_text fields[3];
    for (size_t i = 0; i < 3; i++) {
        size_t stop = i < 2 ? begin[i + 1] : piece.len;
        fields[i] = stripped((struct pc_task_text){piece.s + end[i], stop - end[i]});
    }
    if (fields[1].len == 9 && strncasecmp(fields[1].s, "<noinput>", 9) == 0)
        fields[1].len = 0;
    *out = (struct pc_new_task){fields[0], fields[1], fields[2]};
    return true;
}

/* What a chat model repeats of the prompt's end. */
static struct pc_task_text without_heading(struct pc_task_text reply, size_t number)
{
    char text[24];
    size_t begin, end;
    snprintf(text, sizeof text, "%zu.", number);
    struct pc_task_text t = stripped(reply);
    if (t.len >= 3 && memcmp(t.s, "###", 3) == 0)
        t = stripped((struct pc_task_text){t.s + 3, t.len - 3});
    if (!find_label(t, 0, text, &begin, &end) || begin != 0)
        return reply;
    return (struct pc_task_text){t.s + end, t.len - end};
}

int pc_new_tasks_parse(struct pc_task_text reply, size_t n, bool was_cut, bool chat,
    int (*each)(void *ctx, const struct pc_new_task *task), void *ctx, size_t *found, struct paco_error *err)
{
    struct pc_buf all;
    if (chat)
        reply = without_heading(reply, n + 1);
    pc_buf_init(&all, MAX_TEXT);
    pc_buf_printf(&all, "%zu. Instruction:", n + 1);
    pc_buf_add(&all, reply.s, reply.len);
    int rc = pc_buf_check(&all, "a reply", err);
    const char *s = all.data, *end = s + all.len;
    for (size_t number = n + 1; rc == 0 && s; number++) {
        const char *stop = memmem(s, (size_t)(end - s), "###", 3);
        struct pc_new_task task;
        bool last = !stop;
        if (!(last && was_cut) &&
            split_piece((struct pc_task_text){s, (size_t)((stop ? stop : end) - s)}, number, &task) &&
            pc_new_task_passes(task.instruction)) {
            rc = each(ctx, &task);
            if (found)
                ++*found;
        }
        s = stop ? stop + 3 : NULL;
    }
    pc_buf_release(&all);
    return rc;
}
