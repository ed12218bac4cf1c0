// SPDX-License-Identifier: Apache-2.0
#include "cli/chat.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "cli/chat_commands.h"

#include <stdio.h>
#include <string.h>

enum { MAX_ANSWER = 256 << 20 };

/* ---- the screen ---- */

/* What moves the cursor, colours, rings, or turns the direction of writing. */
static bool is_harmful(uint32_t cp)
{
    return (cp < 0x20 && cp != '\n' && cp != '\t') || (cp >= 0x7f && cp < 0xa0) ||
           (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069) || cp == 0x2028 || cp == 0x2029;
}

/* A terminal gets letters: what else there is, is shown as \x1b is. A model's words are a stranger's. */
static void put_on_screen(const char *text, size_t len)
{
    const uint8_t *s = (const uint8_t *)text;
    for (size_t i = 0, n; i < len; i += n) {
        uint32_t cp;
        n = pc_utf8_decode(s + i, len - i, &cp);
        if (n == 0) {
            n = pc_utf8_broken(s + i, len - i);
            fputs("\uFFFD", stdout);
        } else if (is_harmful(cp)) {
            printf(cp < 0x100 ? "\\x%02x" : "\\u%04x", (unsigned)cp);
        } else {
            fwrite(s + i, 1, n, stdout);
        }
    }
}

static int on_text(void *ctx, const char *text, size_t len)
{
    struct pc_chat *c = ctx;
    if (len) {
        c->wrote = true;
        c->ends_in_newline = text[len - 1] == '\n';
        if (c->screen)
            put_on_screen(text, len);
        else
            fwrite(text, 1, len, stdout);
        if (fflush(stdout) != 0)
            return 1;
    }
    return *c->interrupted != 0;
}

int pc_chat_complain(const struct pc_chat *c, const struct paco_error *err)
{
    char text[1800];
    pc_command_warn(c->self, "%s", pc_error_format(err, text, sizeof text));
    return err->code;
}

/* Why there is no more, where it is not the model's own end. */
static void say_end(const struct pc_chat *c)
{
    const char *why = pc_chat_ended(c->answerer);
    if (strcmp(why, "cancelled") == 0 && c->interactive)
        pc_command_note(c->self, "stopped; what came stays in the conversation (/undo takes it back)");
    else if (strcmp(why, "context") == 0)
        pc_command_warn(c->self,
            "the answer ends here because the context of %d tokens is full: /undo takes back what was said "
            "last, /new begins again",
            pc_chat_context(c->answerer));
    else if (strcmp(why, "length") == 0)
        pc_command_note(c->self, "%s",
            pc_chat_context(c->answerer)
                ? "the answer was cut off: it had the most tokens allowed (/set tokens N)"
                : "the answer was cut off: it had the most tokens allowed, or the "
                  "server's context is full (/set tokens N, /undo, /new)");
}

static void say_figures(const struct pc_chat *c)
{
    const struct pc_chat_figures *f = pc_chat_figures(c->answerer);
    if (pc_command_verbose() && f->n_computed >= 0)
        pc_command_note(c->self,
            "%lld tokens, of which %lld were new, read in %.2f s; %lld written at %.1f/s",
            (long long)f->n_prompt, (long long)f->n_computed, f->prefill_seconds, (long long)f->n_output,
            f->decode_seconds > 0 ? (double)(f->n_output - 1) / f->decode_seconds : 0.0);
}

/* ---- turns ---- */

void pc_chat_changed(struct pc_chat *c)
{
    c->is_counted = c->is_same = false;
}

/* Nothing came: there is the former answer again, or else the question is taken back. */
static int restore(struct pc_chat *c, const char *former, bool stopped)
{
    struct paco_error err = {0};
    if (!former)
        pc_talk_pop(&c->talk);
    else if (pc_talk_add(&c->talk, "assistant", former, strlen(former), &err) < 0)
        return pc_chat_complain(c, &err);
    if (former)
        pc_command_note(c->self, "the answer before stays");
    else if (stopped && c->interactive)
        pc_command_note(c->self, "stopped; your message was taken back");
    return 0;
}

/* On a pipe nobody types the next message: Ctrl-C ends all. So does a reader that left, which main tells. */
static int stopped_code(const struct pc_chat *c)
{
    return ferror(stdout) ? PACO_EIO : c->interactive ? 0 : PACO_ECANCELLED;
}

/* Answer what is there. What was said before an error or a Ctrl-C stays; a question without any answer does
 * not. former: the answer that another one is to replace, or NULL. */
static int answer(struct pc_chat *c, const char *former)
{
    struct pc_buf text;
    struct paco_error err = {0};
    pc_buf_init(&text, MAX_ANSWER);
    c->wrote = c->ends_in_newline = false;
    *c->interrupted = 0;
    int rc = pc_chat_answer(c->answerer, &c->talk, c->n_asked++, on_text, c, &text, &err);
    if (!c->ends_in_newline && (c->wrote || rc == 0))
        putchar('\n');
    fflush(stdout);
    bool cancelled = rc == 0 && strcmp(pc_chat_ended(c->answerer), "cancelled") == 0;
    if (rc < 0)
        pc_chat_complain(c, &err);
    pc_chat_changed(c);
    if (text.len == 0 && (rc < 0 || cancelled)) {
        int kept = restore(c, former, cancelled);
        rc = rc < 0 ? rc : kept;
    } else {
        struct paco_error own = {0};
        c->is_counted = c->is_same = rc == 0;
        if (pc_talk_add(&c->talk, "assistant", text.data ? text.data : "", text.len, &own) < 0)
            rc = pc_chat_complain(c, &own);
        else if (rc == 0)
            say_end(c);
    }
    if (rc == 0)
        say_figures(c);
    if (rc == 0 && cancelled)
        rc = stopped_code(c);
    *c->interrupted = 0;
    pc_buf_release(&text);
    return rc;
}

int pc_chat_say(struct pc_chat *c, const char *text, size_t len)
{
    struct paco_error err = {0};
    if (pc_talk_add(&c->talk, "user", text, len, &err) < 0)
        return pc_chat_complain(c, &err);
    return answer(c, NULL);
}

int pc_chat_retry(struct pc_chat *c)
{
    struct paco_error err = {0};
    char *former = NULL;
    size_t answered = pc_talk_ends_with(&c->talk, "assistant"), n = c->talk.n;
    if (n <= answered || strcmp(c->talk.v[n - 1 - answered].role, "user") != 0)
        return PACO_ENOENT;
    if (answered) {
        former = pc_strdup(c->talk.v[n - 1].content);
        if (!former)
            return pc_error_mem(&err, 0, "an answer"), pc_chat_complain(c, &err);
        pc_talk_pop(&c->talk);
    }
    if (c->is_same && pc_chat_is_greedy(c->answerer))
        pc_command_note(c->self, "the best token is taken each time, so this is the same answer again; "
                                 "/set temp 0.8 draws");
    int rc = answer(c, former);
    pc_free(former);
    return rc;
}

/* "/help" is a command; "/etc/passwd holds what?" is not, and "//help" is how to say "/help". */
static bool is_command(const char *text)
{
    size_t n = text[0] == '/' ? strspn(text + 1, "abcdefghijklmnopqrstuvwxyz") : 0;
    return (n > 0 || strcmp(text, "/") == 0) && strchr(" \t", text[1 + n]) && !strchr(text, '\n');
}

static int take(struct pc_chat *c, const struct pc_buf *message)
{
    const char *text = message->data;
    if (is_command(text))
        return pc_chat_command(c, text + 1);
    size_t skip = strncmp(text, "//", 2) == 0;
    return pc_chat_say(c, text + skip, message->len - skip);
}

int pc_chat_run(struct pc_chat *c)
{
    struct pc_buf message;
    struct paco_error err = {0};
    int rc = 0;
    pc_buf_init(&message, (size_t)16 << 20);
    while (!c->quit && (rc == 0 || c->interactive)) {
        *c->interrupted = 0;
        int got = pc_chat_input_read(c->input, &message, &err);
        if (got < 0)
            rc = pc_chat_complain(c, &err);
        if (got == PC_CHAT_INTERRUPTED && c->interactive)
            printf("\n(Ctrl-D or /quit leaves, /help shows commands)\n");
        else if (got == PC_CHAT_INTERRUPTED)
            rc = PACO_ECANCELLED;
        if (got == PC_CHAT_END)
            break;
        if (got == PC_CHAT_MESSAGE)
            rc = take(c, &message);
    }
    if (c->interactive && !c->quit)
        putchar('\n');
    pc_buf_release(&message);
    return c->interactive ? 0 : rc;
}
