// SPDX-License-Identifier: Apache-2.0
/* The index maps the hash of the last 2, 3 and 4 tokens to the place behind their latest occurrence. Slots
 * are overwritten and never chained: a lost entry costs a guess, no more, and each is compared with the text
 * before it is believed. A place found is followed for as long as the text agrees with it, and given up for
 * another only when more tokens agree there. */
#include "engine/speculate.h"

#include "base/memory.h"

#include <stdbool.h>
#include <string.h>

enum {
    ORDERS = 3, /* of 2, 3 and 4 tokens */
    SHORTEST = 2,
    LONGEST_SEEN = 64, /* agreement is counted no further */
    BUCKETS = 6,
    MAX_ROWS = PC_MAX_DRAFT + 1,
    FIRST = 4,          /* guesses of the first draft at most */
    FORGET = 256,       /* steps after which a price not paid again is half forgotten; */
    FORGET_MOST = 8192, /* twice as many each time it proves right */
};

/* What a draft must promise over a plain step: costs and chances are estimates. */
static const double MARGIN = 1.06;
/* The price of a further row against the first, where nothing is known of it. */
static const double SLOPE = 0.2;

struct price {
    double ratio; /* seconds against a step of one row; 0: never measured */
    double seen;  /* what it was when it was last paid */
    unsigned steps_ago, forget;
};

struct pc_speculator {
    int fixed;
    size_t capacity, n;
    int32_t *ids;
    uint32_t *slots[ORDERS]; /* a place, 0 for none: nothing precedes the first token */
    size_t mask;
    size_t follows; /* the place expected to be repeated; 0: none */
    size_t agree;   /* tokens before it that do */

    double chance[BUCKETS]; /* that a guess is right */
    double one;             /* seconds of a step of one row */
    struct price prices[MAX_ROWS + 1];
};

/* ---- chances ---- */

static int bucket_of(size_t agree)
{
    return agree < 3 ? 0 : agree < 4 ? 1 : agree < 6 ? 2 : agree < 10 ? 3 : agree < 20 ? 4 : 5;
}

static void learn(struct pc_speculator *s, bool right)
{
    double *chance = &s->chance[bucket_of(s->agree)];
    *chance += ((right ? 1.0 : 0.0) - *chance) / 16;
}

/* ---- the index ---- */

static uint32_t *slot_of(const struct pc_speculator *s, int order, const int32_t *last)
{
    uint64_t h = 0;
    for (int i = 0; i < order + SHORTEST; i++)
        h = (h ^ (uint32_t)last[i]) * 0x9fb21c651e98df25u;
    return &s->slots[order][(h ^ h >> 29) & s->mask];
}

/* How many tokens before place agree with the last ones of the text. */
static size_t agreement(const struct pc_speculator *s, size_t place)
{
    size_t n = 0;
    while (n < place && n < LONGEST_SEEN && s->ids[place - 1 - n] == s->ids[s->n - 1 - n])
        n++;
    return n;
}

static void look_up(struct pc_speculator *s)
{
    for (int order = ORDERS - 1; order >= 0; order--) {
        size_t length = (size_t)order + SHORTEST;
        if (s->n <= length)
            continue;
        size_t place = *slot_of(s, order, s->ids + s->n - length), agree = place ? agreement(s, place) : 0;
        if (agree < length)
            continue;
        if (!s->follows || agree > s->agree) {
            s->follows = place;
            s->agree = agree;
        }
        return;
    }
}

/* Append a token, with the tokens before it leading here from now on. */
static void append(struct pc_speculator *s, int32_t id)
{
    for (int order = 0; order < ORDERS; order++)
        if (s->n >= (size_t)order + SHORTEST)
            *slot_of(s, order, s->ids + s->n - (size_t)order - SHORTEST) = (uint32_t)s->n;
    s->ids[s->n++] = id;
}

void pc_speculator_begin(struct pc_speculator *s, const int32_t *ids, size_t n)
{
    for (int i = 0; i < ORDERS; i++)
        memset(s->slots[i], 0, (s->mask + 1) * sizeof *s->slots[i]);
    s->n = 0;
    s->follows = s->agree = 0;
    for (size_t i = 0; i < n && s->n < s->capacity; i++)
        append(s, ids[i]);
    look_up(s);
}

void pc_speculator_add(struct pc_speculator *s, int32_t id)
{
    if (s->n == s->capacity)
        return;
    bool right = s->follows && s->ids[s->follows] == id;
    if (s->follows)
        learn(s, right);
    append(s, id);
    s->follows = right ? s->follows + 1 : 0;
    s->agree = right ? s->agree + (s->agree < LONGEST_SEEN) : 0;
    look_up(s);
}

/* ---- prices ---- */

/* Other programs make steps longer and never shorter: what is lower is followed faster. */
static double follow(double x, double seen, double down, double up)
{
    return x + (seen - x) / (seen < x ? down : up);
}

/* What a step of n_rows costs against one of a row. Between two sizes that were measured, a line. */
static double price_of(const struct pc_speculator *s, size_t n_rows)
{
    size_t below = n_rows, above = n_rows;
    while (below > 1 && !s->prices[below].ratio)
        below--;
    while (above <= MAX_ROWS && !s->prices[above].ratio)
        above++;
    double low = below > 1 ? s->prices[below].ratio : 1;
    if (below == n_rows)
        return low;
    if (above > MAX_ROWS) {
        double slope = below > 1 ? (low - 1) / (double)(below - 1) : SLOPE;
        return low + slope * (double)(n_rows - below);
    }
    return low + (s->prices[above].ratio - low) * (double)(n_rows - below) / (double)(above - below);
}

/* A price noted while the machine was busy must not keep a length away for good. */
static void age(struct pc_speculator *s)
{
    for (size_t n = 2; n <= MAX_ROWS; n++) {
        struct price *p = &s->prices[n];
        double start = 1 + SLOPE * (double)(n - 1);
        if (!p->ratio || ++p->steps_ago < p->forget)
            continue;
        p->steps_ago = 0;
        if (p->ratio > start)
            p->ratio += (start - p->ratio) / 2;
    }
}

/* Nothing makes a step faster than it is, so a price that turns out lower than remembered is believed at
 * once. */
static void pay(struct price *p, double ratio)
{
    bool first = !p->ratio, forgotten = p->ratio < p->seen, wrong = ratio < 0.8 * p->seen;
    if (forgotten && !wrong)
        p->forget = p->forget < FORGET_MOST ? 2 * p->forget : FORGET_MOST;
    if (first || (forgotten && wrong)) {
        p->seen = ratio;
        p->forget = FORGET;
    }
    p->seen = follow(p->seen, ratio, 2, 8);
    p->ratio = p->seen;
    p->steps_ago = 0;
}

void pc_speculator_measured(struct pc_speculator *s, size_t n_rows, double seconds)
{
    if (n_rows == 0 || n_rows > MAX_ROWS || !(seconds > 0))
        return;
    age(s);
    if (n_rows == 1) {
        // A step that was interrupted says nothing of the model.
        double most = s->one > 0 ? 3 * s->one : seconds, seen = seconds < most ? seconds : most;
        s->one = s->one > 0 ? follow(s->one, seen, 4, 32) : seen;
    } else if (s->one > 0) {
        double ratio = seconds / s->one, most = 1.5 * (double)n_rows;
        pay(&s->prices[n_rows], ratio < 1 ? 1 : ratio < most ? ratio : most);
    }
}

/* ---- drafts ---- */

/* The length that promises most: (1 + tokens expected to be right) / price, if it beats a plain step. */
static size_t best_length(const struct pc_speculator *s, size_t most)
{
    double best = MARGIN, expected = 1, all_right = 1;
    size_t length = 0;
    if (!(s->one > 0)) // the plain step is timed first
        return 0;
    // Nor is a price guessed far beyond those that were paid.
    size_t paid = MAX_ROWS;
    while (paid > FIRST / 2 && !s->prices[paid].ratio)
        paid--;
    most = most < 2 * paid ? most : 2 * paid;
    for (size_t k = 1; k <= most; k++) {
        all_right *= s->chance[bucket_of(s->agree + k - 1)];
        expected += all_right;
        double gain = expected / price_of(s, k + 1);
        if (gain > best) {
            best = gain;
            length = k;
        }
    }
    return length;
}

size_t pc_speculator_draft(struct pc_speculator *s, size_t most, int32_t out[PC_MAX_DRAFT])
{
    if (!s->follows)
        return 0;
    most = most < PC_MAX_DRAFT ? most : PC_MAX_DRAFT;
    size_t n = s->fixed ? (size_t)s->fixed : best_length(s, most);
    n = n < most ? n : most;
    // What would be read behind the end is the guess itself: the text repeats with that period.
    for (size_t i = 0; i < n; i++)
        out[i] = s->follows + i < s->n ? s->ids[s->follows + i] : out[s->follows + i - s->n];
    return n;
}

/* ---- life ---- */

int pc_speculator_new(size_t capacity, int fixed, struct pc_speculator **out, struct paco_error *err)
{
    static const double chances[BUCKETS] = {0.2, 0.35, 0.5, 0.65, 0.75, 0.85};
    size_t n_slots = 256;
    while (n_slots < 2 * capacity && n_slots < (size_t)1 << 24)
        n_slots *= 2;
    struct pc_speculator *s = pc_alloc_zero(1, sizeof *s);
    if (!s)
        return pc_error_mem(err, sizeof *s, "speculation");
    s->fixed = fixed < PC_MAX_DRAFT ? fixed : PC_MAX_DRAFT;
    s->capacity = capacity < INT32_MAX ? capacity : INT32_MAX;
    s->mask = n_slots - 1;
    memcpy(s->chance, chances, sizeof chances);
    s->ids = pc_alloc(s->capacity, sizeof *s->ids);
    bool whole = s->ids != NULL;
    for (int i = 0; i < ORDERS; i++) {
        s->slots[i] = pc_alloc_zero(n_slots, sizeof *s->slots[i]);
        whole = whole && s->slots[i];
    }
    if (!whole) {
        pc_speculator_free(s);
        return pc_error_mem(
            err, ORDERS * n_slots * sizeof(uint32_t) + capacity * sizeof(int32_t), "speculation");
    }
    *out = s;
    return 0;
}

void pc_speculator_free(struct pc_speculator *s)
{
    if (!s)
        return;
    for (int i = 0; i < ORDERS; i++)
        pc_free(s->slots[i]);
    pc_free(s->ids);
    pc_free(s);
}
