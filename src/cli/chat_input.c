// SPDX-License-Identifier: Apache-2.0
/* Pastes. A terminal that is asked to (bracketed paste) puts ESC [ 200 ~ and ESC [ 201 ~ around what is
 * pasted. libedit knows nothing of it and edits one line, so the bytes are read here: inside of the brackets
 * line breaks and tabs become the symbols that Unicode has for pictures of them, which an editor treats as
 * letters, and become themselves again when the line is done. The history file has the same pictures, and so
 * a line for each message. */
#include "cli/chat_input.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/out_file.h"
#include "base/utf8.h"
#include "cli/edit_api.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#define PICTURE_NEWLINE "\u2424"
#define PICTURE_TAB "\u2409"
static const wchar_t NEWLINE_PICTURE = 0x2424, TAB_PICTURE = 0x2409;

enum { MAX_MESSAGE = 16 << 20, MAX_HISTORY = 1 << 20, N_HISTORY = 1000, ESCAPE_MS = 30 };

struct pc_chat_input {
    bool interactive, interrupted_now, ended, pasting;
    volatile sig_atomic_t *interrupted;
    char remark[200];
    const struct pc_edit *edit;
    EditLine *editor;
    History *history;
    char *history_path; /* NULL: not kept */
    const char *prompt;
    unsigned char ahead[8]; /* bytes read and not handed on */
    size_t n_ahead;
    struct pc_buf line;
};

/* libedit's callbacks get the editor alone; there is one conversation. */
static struct pc_chat_input *g_input;

/* ---- bytes ---- */

/* 1, 0 at the end, -1 when interrupted or failed. */
static int read_byte(struct pc_chat_input *in, unsigned char *c)
{
    if (in->n_ahead) {
        *c = in->ahead[0];
        memmove(in->ahead, in->ahead + 1, --in->n_ahead);
        return 1;
    }
    for (;;) {
        if (*in->interrupted)
            return -1;
        ssize_t n = read(STDIN_FILENO, c, 1);
        if (n >= 0 || errno != EINTR)
            return n < 0 ? -1 : (int)n;
    }
}

/* Whether the bytes behind an ESC are the rest of a bracket; if not, they wait their turn. */
static bool take_bracket(struct pc_chat_input *in, const char *rest)
{
    struct pollfd ready = {.fd = STDIN_FILENO, .events = POLLIN};
    for (size_t n = 0; rest[n]; n++) {
        if (in->n_ahead == n) {
            if (n == sizeof in->ahead || poll(&ready, 1, ESCAPE_MS) <= 0 ||
                read(STDIN_FILENO, &in->ahead[n], 1) != 1)
                return false;
            in->n_ahead++;
        }
        if (in->ahead[n] != (unsigned char)rest[n])
            return false;
    }
    memmove(in->ahead, in->ahead + strlen(rest), in->n_ahead - strlen(rest));
    in->n_ahead -= strlen(rest);
    return true;
}

/* A character whole; broken ones become U+FFFD. */
static int read_character(struct pc_chat_input *in, unsigned char first, wchar_t *out)
{
    uint8_t bytes[4] = {first};
    uint32_t cp;
    size_t n = 1;
    while (n < 4 && pc_utf8_incomplete_tail(bytes, n) == n) {
        int rc = read_byte(in, &bytes[n]);
        if (rc <= 0)
            return rc;
        n++;
    }
    (void)pc_utf8_decode(bytes, n, &cp);
    *out = (wchar_t)cp;
    return 1;
}

/* libedit's EL_GETCFN. */
static int next_character(EditLine *editor, wchar_t *out)
{
    struct pc_chat_input *in = g_input;
    unsigned char c;
    (void)editor;
    for (;;) {
        int rc = read_byte(in, &c);
        in->interrupted_now = rc < 0 && *in->interrupted;
        in->ended = rc == 0;
        if (rc <= 0)
            return rc;
        if (c == 0x1b && take_bracket(in, in->pasting ? "[201~" : "[200~"))
            in->pasting = !in->pasting;
        else if (in->pasting && c < 0x20 && c != '\r' && c != '\n' && c != '\t')
            continue; // no text
        else
            break;
    }
    if (!in->pasting)
        return read_character(in, c, out);
    *out = NEWLINE_PICTURE;
    if (c == '\t')
        *out = TAB_PICTURE;
    return c == '\r' || c == '\n' || c == '\t' ? 1 : read_character(in, c, out);
}

static char *show_prompt(EditLine *editor)
{
    static char prompt[8];
    (void)editor;
    snprintf(prompt, sizeof prompt, "%s", g_input->prompt);
    return prompt;
}

/* ---- the history file ---- */

static char *find_history(void)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (state && *state == '/')
        return pc_path_join(state, "paco/chat_history");
    return home && *home ? pc_path_join(home, ".local/state/paco/chat_history") : NULL;
}

static void remember(struct pc_chat_input *in, const char *line)
{
    HistEvent event;
    if (in->history)
        in->edit->history(in->history, &event, H_ENTER, line);
}

static void load_history(struct pc_chat_input *in)
{
    struct pc_buf b = {0};
    if (!in->history_path || pc_file_slurp(in->history_path, (size_t)4 * MAX_HISTORY, &b, NULL) < 0) {
        pc_buf_release(&b);
        return;
    }
    char *keep = b.len > MAX_HISTORY ? strchr(b.data + b.len - MAX_HISTORY / 2, '\n') : NULL;
    if (keep && pc_file_write_atomic(in->history_path, keep + 1, strlen(keep + 1), NULL) == 0)
        (void)chmod(in->history_path, 0600);
    for (char *line = keep ? keep + 1 : b.data, *end; line && *line; line = end) {
        end = line + strcspn(line, "\n");
        end += *end ? 1 : 0;
        if (end > line + 1 && end[-1] == '\n')
            end[-1] = '\0';
        remember(in, line);
    }
    pc_buf_release(&b);
}

/* One write to the end, so that two conversations do not cut into each other's lines. */
static void keep_message(struct pc_chat_input *in, const char *text)
{
    struct pc_buf line;
    pc_buf_init(&line, (size_t)4 * MAX_MESSAGE);
    for (const char *p = text; *p; p++) {
        if (*p == '\n')
            pc_buf_puts(&line, PICTURE_NEWLINE);
        else if (*p == '\t')
            pc_buf_puts(&line, PICTURE_TAB);
        else
            pc_buf_putc(&line, *p);
    }
    if (!line.failed && line.data)
        remember(in, line.data);
    pc_buf_putc(&line, '\n');
    if (in->history_path && !line.failed && line.len < MAX_HISTORY / 4) {
        int fd = open(in->history_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd >= 0) {
            (void)fchmod(fd, 0600);
            (void)!write(fd, line.data, line.len);
            close(fd);
        }
    }
    pc_buf_release(&line);
}

/* ---- lines ---- */

static void say(const char *text)
{
    fputs(text, stdout);
    fflush(stdout);
}

static int read_edited(struct pc_chat_input *in)
{
    int n = 0;
    in->pasting = false;
    in->edit->resize(in->editor);
    in->edit->set(
        in->editor, EL_PREP_TERM, 1); // before the prompt: a key pressed behind it is one for the editor
    say("\033[?2004h");
    const char *line = in->edit->gets(in->editor, &n);
    say("\033[?2004l");
    if (in->interrupted_now)
        return PC_CHAT_INTERRUPTED;
    if (!line || n <= 0)
        return PC_CHAT_END;
    pc_buf_add(&in->line, line, (size_t)n);
    return PC_CHAT_MESSAGE;
}

static int read_plain(struct pc_chat_input *in)
{
    unsigned char c;
    int rc = 0;
    if (in->interactive)
        say(in->prompt);
    while ((rc = read_byte(in, &c)) > 0) {
        pc_buf_putc(&in->line, (char)c);
        if (c == '\n')
            break;
    }
    if (rc < 0 && *in->interrupted)
        return PC_CHAT_INTERRUPTED;
    return in->line.len ? PC_CHAT_MESSAGE : PC_CHAT_END;
}

static void replace_all(struct pc_buf *b, const char *picture, char with)
{
    size_t n = strlen(picture), w = 0;
    for (size_t r = 0; r < b->len;) {
        bool match = b->len - r >= n && memcmp(b->data + r, picture, n) == 0;
        b->data[w++] = match ? with : b->data[r];
        r += match ? n : 1;
    }
    if (b->data)
        b->data[b->len = w] = '\0';
}

/* One line without its end into in->line. */
static int read_line(struct pc_chat_input *in, const char *prompt, struct paco_error *err)
{
    in->prompt = prompt;
    pc_buf_clear(&in->line);
    int rc = in->editor ? read_edited(in) : read_plain(in);
    if (pc_buf_check(&in->line, "a message", err) < 0)
        return err ? err->code : PACO_ELIMIT;
    while (in->line.len && strchr("\r\n", in->line.data[in->line.len - 1]))
        in->line.data[--in->line.len] = '\0';
    if (in->editor) {
        replace_all(&in->line, PICTURE_NEWLINE, '\n');
        replace_all(&in->line, PICTURE_TAB, '\t');
    }
    if (rc == PC_CHAT_MESSAGE && memchr(in->line.data, 0, in->line.len))
        return pc_error_set(err, PACO_EFORMAT, "a message has a NUL byte");
    return rc;
}

static bool ends_in(const struct pc_buf *b, const char *what)
{
    size_t n = strlen(what);
    return b->len >= n && memcmp(b->data + b->len - n, what, n) == 0;
}

static void drop(struct pc_buf *b, size_t n)
{
    b->data[b->len -= n] = '\0';
}

/* From behind the opening quotes on; the end of the input ends it, too. */
static int read_block(struct pc_chat_input *in, struct pc_buf *out, struct paco_error *err)
{
    static const char quotes[] = "\"\"\"";
    int rc = PC_CHAT_MESSAGE;
    while (rc == PC_CHAT_MESSAGE && !ends_in(out, quotes)) {
        rc = read_line(in, "... ", err);
        if (rc != PC_CHAT_MESSAGE)
            break;
        if (out->len)
            pc_buf_putc(out, '\n');
        pc_buf_puts(out, in->line.data);
    }
    if (rc == PC_CHAT_MESSAGE) {
        drop(out, 3);
        if (ends_in(out, "\n"))
            drop(out, 1);
    }
    return rc == PC_CHAT_END ? PC_CHAT_MESSAGE : rc;
}

static int read_message(struct pc_chat_input *in, struct pc_buf *out, struct paco_error *err)
{
    int rc = read_line(in, "> ", err);
    if (rc != PC_CHAT_MESSAGE)
        return rc;
    bool is_block = strncmp(in->line.data, "\"\"\"", 3) == 0;
    pc_buf_puts(out, in->line.data + (is_block ? 3 : 0));
    if (is_block)
        return read_block(in, out, err);
    while (rc == PC_CHAT_MESSAGE && ends_in(out, "\\")) {
        drop(out, 1);
        rc = read_line(in, "... ", err);
        if (rc != PC_CHAT_MESSAGE)
            break;
        pc_buf_putc(out, '\n');
        pc_buf_puts(out, in->line.data);
    }
    return rc == PC_CHAT_END ? PC_CHAT_MESSAGE : rc;
}

int pc_chat_input_read(struct pc_chat_input *in, struct pc_buf *out, struct paco_error *err)
{
    pc_buf_clear(out);
    int rc = read_message(in, out, err);
    if (rc == PC_CHAT_MESSAGE && pc_buf_check(out, "a message", err) < 0)
        return err ? err->code : PACO_ELIMIT;
    if (rc != PC_CHAT_MESSAGE)
        return rc;
    const char *text = out->data ? out->data : "";
    size_t len = out->len;
    pc_utf8_strip(&text, &len);
    if (len == 0 || !out->data)
        return PC_CHAT_EMPTY;
    if (in->interactive)
        keep_message(in, out->data);
    return rc;
}

/* ---- the beginning and the end ---- */

/* Only characters are the locale's here: numbers must stay as JSON has them. */
static void set_locale(void)
{
    if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX < 4)
        (void)setlocale(LC_CTYPE, "C.UTF-8");
}

static void open_editor(struct pc_chat_input *in)
{
    struct paco_error err = {0};
    HistEvent event;
    const char *term = getenv("TERM");
    if (!term || !*term || strcmp(term, "dumb") == 0)
        return;
    in->edit = pc_edit_load(&err);
    if (!in->edit) {
        snprintf(in->remark, sizeof in->remark, "%.199s", err.message);
        return;
    }
    set_locale();
    in->editor = in->edit->init("paco", stdin, stdout, stderr);
    if (!in->editor)
        return;
    in->history = in->edit->history_init();
    in->edit->set(in->editor, EL_PROMPT, show_prompt);
    in->edit->set(in->editor, EL_EDITOR, "emacs");
    in->edit->set(in->editor, EL_GETCFN, next_character);
    in->edit->set(in->editor, EL_BIND, "^R", "em-inc-search-prev", NULL);
    if (in->history) {
        in->edit->history(in->history, &event, H_SETSIZE, N_HISTORY);
        in->edit->history(in->history, &event, H_SETUNIQUE, 1);
        in->edit->set(in->editor, EL_HIST, in->edit->history, in->history);
    }
    (void)in->edit->source(in->editor, NULL);
}

int pc_chat_input_open(bool interactive, bool keep, volatile sig_atomic_t *interrupted,
    struct pc_chat_input **out, struct paco_error *err)
{
    struct pc_chat_input *in = pc_alloc_zero(1, sizeof *in);
    if (!in)
        return pc_error_mem(err, sizeof *in, "the input");
    in->interactive = interactive;
    in->interrupted = interrupted;
    pc_buf_init(&in->line, MAX_MESSAGE);
    g_input = in;
    if (interactive) {
        in->history_path = keep ? find_history() : NULL;
        if (in->history_path)
            (void)pc_dir_make_above(in->history_path, NULL);
        open_editor(in);
        load_history(in);
    }
    *out = in;
    return 0;
}

void pc_chat_input_close(struct pc_chat_input *in)
{
    if (!in)
        return;
    if (in->history)
        in->edit->history_end(in->history);
    if (in->editor)
        in->edit->end(in->editor);
    pc_free(in->history_path);
    pc_buf_release(&in->line);
    pc_free(in);
    g_input = NULL;
}

const char *pc_chat_input_remark(const struct pc_chat_input *in)
{
    return in->remark;
}
