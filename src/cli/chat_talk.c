// SPDX-License-Identifier: Apache-2.0
#include "cli/chat_talk.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/out_file.h"

#include <string.h>

enum { MAX_FILE = 256 << 20 };

void pc_talk_release(struct pc_talk *t)
{
    while (t->n)
        pc_talk_pop(t);
    pc_free(t->v);
    *t = (struct pc_talk){0};
}

int pc_talk_add(struct pc_talk *t, const char *role, const char *text, size_t len, struct paco_error *err)
{
    char *content = pc_strndup(text, len);
    if (!content)
        return pc_error_mem(err, len, "a message");
    if (pc_grow(&t->v, &t->capacity, t->n, sizeof *t->v, "messages", err) < 0) {
        pc_free(content);
        return PACO_EMEM;
    }
    t->v[t->n++] = (struct pc_message){role, content};
    return 0;
}

/* What pc_talk_add made is the talk's own. */
static void free_content(struct pc_message *m)
{
    char *own;
    memcpy(&own, &m->content, sizeof own);
    pc_free(own);
}

void pc_talk_pop(struct pc_talk *t)
{
    free_content(&t->v[--t->n]);
}

const char *pc_talk_system(const struct pc_talk *t)
{
    return t->n && strcmp(t->v[0].role, "system") == 0 ? t->v[0].content : NULL;
}

int pc_talk_set_system(struct pc_talk *t, const char *text, struct paco_error *err)
{
    bool had = pc_talk_system(t) != NULL;
    struct pc_message first = {"system", NULL};
    if (text) {
        int rc = pc_talk_add(t, "system", text, strlen(text), err); // at the end, for its room
        if (rc < 0)
            return rc;
        first = t->v[--t->n];
    }
    if (had) {
        free_content(&t->v[0]);
        memmove(t->v, t->v + 1, --t->n * sizeof *t->v);
    }
    if (text) {
        memmove(t->v + 1, t->v, t->n++ * sizeof *t->v);
        t->v[0] = first;
    }
    return 0;
}

bool pc_talk_ends_with(const struct pc_talk *t, const char *role)
{
    return t->n && strcmp(t->v[t->n - 1].role, role) == 0;
}

size_t pc_talk_n_said(const struct pc_talk *t)
{
    return t->n - (pc_talk_system(t) != NULL);
}

bool pc_talk_undo(struct pc_talk *t)
{
    size_t n = t->n;
    if (pc_talk_ends_with(t, "assistant"))
        pc_talk_pop(t);
    if (pc_talk_ends_with(t, "user"))
        pc_talk_pop(t);
    return t->n < n;
}

void pc_talk_clear(struct pc_talk *t)
{
    while (pc_talk_n_said(t))
        pc_talk_pop(t);
}

int pc_talk_save(const struct pc_talk *t, const char *path, bool force, struct paco_error *err)
{
    struct pc_out_file f = {.fd = -1};
    json_t *list = json_array(), *root = json_object();
    for (size_t i = 0; i < t->n; i++) {
        json_t *m = json_object();
        json_object_set_new(m, "role", json_string(t->v[i].role));
        json_object_set_new(m, "content", json_string_nocheck(t->v[i].content));
        json_array_append_new(list, m);
    }
    json_object_set_new(root, "messages", list);
    int rc = pc_out_file_open(&f, path, force, err);
    if (rc == 0) {
        pc_json_write(&f.buf, root, PC_JSON_COMPACT);
        pc_buf_putc(&f.buf, '\n');
        rc = pc_out_file_commit(&f, err);
    }
    pc_out_file_close(&f);
    json_decref(root);
    return rc;
}

static const char *known_role(const char *role)
{
    static const char *const roles[] = {"system", "user", "assistant"};
    for (size_t i = 0; i < 3; i++)
        if (strcmp(role, roles[i]) == 0)
            return roles[i];
    return NULL;
}

static int add_message(struct pc_talk *t, const json_t *m, struct paco_error *err)
{
    const char *role = "", *content = "", *known;
    char shown[64];
    if (!json_is_object(m))
        return pc_error_set(err, PACO_EFORMAT, "is %s", pc_json_kind(m));
    int rc = pc_json_get_str(m, "role", &role, err);
    if (rc == 0)
        rc = pc_json_get_str(m, "content", &content, err);
    if (rc < 0)
        return rc;
    known = known_role(role);
    if (!known || (t->n > 0 && strcmp(known, "system") == 0))
        return pc_error_set(err, PACO_EFORMAT, "has the role '%s'%s", pc_printable(role, shown, sizeof shown),
            known ? ", which stands at the beginning" : "; system, user and assistant are known");
    return pc_talk_add(t, known, content, strlen(content), err);
}

int pc_talk_load(struct pc_talk *t, const char *path, struct paco_error *err)
{
    struct pc_talk read = {0};
    json_t *root = NULL;
    int rc = pc_json_read(path, MAX_FILE, &root, err);
    const json_t *list = json_object_get(root, "messages");
    if (rc == 0 && !json_is_array(list))
        rc = pc_error_set(err, PACO_EFORMAT, "holds no list 'messages'");
    for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) {
        rc = add_message(&read, json_array_get(list, i), err);
        if (rc < 0)
            pc_error_prefix(err, "message %zu", i);
    }
    json_decref(root);
    if (rc < 0) {
        pc_talk_release(&read);
        pc_error_path(err, path);
        return rc;
    }
    pc_talk_release(t);
    *t = read;
    return 0;
}
