// SPDX-License-Identifier: Apache-2.0
#include "train/watch.h"

#include "base/file.h"
#include "base/memory.h"
#include "report/tensorboard.h"
#include "train/run_log.h"
#include "train/train_report.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_LOG = 1 << 30, MAX_LINE = 1 << 24, MAX_ABOUT = 1 << 24 };

/* A file that lines are appended to. */
struct lines {
    int fd;
    char *path;
    uint64_t size;
};

struct pc_watch {
    char *dir;
    struct lines evals, samples;
    json_t *about;
    json_t *done; /* an object: a member for each score and answer of the step that was gone on from */
    struct pc_tensorboard *events;
    struct pc_notes *notes;
};

/* ---- lines ---- */

/* What tells a line of a step from the others of it. */
static void key_of(const json_t *line, char key[300])
{
    const char *name = json_string_value(json_object_get(line, "name"));
    if (name)
        snprintf(key, 300, "score %.200s", name);
    else
        snprintf(
            key, 300, "answer %lld", (long long)json_integer_value(json_object_get(line, "prompt_index")));
}

/* How much of the text is of steps up to this one; what is of this very step is remembered. */
static size_t measure(struct pc_watch *w, const struct pc_buf *text, uint64_t step)
{
    size_t kept = 0;
    for (const char *end; kept < text->len && (end = memchr(text->data + kept, '\n', text->len - kept));) {
        json_t *line = NULL;
        int64_t its = -1;
        char key[300];
        if (pc_json_parse_line(text->data + kept, (size_t)(end - text->data) - kept, NULL, 0, &line, NULL) ==
            0)
            pc_json_get_i64(line, "step", 0, INT64_MAX, &its, NULL);
        if (its >= 0 && (uint64_t)its == step) {
            key_of(line, key);
            json_object_set_new(w->done, key, json_true());
        }
        json_decref(line);
        if (its < 0 || (uint64_t)its > step)
            break;
        kept = (size_t)(end - text->data) + 1;
    }
    return kept;
}

static int fail(const char *path, const char *what, struct paco_error *err)
{
    int rc = pc_error_os(err, errno, "%s", what);
    pc_error_path(err, path);
    return rc;
}

static int open_lines(
    struct pc_watch *w, struct lines *l, const char *name, uint64_t step, bool fresh, struct paco_error *err)
{
    struct pc_buf text;
    l->path = pc_path_join(w->dir, name);
    if (!l->path)
        return pc_error_mem(err, strlen(w->dir), "a path");
    pc_buf_init(&text, MAX_LOG);
    int rc = !fresh && pc_path_exists(l->path) ? pc_file_slurp(l->path, MAX_LOG, &text, err) : 0;
    if (rc == 0)
        l->size = measure(w, &text, step);
    pc_buf_release(&text);
    if (rc < 0)
        return rc;
    l->fd = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (l->fd < 0 || ftruncate(l->fd, (off_t)l->size) < 0)
        return fail(l->path, "cannot be written", err);
    return 0;
}

static int add_line(struct lines *l, json_t *line, struct paco_error *err)
{
    struct pc_buf b;
    pc_buf_init(&b, MAX_LINE);
    if (line)
        pc_json_write(&b, line, PC_JSON_COMPACT);
    pc_buf_putc(&b, '\n');
    int rc = line ? pc_buf_check(&b, "a line", err) : pc_error_mem(err, 256, "a line");
    if (rc == 0)
        rc = pc_fd_write(l->fd, l->path, l->size, b.data, b.len, err);
    if (rc == 0)
        l->size += b.len;
    pc_buf_release(&b);
    json_decref(line);
    return rc;
}

/* ---- what the run is ---- */

static json_t *start_now(uint64_t step)
{
    char text[32] = "";
    time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc))
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return json_pack("{s:I, s:s}", "step", (json_int_t)step, "time", text);
}

static int write_about(const struct pc_watch *w, struct paco_error *err)
{
    struct pc_buf b;
    char *path = pc_path_join(w->dir, PC_RUN_ABOUT_NAME);
    pc_buf_init(&b, MAX_ABOUT);
    pc_json_write(&b, w->about, PC_JSON_PRETTY);
    pc_buf_putc(&b, '\n');
    int rc = path ? pc_buf_check(&b, PC_RUN_ABOUT_NAME, err) : pc_error_mem(err, strlen(w->dir), "a path");
    if (rc == 0)
        rc = pc_file_write_atomic(path, b.data, b.len, err);
    pc_buf_release(&b);
    pc_free(path);
    return rc;
}

/* What is known of the run, with this start behind those before it. */
static int begin_about(struct pc_watch *w, const struct pc_watch_options *o, struct paco_error *err)
{
    json_t *before = NULL, *starts = NULL;
    char *path = pc_path_join(w->dir, PC_RUN_ABOUT_NAME);
    if (!path)
        return pc_error_mem(err, strlen(w->dir), "a path");
    // A file that is no longer what it was costs the times of earlier starts, and not the run.
    if (o->step && pc_path_exists(path) && pc_json_read(path, MAX_ABOUT, &before, NULL) == 0)
        starts = json_incref(json_object_get(before, "starts"));
    if (!json_is_array(starts)) {
        json_decref(starts);
        starts = json_array();
    }
    json_decref(before);
    pc_free(path);
    w->about = json_copy((json_t *)(uintptr_t)o->about);
    int bad = json_array_append_new(starts, start_now(o->step));
    bad |= json_object_set_new(w->about, "starts", starts);
    bad |= json_object_set_new(w->about, "finished", json_false());
    return bad ? pc_error_mem(err, 4096, PC_RUN_ABOUT_NAME) : write_about(w, err);
}

/* ---- TensorBoard ---- */

static void remove_events(const char *dir)
{
    char **names = NULL;
    size_t n = 0;
    if (pc_dir_list(dir, &names, &n, NULL) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        char *path = strncmp(names[i], "events.out.tfevents.", 20) == 0 ? pc_path_join(dir, names[i]) : NULL;
        if (path)
            unlink(path);
        pc_free(path);
    }
    pc_names_free(names, n);
}

/* They are for looking at: what goes wrong with them is said, and the run goes on without. */
static void give_up_events(struct pc_watch *w, const struct paco_error *why)
{
    char text[600];
    pc_note(w->notes, "no more event files for TensorBoard: %s", pc_error_format(why, text, sizeof text));
    pc_tensorboard_close(w->events);
    w->events = NULL;
}

static void add_event(struct pc_watch *w, uint64_t step, const struct pc_tensorboard_value *values, size_t n)
{
    struct paco_error why = {0};
    if (w->events && pc_tensorboard_add(w->events, (int64_t)step, values, n, &why) < 0)
        give_up_events(w, &why);
}

static int begin_events(struct pc_watch *w, const struct pc_watch_options *o, struct paco_error *err)
{
    struct paco_error why = {0};
    struct pc_buf text;
    char *dir = pc_path_join(w->dir, PC_WATCH_EVENTS);
    if (!dir)
        return pc_error_mem(err, strlen(w->dir), "a path");
    if (o->step == 0)
        remove_events(dir);
    int rc = pc_tensorboard_open(dir, o->step ? (int64_t)o->step + 1 : 0, &w->events, &why);
    pc_free(dir);
    if (rc < 0) {
        give_up_events(w, &why);
        return 0;
    }
    pc_buf_init(&text, MAX_ABOUT);
    pc_json_write(&text, w->about, PC_JSON_PRETTY);
    char *quoted = text.data ? pc_tensorboard_quote(text.data) : NULL;
    pc_buf_release(&text);
    if (quoted && o->step == 0)
        add_event(w, 0, &(struct pc_tensorboard_value){.tag = "run", .text = quoted}, 1);
    pc_free(quoted);
    return 0;
}

/* ---- life ---- */

int pc_watch_open(const struct pc_watch_options *o, struct pc_watch **out, struct paco_error *err)
{
    struct pc_watch *w = pc_alloc_zero(1, sizeof *w);
    if (!w)
        return pc_error_mem(err, sizeof *w, "the run's files");
    w->evals.fd = w->samples.fd = -1;
    w->notes = o->notes;
    w->dir = pc_strdup(o->dir);
    w->done = json_object();
    int rc = w->dir && w->done ? 0 : pc_error_mem(err, strlen(o->dir), "the run's files");
    if (rc == 0)
        rc = open_lines(w, &w->evals, PC_RUN_EVALS_NAME, o->step, o->step == 0, err);
    if (rc == 0)
        rc = open_lines(w, &w->samples, PC_RUN_SAMPLES_NAME, o->step, o->step == 0, err);
    if (rc == 0)
        rc = begin_about(w, o, err);
    if (rc == 0 && o->events)
        rc = begin_events(w, o, err);
    if (rc < 0)
        return pc_watch_close(w), rc;
    *out = w;
    return 0;
}

/* Files that nothing was written to are no use to anybody. */
static void close_lines(struct lines *l)
{
    if (l->fd >= 0)
        close(l->fd);
    if (l->path && l->fd >= 0 && l->size == 0)
        unlink(l->path);
    pc_free(l->path);
}

void pc_watch_close(struct pc_watch *w)
{
    if (!w)
        return;
    close_lines(&w->evals);
    close_lines(&w->samples);
    pc_tensorboard_close(w->events);
    json_decref(w->about);
    json_decref(w->done);
    pc_free(w->dir);
    pc_free(w);
}

/* ---- what happens ---- */

void pc_watch_step(struct pc_watch *w, const struct pc_train_report *r, uint64_t memory)
{
    const struct pc_tensorboard_value values[] = {{.tag = "train/loss", .scalar = r->loss},
        {.tag = "train/learning_rate", .scalar = r->rate}, {.tag = "train/grad_norm", .scalar = r->norm},
        {.tag = "train/epoch", .scalar = r->epoch},
        {.tag = "speed/tokens_per_s", .scalar = r->seconds > 0 ? (double)r->n_tokens / r->seconds : 0},
        {.tag = "speed/seconds", .scalar = r->seconds},
        {.tag = "memory/peak_gb", .scalar = (double)memory / 1e9}};
    json_object_clear(w->done);
    add_event(w, r->step, values, sizeof values / sizeof *values);
}

bool pc_watch_has_score(const struct pc_watch *w, const char *name)
{
    char key[300];
    snprintf(key, sizeof key, "score %.200s", name);
    return json_object_get(w->done, key) != NULL;
}

bool pc_watch_has_answer(const struct pc_watch *w, size_t prompt)
{
    char key[300];
    snprintf(key, sizeof key, "answer %zu", prompt);
    return json_object_get(w->done, key) != NULL;
}

int pc_watch_score(struct pc_watch *w, uint64_t step, const struct pc_watch_score *s, struct paco_error *err)
{
    char tag[256];
    int rc = add_line(&w->evals,
        json_pack("{s:I, s:s, s:o, s:o, s:I, s:o}", "step", (json_int_t)step, "name", s->name, "value",
            pc_json_number(s->value), "standard_error", pc_json_number(s->standard_error), "n",
            (json_int_t)s->n, "seconds", pc_json_number(s->seconds)),
        err);
    if (rc < 0)
        return rc;
    if (strcmp(s->name, PC_RUN_VALIDATION) == 0)
        snprintf(tag, sizeof tag, "eval/loss");
    else
        snprintf(tag, sizeof tag, "eval/%.200s", s->name);
    add_event(w, step, &(struct pc_tensorboard_value){.tag = tag, .scalar = s->value}, 1);
    return 0;
}

int pc_watch_answer(
    struct pc_watch *w, uint64_t step, const struct pc_watch_answer *a, struct paco_error *err)
{
    struct pc_buf text;
    char tag[64];
    int rc = add_line(&w->samples,
        json_pack("{s:I, s:I, s:o, s:o, s:s, s:I}", "step", (json_int_t)step, "prompt_index",
            (json_int_t)a->prompt, "prompt", json_string_nocheck(a->question), "answer",
            json_string_nocheck(a->answer), "stop", a->stop, "n_output", (json_int_t)a->n_tokens),
        err);
    if (rc < 0 || !w->events)
        return rc;
    char *question = pc_tensorboard_quote(a->question), *answer = pc_tensorboard_quote(a->answer);
    pc_buf_init(&text, MAX_LINE);
    if (question && answer) {
        pc_buf_printf(&text, "%s\n\n---\n\n%s\n", question, answer);
        snprintf(tag, sizeof tag, "samples/%zu", a->prompt);
        if (text.data && !text.failed)
            add_event(w, step, &(struct pc_tensorboard_value){.tag = tag, .text = text.data}, 1);
    }
    pc_buf_release(&text);
    pc_free(question);
    pc_free(answer);
    return 0;
}

int pc_watch_end(struct pc_watch *w, bool finished, struct paco_error *err)
{
    const char *const dirs[] = {w->dir};
    char *path = pc_path_join(w->dir, PC_WATCH_REPORT);
    int rc = path ? 0 : pc_error_mem(err, strlen(w->dir), "a path");
    if (rc == 0 && json_object_set_new(w->about, "finished", json_boolean(finished)) < 0)
        rc = pc_error_mem(err, 64, PC_RUN_ABOUT_NAME);
    if (rc == 0)
        rc = write_about(w, err);
    if (rc == 0)
        rc = pc_train_report(dirs, 1, path, err);
    pc_free(path);
    return rc;
}
