// SPDX-License-Identifier: Apache-2.0
/* A state is what matters of the digits so far: how many there are, how they compare to each bound, and the
 * rest that division by the step leaves. Bounds compare magnitudes: for negative numbers they change places.
 */
#include "engine/number_range.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_WHOLE = 16, MAX_DIGITS = 15, MAX_STEP = 1000 };

enum phase { START, MINUS, ZERO, WHOLE, POINT, FRACTION };
enum order { LESS, EQUAL, MORE };

struct at {
    uint8_t phase, negative;
    uint8_t n_whole, n_fraction;
    uint8_t least, most; /* enum order: the digits so far to as many of the bound's */
    uint16_t rest;
};

/* A bound of magnitudes. */
struct bound {
    const struct pc_decimal *d; /* NULL: none */
    bool open;
};

struct sign {
    bool possible;
    struct bound least, most;
};

struct maker {
    struct sign signs[2]; /* of positive and of negative numbers */
    bool whole;
    uint32_t step, n_step_fraction; /* numbers are multiples of step / 10^n_step_fraction */
    struct pc_interner seen;
    struct pc_automaton *out;
    uint64_t *work;
    struct paco_error *err;
};

/* ---- decimals ---- */

int pc_decimal_of(struct pc_decimal *d, const json_t *v, struct paco_error *err)
{
    struct pc_buf b;
    char all[PC_DECIMAL_DIGITS * 2];
    size_t n = 0, point = 0, zeros = 0;
    bool has_point = false;
    *d = (struct pc_decimal){.n = 0};
    pc_buf_init(&b, PC_DECIMAL_DIGITS);
    if (json_is_integer(v))
        pc_buf_printf(&b, "%lld", (long long)json_integer_value(v));
    else
        pc_json_write_double(&b, json_real_value(v));
    int rc = pc_buf_check(&b, "a number", err);
    const char *s = rc == 0 ? b.data : "0";
    d->negative = *s == '-';
    for (s += d->negative; *s && *s != 'e'; s++) {
        if (*s == '.')
            has_point = true;
        else
            all[n++] = *s;
        point += *s != '.' && !has_point;
    }
    long exponent = *s == 'e' ? strtol(s + 1, NULL, 10) : 0;
    long whole = (long)point + exponent; /* digits before the point; negative: zeros behind it */
    pc_buf_release(&b);
    while (zeros < n && all[zeros] == '0')
        zeros++;
    for (long i = whole < (long)zeros ? whole : (long)zeros; d->n < PC_DECIMAL_DIGITS; i++) {
        bool there = i >= 0 && i < (long)n;
        if (i >= whole && i >= (long)n)
            break;
        d->digits[d->n++] = there ? (uint8_t)(all[i] - '0') : 0;
        d->n_whole += i < whole;
    }
    while (d->n > d->n_whole && d->digits[d->n - 1] == 0)
        d->n--;
    if (d->n == 0)
        d->negative = false;
    return rc;
}

static int compare_magnitudes(const struct pc_decimal *a, const struct pc_decimal *b)
{
    if (a->n_whole != b->n_whole)
        return a->n_whole < b->n_whole ? -1 : 1;
    for (size_t i = 0; i < a->n || i < b->n; i++) {
        int x = i < a->n ? a->digits[i] : 0, y = i < b->n ? b->digits[i] : 0;
        if (x != y)
            return x < y ? -1 : 1;
    }
    return 0;
}

int pc_decimal_compare(const struct pc_decimal *a, const struct pc_decimal *b)
{
    if (a->negative != b->negative)
        return a->negative ? -1 : 1;
    int order = compare_magnitudes(a, b);
    return a->negative ? -order : order;
}

/* ---- digits ---- */

/* How digits that were `was` to the bound's are, with another as digit i of the bound. */
static uint8_t next_order(uint8_t was, const struct pc_decimal *d, size_t i, uint32_t digit)
{
    uint32_t other = d && i < d->n ? d->digits[i] : 0;
    return was != EQUAL || !d ? was : digit < other ? LESS : digit > other ? MORE : EQUAL;
}

/* Before the point, where the number of digits counts first. n: how many there are in all. */
static uint8_t whole_order(uint8_t so_far, const struct pc_decimal *d, uint32_t n)
{
    return !d || n == d->n_whole ? so_far : n < d->n_whole ? LESS : MORE;
}

/* As a whole: what is missing of the fraction are zeros. */
static uint8_t last_order(const struct at *at, uint8_t order, const struct pc_decimal *d)
{
    size_t i = (size_t)d->n_whole + at->n_fraction;
    return order == EQUAL && i < d->n ? LESS : order; // the bound's last digit is not 0
}

static bool fits(uint8_t order, const struct bound *b, uint8_t wrong)
{
    return !b->d || (order != wrong && !(order == EQUAL && b->open));
}

static bool is_step(const struct maker *m, const struct at *at)
{
    uint64_t rest = at->rest;
    if (m->step == 0)
        return true;
    for (uint32_t i = at->n_fraction; i < m->n_step_fraction; i++)
        rest = rest * 10 % m->step;
    return rest == 0;
}

/* Orders of the whole part are settled when it ends. */
static void settle(const struct maker *m, struct at *at)
{
    const struct sign *s = &m->signs[at->negative];
    at->least = whole_order(at->least, s->least.d, at->n_whole);
    at->most = whole_order(at->most, s->most.d, at->n_whole);
}

static bool accepts(const struct maker *m, struct at at)
{
    const struct sign *s = &m->signs[at.negative];
    if (at.phase == START || at.phase == MINUS || at.phase == POINT || !is_step(m, &at))
        return false;
    if (at.phase != FRACTION)
        settle(m, &at);
    return fits(s->least.d ? last_order(&at, at.least, s->least.d) : EQUAL, &s->least, LESS) &&
           fits(s->most.d ? last_order(&at, at.most, s->most.d) : EQUAL, &s->most, MORE);
}

static bool may_have_digit(const struct maker *m, const struct at *at)
{
    switch (at->phase) {
    case START: return m->signs[0].possible;
    case WHOLE: return at->n_whole < MAX_WHOLE;
    case POINT:
    case FRACTION:
        return at->n_whole + at->n_fraction < MAX_DIGITS &&
               (m->step == 0 || at->n_fraction < m->n_step_fraction);
    default: return at->phase == MINUS;
    }
}

static struct at with_digit(const struct maker *m, struct at at, uint32_t digit)
{
    const struct sign *s = &m->signs[at.negative];
    bool fraction = at.phase == POINT || at.phase == FRACTION;
    if (at.phase == START || at.phase == MINUS)
        at.phase = digit ? WHOLE : ZERO;
    if (m->step)
        at.rest = (uint16_t)((at.rest * 10u + digit) % m->step);
    if (at.phase == ZERO)
        return at;
    if (fraction)
        at.phase = FRACTION;
    size_t in_least = at.n_whole, in_most = at.n_whole;
    if (fraction) {
        in_least = s->least.d ? (size_t)s->least.d->n_whole + at.n_fraction : 0;
        in_most = s->most.d ? (size_t)s->most.d->n_whole + at.n_fraction : 0;
    }
    at.least = next_order(at.least, s->least.d, in_least, digit);
    at.most = next_order(at.most, s->most.d, in_most, digit);
    at.n_whole += !fraction;
    at.n_fraction += fraction;
    return at;
}

/* Two states that allow the same shall be one. */
static void forget(const struct maker *m, struct at *at)
{
    const struct sign *s = &m->signs[at->negative];
    if (at->phase == WHOLE && s->least.d && at->n_whole > s->least.d->n_whole)
        at->least = MORE;
    if (!s->least.d)
        at->least = EQUAL;
    if (!s->most.d)
        at->most = EQUAL;
    bool settled = (!s->least.d || at->least == MORE) && (!s->most.d || at->most == LESS);
    if ((at->phase == POINT || at->phase == FRACTION) && settled && m->step == 0) {
        at->n_fraction += at->n_whole; // only their sum counts
        at->n_whole = 0;
    }
}

static int add_edge(struct maker *m, uint32_t c, struct at to)
{
    const struct sign *s = &m->signs[to.negative];
    uint32_t number;
    if ((to.phase == FRACTION || to.phase == POINT) &&
        ((s->least.d && to.least == LESS) || (s->most.d && to.most == MORE)))
        return 0;
    if (to.phase == WHOLE && s->most.d && to.n_whole > s->most.d->n_whole)
        return 0;
    forget(m, &to);
    int rc = pc_intern(&m->seen, &to, sizeof to, &number, m->err);
    return rc < 0 ? rc : pc_automaton_add_edge(m->out, c, c, number, m->err);
}

static int add_state(struct maker *m, struct at at)
{
    int rc = pc_automaton_count(m->work, 16, m->err);
    if (rc == 0)
        rc = pc_automaton_add_state(m->out, accepts(m, at), m->err);
    if (rc == 0 && at.phase == START && m->signs[1].possible)
        rc = add_edge(m, '-', (struct at){.phase = MINUS, .negative = 1, .least = EQUAL, .most = EQUAL});
    bool fractions = !m->whole && (m->step == 0 || m->n_step_fraction > 0);
    if (rc == 0 && fractions && (at.phase == ZERO || (at.phase == WHOLE && at.n_whole < MAX_DIGITS))) {
        struct at to = at;
        settle(m, &to);
        to.phase = POINT;
        rc = add_edge(m, '.', to);
    }
    for (uint32_t d = 0; rc == 0 && may_have_digit(m, &at) && d < 10; d++)
        rc = add_edge(m, '0' + d, with_digit(m, at, d));
    return rc;
}

/* ---- the range ---- */

static void find_signs(struct maker *m, const struct pc_number_range *r)
{
    struct sign *positive = &m->signs[0], *negative = &m->signs[1];
    const struct pc_decimal *least = r->least, *most = r->most;
    bool most_is_zero = most && most->n == 0, least_is_zero = least && least->n == 0;
    positive->possible = !most || (!most->negative && !(most_is_zero && r->below_most));
    negative->possible = !least || least->negative;
    if (least && !least->negative && (!least_is_zero || r->above_least))
        positive->least = (struct bound){least, r->above_least};
    if (most && !most->negative)
        positive->most = (struct bound){most, r->below_most};
    if (most && (most->negative || (most_is_zero && r->below_most)))
        negative->least = (struct bound){most, r->below_most};
    if (least && least->negative)
        negative->most = (struct bound){least, r->above_least};
}

static int find_step(struct maker *m, const struct pc_decimal *step)
{
    uint32_t x = 0;
    if (!step)
        return 0;
    for (size_t i = 0; i < step->n; i++)
        x = x > MAX_STEP ? x : x * 10 + step->digits[i];
    if (x == 0 || x > MAX_STEP || step->n - step->n_whole > MAX_DIGITS)
        return pc_error_set(
            m->err, PACO_ELIMIT, "its digits must be a number from 1 to %d, wherever its point is", MAX_STEP);
    m->step = x;
    m->n_step_fraction = (uint32_t)(step->n - step->n_whole);
    return 0;
}

int pc_number_automaton(
    const struct pc_number_range *range, uint64_t *work, struct pc_automaton *out, struct paco_error *err)
{
    struct maker m = {.whole = range->whole, .out = out, .work = work, .err = err};
    struct at at = {.phase = START, .least = EQUAL, .most = EQUAL};
    uint32_t number;
    find_signs(&m, range);
    int rc = find_step(&m, range->step);
    if (rc == 0)
        rc = pc_intern(&m.seen, &at, sizeof at, &number, err);
    for (size_t i = 0; rc == 0 && i < m.seen.n; i++) {
        memcpy(&at, m.seen.bytes + i * sizeof at, sizeof at);
        rc = add_state(&m, at);
    }
    pc_interner_release(&m.seen);
    return rc < 0 ? rc : pc_automaton_trim(out, err);
}
