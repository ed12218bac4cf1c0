// SPDX-License-Identifier: Apache-2.0
#include "eval/text_match.h"

#include "base/memory.h"
#include "base/py_text.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 64 << 20 };

/* Lower case without ASCII punctuation: lower-casing makes no punctuation, so the order does not matter. */
static void bare_form(struct pc_buf *out, struct pc_text text)
{
    size_t from = out->len, to = from;
    pc_py_lower(out, text.v, text.len);
    for (size_t i = from; i < out->len; i++)
        if (!pc_py_is_punctuation((unsigned char)out->data[i]))
            out->data[to++] = out->data[i];
    if (to < out->len) {
        out->len = to;
        out->data[to] = '\0';
    }
}

void pc_exact_match_form(struct pc_buf *out, struct pc_text text)
{
    size_t from = out->len;
    bare_form(out, text);
    while (out->len > from && out->data[out->len - 1] == '\0')
        out->len--;
}

static bool equal_bytes(const struct pc_buf *a, const struct pc_buf *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

int pc_exact_match(struct pc_text prediction, struct pc_text reference, bool *equal, struct paco_error *err)
{
    struct pc_buf a, b;
    pc_buf_init(&a, MAX_TEXT);
    pc_buf_init(&b, MAX_TEXT);
    pc_exact_match_form(&a, prediction);
    pc_exact_match_form(&b, reference);
    int rc = pc_buf_check(&a, "a prediction", err);
    if (rc == 0)
        rc = pc_buf_check(&b, "an expected answer", err);
    if (rc == 0)
        *equal = equal_bytes(&a, &b);
    pc_buf_release(&a);
    pc_buf_release(&b);
    return rc;
}

static bool is_article(const char *s, size_t len)
{
    return (len == 1 && *s == 'a') || (len == 2 && memcmp(s, "an", 2) == 0) ||
           (len == 3 && memcmp(s, "the", 3) == 0);
}

/* The pattern \b(a|an|the)\b, replaced by a space: a whole run of word characters that is an article. */
static void drop_articles(struct pc_buf *out, const char *s, size_t len)
{
    while (len > 0) {
        const char *start = s, *rest = s;
        size_t n_rest = len;
        bool word = pc_py_is_word(pc_py_take(&rest, &n_rest));
        do {
            s = rest;
            len = n_rest;
        } while (word && len > 0 && pc_py_is_word(pc_py_take(&rest, &n_rest)));
        if (word && is_article(start, (size_t)(s - start)))
            pc_buf_putc(out, ' ');
        else
            pc_buf_add(out, start, (size_t)(s - start));
    }
}

void pc_squad_form(struct pc_buf *out, struct pc_text text)
{
    struct pc_buf bare, words;
    pc_buf_init(&bare, MAX_TEXT);
    pc_buf_init(&words, MAX_TEXT);
    bare_form(&bare, text);
    drop_articles(&words, bare.data, bare.len);
    const char *s = words.data, *field;
    size_t len = words.len, n, from = out->len;
    while (pc_py_next_field(&s, &len, &field, &n)) {
        if (out->len > from)
            pc_buf_putc(out, ' ');
        pc_buf_add(out, field, n);
    }
    out->failed |= bare.failed || words.failed;
    pc_buf_release(&bare);
    pc_buf_release(&words);
}

/* The words of a normal form, sorted. */
struct words {
    struct pc_buf form;
    struct pc_text *v; /* views into form */
    size_t n;
};

static int by_bytes(const void *pa, const void *pb)
{
    const struct pc_text *a = pa, *b = pb;
    int d = memcmp(a->v, b->v, a->len < b->len ? a->len : b->len);
    return d ? d : (a->len > b->len) - (a->len < b->len);
}

static int words_open(struct words *w, struct pc_text text, struct paco_error *err)
{
    *w = (struct words){0};
    pc_buf_init(&w->form, MAX_TEXT);
    pc_squad_form(&w->form, text);
    int rc = pc_buf_check(&w->form, "an answer's normal form", err);
    if (rc < 0)
        return rc;
    size_t room = w->form.len / 2 + 1;
    w->v = pc_alloc(room, sizeof *w->v);
    if (!w->v)
        return pc_error_mem(err, room * sizeof *w->v, "an answer's words");
    const char *s = w->form.data;
    size_t len = w->form.len;
    struct pc_text field;
    while (pc_py_next_field(&s, &len, &field.v, &field.len))
        w->v[w->n++] = field;
    qsort(w->v, w->n, sizeof *w->v, by_bytes);
    return 0;
}

static void words_close(struct words *w)
{
    pc_free(w->v);
    pc_buf_release(&w->form);
}

static double f1_of(const struct words *a, const struct words *b)
{
    size_t same = 0;
    for (size_t i = 0, j = 0; i < a->n && j < b->n;) {
        int d = by_bytes(&a->v[i], &b->v[j]);
        same += d == 0;
        i += d <= 0;
        j += d >= 0;
    }
    if (same == 0)
        return 0;
    double precision = (double)same / (double)a->n, recall = (double)same / (double)b->n;
    return 2 * precision * recall / (precision + recall);
}

int pc_squad_score(struct pc_text prediction, const struct pc_text *answers, size_t n, double *exact,
    double *f1, struct paco_error *err)
{
    struct words p, a;
    double best_exact = 0, best_f1 = 0;
    int rc = words_open(&p, prediction, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        rc = words_open(&a, answers[i], err);
        if (rc == 0) {
            double f = f1_of(&p, &a);
            best_f1 = f > best_f1 ? f : best_f1;
            if (equal_bytes(&p.form, &a.form))
                best_exact = 1;
        }
        words_close(&a);
    }
    words_close(&p);
    if (rc == 0) {
        *exact = best_exact;
        *f1 = best_f1;
    }
    return rc;
}
