// SPDX-License-Identifier: Apache-2.0
#include "train/schedule.h"

#include "base/memory.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static const double POLYNOMIAL_END = 1e-7;

bool pc_schedule_parse(const char *name, enum pc_schedule_type *out)
{
    static const char *const names[PC_N_SCHEDULES] = {[PC_SCHEDULE_LINEAR] = "linear",
        [PC_SCHEDULE_COSINE] = "cosine",
        [PC_SCHEDULE_COSINE_WITH_RESTARTS] = "cosine_with_restarts",
        [PC_SCHEDULE_POLYNOMIAL] = "polynomial",
        [PC_SCHEDULE_CONSTANT] = "constant",
        [PC_SCHEDULE_CONSTANT_WITH_WARMUP] = "constant_with_warmup"};
    for (int i = 0; i < PC_N_SCHEDULES; i++)
        if (strcmp(name, names[i]) == 0)
            return *out = (enum pc_schedule_type)i, true;
    return false;
}

static uint64_t ceil_div(uint64_t a, uint64_t b)
{
    assert(b);
    return a / b + (a % b != 0);
}

int pc_course_plan(uint64_t n_examples, uint64_t batch, uint64_t accumulation, uint64_t n_epochs,
    uint64_t max_updates, struct pc_course *out, struct paco_error *err)
{
    const uint64_t most = UINT64_C(1) << 53; /* what a double counts */
    assert(n_examples && batch && accumulation && n_epochs);
    struct pc_course c = {.n_examples = n_examples, .batch = batch, .accumulation = accumulation};
    c.updates_per_epoch = ceil_div(ceil_div(n_examples, batch), accumulation);
    c.n_updates = max_updates;
    if (!max_updates && !pc_mul_u64(c.updates_per_epoch, n_epochs, &c.n_updates))
        c.n_updates = UINT64_MAX;
    if (c.n_updates > most)
        return pc_error_set(err, PACO_ELIMIT, "%llu epochs of %llu steps are more than can be counted",
            (unsigned long long)n_epochs, (unsigned long long)c.updates_per_epoch);
    c.n_epochs = ceil_div(c.n_updates, c.updates_per_epoch);
    *out = c;
    return 0;
}

void pc_course_update(const struct pc_course *c, uint64_t k, uint64_t *epoch, uint64_t *first, uint64_t *n)
{
    uint64_t most; /* examples of an update */
    if (!pc_mul_u64(c->batch, c->accumulation, &most) || most > c->n_examples)
        most = c->n_examples;
    *epoch = k / c->updates_per_epoch;
    *first = k % c->updates_per_epoch * most;
    *n = c->n_examples - *first < most ? c->n_examples - *first : most;
}

int pc_schedule_make(enum pc_schedule_type type, double rate, double warmup_ratio, uint64_t n_ticks,
    uint64_t per_update, struct pc_schedule *out, struct paco_error *err)
{
    if (type == PC_SCHEDULE_POLYNOMIAL && !(rate > POLYNOMIAL_END))
        return pc_error_set(err, PACO_EINVAL,
            "a polynomial schedule ends at 1e-7, and the learning rate of %g is not above that", rate);
    *out = (struct pc_schedule){.type = type,
        .rate = rate,
        .total = n_ticks,
        .warmup = (uint64_t)((double)n_ticks * warmup_ratio),
        .ticks = per_update};
    return 0;
}

uint64_t pc_schedule_upstream_ticks(uint64_t n_examples, uint64_t rank_batch, uint64_t accumulation,
    uint64_t n_epochs, uint64_t max_updates, uint64_t n_ranks)
{
    uint64_t n_ticks, n = max_updates ? max_updates : n_epochs;
    uint64_t per = max_updates ? n_ranks : ceil_div(ceil_div(n_examples, rank_batch), accumulation);
    return pc_mul_u64(n, per, &n_ticks) ? n_ticks : UINT64_MAX;
}

/* Half of 1 + cos(pi (1 - left)), which is sin^2(pi / 2 left): nothing cancels where it is small. The sine by
 * its series, to the last bits of a double, since libm's would differ between machines. */
static double half_cosine(double left)
{
    double r = fabs(left);
    r -= 2 * floor(r / 2);
    double x = 1.57079632679489661923 * (r > 1 ? 2 - r : r), square = x * x, term = x, sum = x;
    for (int k = 2; k < 24; k += 2) {
        term *= -square / (k * (k + 1));
        sum += term;
    }
    return sum * sum;
}

static double factor(const struct pc_schedule *s, double tick)
{
    double total = (double)s->total, warm = (double)s->warmup, span = total - warm > 1 ? total - warm : 1;
    double part = (tick - warm) / span, f = 0;
    if (s->type == PC_SCHEDULE_CONSTANT)
        return 1;
    if (tick < warm)
        return tick / (warm > 1 ? warm : 1);
    switch (s->type) {
    case PC_SCHEDULE_LINEAR: f = (total - tick) / span; break;
    case PC_SCHEDULE_COSINE: f = half_cosine((total - tick) / span); break;
    case PC_SCHEDULE_COSINE_WITH_RESTARTS: f = part >= 1 ? 0 : half_cosine((total - tick) / span); break;
    case PC_SCHEDULE_POLYNOMIAL:
        f = tick > total ? POLYNOMIAL_END / s->rate
                         : ((s->rate - POLYNOMIAL_END) * (1 - part) + POLYNOMIAL_END) / s->rate;
        break;
    case PC_SCHEDULE_CONSTANT_WITH_WARMUP:
    default: f = 1; break;
    }
    return f > 0 ? f : 0;
}

double pc_schedule_rate(const struct pc_schedule *s, uint64_t k)
{
    return s->rate * factor(s, (double)k * (double)s->ticks);
}
