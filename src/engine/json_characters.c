// SPDX-License-Identifier: Apache-2.0
/* Automata as rules: one for each state, whose alternatives are the characters that lead on from there and
 * the state they lead to, called last, so that no stack grows. Characters that several edges have are one
 * rule for all of them. */
#include "base/memory.h"
#include "engine/json_form.h"

#include <string.h>

static struct pc_byte_set none(void)
{
    return (struct pc_byte_set){{0}};
}

static void add_byte(struct pc_byte_set *set, unsigned byte)
{
    set->bits[byte >> 6] |= (uint64_t)1 << (byte & 63);
}

static bool is_empty(const struct pc_byte_set *set)
{
    return !(set->bits[0] | set->bits[1] | set->bits[2] | set->bits[3]);
}

static void put_range(struct pc_json_form *f, uint32_t rule, unsigned first, unsigned last)
{
    struct pc_byte_set set = none();
    for (unsigned i = first; i <= last; i++)
        add_byte(&set, i);
    pc_grammar_bytes(f->b, rule, set);
}

/* ---- characters of several bytes ---- */

static unsigned byte_of(uint32_t c, unsigned n, unsigned i)
{
    static const unsigned lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    uint32_t bits = c >> 6 * (n - 1 - i);
    return i == 0 ? lead[n] | bits : 0x80 | (bits & 63);
}

/* first to last have n bytes each. Cut where bytes behind the one that changes would not take all values. */
static void put_wide(struct pc_json_form *f, uint32_t rule, uint32_t first, uint32_t last, unsigned n)
{
    for (unsigned i = 1; i < n; i++) {
        uint32_t mask = ((uint32_t)1 << 6 * i) - 1;
        if ((first & ~mask) == (last & ~mask))
            continue;
        if (first & mask) {
            put_wide(f, rule, first, first | mask, n);
            put_wide(f, rule, (first | mask) + 1, last, n);
            return;
        }
        if ((last & mask) != mask) {
            put_wide(f, rule, first, (last & ~mask) - 1, n);
            put_wide(f, rule, last & ~mask, last, n);
            return;
        }
    }
    for (unsigned i = 0; i < n; i++)
        put_range(f, rule, byte_of(first, n, i), byte_of(last, n, i));
    pc_grammar_end(f->b, rule);
}

/* Characters beyond ASCII, without surrogates, which UTF-8 has not. */
static void put_beyond(struct pc_json_form *f, uint32_t rule, uint32_t first, uint32_t last)
{
    static const struct {
        uint32_t first, last;
        unsigned n;
    } parts[] = {{0x80, 0x7ff, 2}, {0x800, 0xd7ff, 3}, {0xe000, 0xffff, 3}, {0x10000, PC_LAST_CODE_POINT, 4}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        uint32_t from = first > parts[i].first ? first : parts[i].first,
                 to = last < parts[i].last ? last : parts[i].last;
        if (from <= to)
            put_wide(f, rule, from, to, parts[i].n);
    }
}

/* ---- sets ---- */

struct range {
    uint32_t first, last;
};

/* What of a set are bytes as they are, and what are escapes. */
struct ascii {
    struct pc_byte_set plain, escapes,
        controls[2]; /* controls: their last hexadecimal digit, behind \u000 and \u001 */
};

static void put_ascii(struct ascii *a, uint32_t c, bool quoted)
{
    static const char meant[] = "\"\\\b\f\n\r\t", written[] = "\"\\bfnrt";
    const char *known = c ? strchr(meant, (int)c) : NULL;
    if (!quoted || (c >= 0x20 && !known)) {
        add_byte(&a->plain, c);
    } else if (known) {
        add_byte(&a->escapes, (uint8_t)written[known - meant]);
    } else {
        add_byte(&a->controls[c >> 4], (uint8_t) "0123456789abcdef"[c & 15]);
        add_byte(&a->controls[c >> 4], (uint8_t) "0123456789ABCDEF"[c & 15]);
    }
}

static void put_set(struct pc_json_form *f, uint32_t rule, const struct range *r, size_t n, bool quoted)
{
    struct ascii a = {none(), none(), {none(), none()}};
    for (size_t i = 0; i < n; i++) {
        for (uint32_t c = r[i].first; c <= r[i].last && c < 0x80; c++)
            put_ascii(&a, c, quoted);
        if (r[i].last >= 0x80)
            put_beyond(f, rule, r[i].first, r[i].last);
    }
    if (!is_empty(&a.plain)) {
        pc_grammar_bytes(f->b, rule, a.plain);
        pc_grammar_end(f->b, rule);
    }
    if (!is_empty(&a.escapes)) {
        pc_json_form_text(f, rule, "\\");
        pc_grammar_bytes(f->b, rule, a.escapes);
        pc_grammar_end(f->b, rule);
    }
    for (int i = 0; i < 2; i++)
        if (!is_empty(&a.controls[i])) {
            pc_json_form_text(f, rule, i ? "\\u001" : "\\u000");
            pc_grammar_bytes(f->b, rule, a.controls[i]);
            pc_grammar_end(f->b, rule);
        }
}

/* The rule of a set, made when it is first met. The key is its ranges, and one more for whether it stands in
 * quotes. */
static int rule_of(
    struct pc_json_form *f, const struct range *r, size_t n, uint32_t *rule, struct paco_error *err)
{
    size_t known = f->sets.n;
    uint32_t number;
    int rc = pc_grow(&f->set_rules, &f->set_rules_capacity, known, sizeof *f->set_rules, "characters", err);
    if (rc == 0)
        rc = pc_intern(&f->sets, r, n * sizeof *r, &number, err);
    if (rc == 0 && number == known) {
        f->set_rules[number] = pc_grammar_rule(f->b);
        put_set(f, f->set_rules[number], r, n - 1, r[n - 1].first != 0);
    }
    if (rc == 0)
        *rule = f->set_rules[number];
    return rc;
}

/* ---- states ---- */

enum { LONGEST_RUN = PC_FOLLOWER_DEPTH }; /* no token is longer */

struct states {
    struct pc_json_form *f;
    const struct pc_automaton *a;
    bool quoted;
    uint32_t *rules;     /* (n_states) */
    uint32_t *runs;      /* (n_states) plain characters that may come, whichever, up to LONGEST_RUN */
    struct range *chars; /* as many as a state may have edges, and one */
    struct paco_error *err;
};

static bool is_all(const struct range *r, size_t n)
{
    return n == 1 && r->first == 0 && r->last == PC_LAST_CODE_POINT;
}

/* Bytes that need no escape and no rule of their own. */
static bool is_plain(const struct range *r, size_t n, struct pc_byte_set *set)
{
    *set = none();
    for (size_t i = 0; i < n; i++)
        for (uint32_t c = r[i].first; c <= r[i].last; c++) {
            if (c < 0x20 || c > 0x7e || c == '"' || c == '\\')
                return false;
            add_byte(set, c);
        }
    return true;
}

/* Whether every plain character (pc_follower_free_run) is among ascending ranges. */
static bool covers_plain(const struct range *r, size_t n)
{
    static const struct range plain[] = {
        {0x20, 0x21}, {0x23, 0x5b}, {0x5d, 0x2027}, {0x202a, 0xd7ff}, {0xe000, PC_LAST_CODE_POINT}};
    size_t i = 0;
    for (size_t k = 0; k < sizeof plain / sizeof *plain; k++) {
        uint32_t next = plain[k].first;
        while (i < n && r[i].last < next)
            i++;
        while (i < n && r[i].first <= next && r[i].last < plain[k].last)
            next = r[i++].last + 1;
        if (i == n || r[i].first > next)
            return false;
    }
    return true;
}

/* The edges of state i that lead where edge k does, of k and those behind it, as s->chars. */
static size_t collect_chars(struct states *s, const struct pc_auto_edge *edges, uint32_t n_edges, uint32_t k)
{
    size_t n = 0;
    for (uint32_t j = k; j < n_edges; j++)
        if (edges[j].to == edges[k].to)
            s->chars[n++] = (struct range){edges[j].first, edges[j].last};
    return n;
}

/* The state that all plain characters lead to from state i; UINT32_MAX: there is none. */
static uint32_t plain_target(struct states *s, uint32_t i)
{
    const struct pc_auto_state *state = &s->a->states[i];
    const struct pc_auto_edge *edges = state->n_edges ? s->a->edges + state->edge : NULL;
    for (uint32_t k = 0; k < state->n_edges; k++)
        if (edges[k].first <= 'z' && edges[k].last >= 'z') {
            uint32_t first = k;
            for (uint32_t j = k; j-- > 0;)
                first = edges[j].to == edges[k].to ? j : first;
            bool all = covers_plain(s->chars, collect_chars(s, edges, state->n_edges, first));
            return all ? edges[k].to : UINT32_MAX;
        }
    return UINT32_MAX;
}

/* From LONGEST_RUN downwards: states that are n characters before one that is not free have come down to n
 * after n rounds. */
static int find_runs(struct states *s)
{
    size_t n = s->a->n_states;
    uint32_t *target = pc_alloc(n, sizeof *target);
    if (!target)
        return pc_error_mem(s->err, n * sizeof *target, "an automaton's rules");
    for (uint32_t i = 0; i < n; i++) {
        target[i] = plain_target(s, i);
        s->runs[i] = target[i] == UINT32_MAX ? 0 : LONGEST_RUN;
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = n; i-- > 0;) {
            uint32_t run = target[i] == UINT32_MAX ? 0 : 1 + s->runs[target[i]];
            if (run < s->runs[i]) {
                s->runs[i] = run;
                changed = true;
            }
        }
    }
    pc_free(target);
    return 0;
}

static int put_edges(struct states *s, uint32_t rule, size_t n, uint32_t to)
{
    struct pc_json_form *f = s->f;
    struct pc_byte_set set;
    uint32_t called = 0;
    size_t n_chars = n;
    if (is_plain(s->chars, n, &set)) {
        pc_grammar_bytes(f->b, rule, set);
    } else if (s->quoted && is_all(s->chars, n)) {
        pc_grammar_call(f->b, rule, f->character);
    } else {
        s->chars[n] = (struct range){s->quoted, 0};
        int rc = rule_of(f, s->chars, n + 1, &called, s->err);
        if (rc < 0)
            return rc;
        pc_grammar_call(f->b, rule, called);
    }
    if (covers_plain(s->chars, n_chars))
        pc_grammar_call_behind(f->b, rule, s->rules[to], 1 + s->runs[to]);
    else
        pc_grammar_call(f->b, rule, s->rules[to]);
    pc_grammar_end(f->b, rule);
    return 0;
}

static void put_end(struct states *s, uint32_t rule)
{
    if (s->quoted)
        pc_json_form_text(s->f, rule, "\"");
    pc_grammar_end(s->f->b, rule);
}

static int put_state(struct states *s, uint32_t i)
{
    const struct pc_auto_state *state = &s->a->states[i];
    const struct pc_auto_edge *edges = state->n_edges ? s->a->edges + state->edge : NULL;
    uint32_t rule = s->rules[i];
    if (s->quoted && state->accepts && state->n_edges == 1 && edges->to == i && edges->first == 0 &&
        edges->last == PC_LAST_CODE_POINT) { // anything: said so that it is known to be free
        pc_grammar_repeat(s->f->b, rule, s->f->character, 0, UINT32_MAX);
        put_end(s, rule);
        return 0;
    }
    if (state->accepts)
        put_end(s, rule);
    for (uint32_t k = 0; k < state->n_edges; k++) {
        size_t n = 0;
        bool done = false;
        for (uint32_t j = 0; j < k && !done; j++)
            done = edges[j].to == edges[k].to;
        if (!done)
            n = collect_chars(s, edges, state->n_edges, k);
        int rc = done ? 0 : put_edges(s, rule, n, edges[k].to);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int pc_json_form_automaton(
    struct pc_json_form *f, const struct pc_automaton *a, bool quoted, uint32_t *rule, struct paco_error *err)
{
    struct states s = {.f = f, .a = a, .quoted = quoted, .err = err};
    uint32_t most = 0;
    *rule = pc_grammar_rule(f->b); // without alternatives, where nothing is allowed
    for (size_t i = 0; i < a->n_states; i++)
        most = a->states[i].n_edges > most ? a->states[i].n_edges : most;
    s.rules = pc_alloc(a->n_states, sizeof *s.rules);
    s.runs = pc_alloc(a->n_states, sizeof *s.runs);
    s.chars = pc_alloc((size_t)most + 1, sizeof *s.chars);
    int rc = s.rules && s.runs && s.chars
                 ? 0
                 : pc_error_mem(err, a->n_states * sizeof *s.rules, "an automaton's rules");
    if (rc == 0)
        rc = find_runs(&s);
    for (size_t i = 0; rc == 0 && i < a->n_states; i++)
        s.rules[i] = pc_grammar_rule(f->b);
    for (uint32_t i = 0; rc == 0 && i < a->n_states; i++)
        rc = put_state(&s, i);
    if (rc == 0 && a->n_states > 0) {
        if (quoted)
            pc_json_form_text(f, *rule, "\"");
        pc_json_form_end_with(f, *rule, s.rules[0]);
    }
    pc_free(s.rules);
    pc_free(s.runs);
    pc_free(s.chars);
    return rc;
}
