// SPDX-License-Identifier: Apache-2.0
/* Which of the waiting are begun, and from what they start.
 *
 * In the order they came, while there are lanes and room for keys and values; who waits for another's prompt,
 * or has its part of the lanes, lets those behind pass, who waits for room does not, so that nothing large
 * waits for ever. */
#include "base/memory.h"
#include "engine/prefix.h"
#include "engine/scheduler_parts.h"

#include <string.h>

/* ---- room ---- */

static uint64_t pages_of(size_t n_tokens)
{
    return (n_tokens + PC_KV_BLOCK - 1) / PC_KV_BLOCK;
}

void pc_scheduler_drop_seq(struct pc_scheduler *s, struct pc_seq *seq)
{
    if (!seq)
        return;
    s->n_pages -= pages_of((size_t)pc_seq_capacity(seq));
    pc_seq_free(seq);
}

bool pc_scheduler_drop_donor(struct pc_scheduler *s)
{
    for (size_t i = PC_N_DONORS; i-- > 0;)
        if (s->donors[i].seq) {
            pc_scheduler_drop_seq(s, s->donors[i].seq);
            pc_free(s->donors[i].ids);
            s->donors[i] = (struct pc_donor){0};
            return true;
        }
    return false;
}

static void keep_donor(struct pc_scheduler *s, struct pc_seq *seq, int32_t *ids)
{
    if (s->donors[PC_N_DONORS - 1].seq)
        pc_scheduler_drop_donor(s);
    memmove(s->donors + 1, s->donors, (PC_N_DONORS - 1) * sizeof *s->donors);
    s->donors[0] = (struct pc_donor){seq, ids};
}

void pc_scheduler_retire(struct pc_scheduler *s, struct pc_lane *lane, bool as_stem)
{
    if (as_stem) {
        lane->of->stem = lane->seq;
        pc_free(lane->ids);
    } else {
        keep_donor(s, lane->seq, lane->ids);
    }
    pc_sampler_free(lane->sampler);
    size_t i = 0;
    while (s->running[i] != lane)
        i++;
    s->n_running--;
    memmove(s->running + i, s->running + i + 1, (s->n_running - i) * sizeof(void *));
    s->running[s->n_running] = lane;
    *lane = (struct pc_lane){0};
}

/* ---- where a prompt starts ---- */

/* The longest beginning of a prompt that can be had: of source if that is not NULL, else of the cache. */
struct start {
    struct pc_seq *source;
    size_t n;
};

static size_t n_common(const int32_t *a, const int32_t *b, size_t n)
{
    size_t i = 0;
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void consider(struct start *best, struct pc_seq *source, size_t n)
{
    if (n > best->n)
        *best = (struct start){source, n};
}

/* At most n ids, computed with the same variant. False when it is better to wait: a prompt being read is
 * about to have more of them. */
static bool find_start(struct pc_scheduler *s, const struct pc_variant *variant, const int32_t *ids, size_t n,
    struct start *best)
{
    *best = (struct start){NULL, (size_t)pc_prefix_find(s->engine, variant, ids, n)};
    for (size_t i = 0; i < PC_N_DONORS && s->donors[i].seq; i++) {
        struct pc_seq *seq = s->donors[i].seq;
        if (seq->variant != pc_variant_id(variant))
            continue;
        consider(best, seq, n_common(s->donors[i].ids, ids, smaller(n, (size_t)pc_seq_length(seq))));
    }
    size_t most = 0;
    for (size_t i = 0; i < s->n_running; i++) {
        const struct pc_lane *lane = s->running[i];
        if (lane->of->r.variant != variant)
            continue;
        size_t common = n_common(lane->ids, ids, smaller(n, lane->n));
        consider(best, lane->seq, smaller(common, (size_t)pc_seq_length(lane->seq)));
        most = common > most ? common : most;
    }
    return most < best->n + PC_KV_BLOCK;
}

/* A sequence of max_tokens that has start's positions. */
static int make_seq(struct pc_scheduler *s, const struct start *start, const struct pc_variant *variant,
    const int32_t *ids, size_t max_tokens, struct pc_seq **out, struct paco_error *err)
{
    int rc = start->source ? pc_seq_fork(start->source, (int32_t)start->n, (int32_t)max_tokens, out, err)
                           : pc_seq_new(s->engine, (int32_t)max_tokens, out, err);
    if (rc < 0)
        return rc;
    if (!start->source && start->n)
        pc_prefix_attach(*out, variant, ids, start->n);
    s->n_pages += pages_of(max_tokens);
    return 0;
}

/* ---- beginning ---- */

enum verdict { BEGUN, NO_ROOM, WAITS, FAILED };

static int make_sampler(
    const struct pc_scheduler *s, const struct pc_request *r, struct pc_lane *lane, struct paco_error *err)
{
    if (!lane->chooses || pc_sampler_is_greedy(&r->sampler))
        return 0;
    struct pc_sampler_options o = r->sampler;
    o.stream += (uint64_t)lane->i_sample;
    o.end_ids = r->eos_ids;
    o.n_end_ids = r->n_eos;
    int rc = pc_sampler_new(pc_variant_vocab(s->engine, r->variant), &o, &lane->sampler, err);
    for (size_t i = 0; i < r->n_prompt && rc == 0; i++)
        pc_sampler_accept_prompt(lane->sampler, r->prompt[i]);
    return rc;
}

/* Fill a lane but for its sequence. A prompt for several samples is read up to its last token, which each of
 * them computes itself: so all samples begin in the same way, whenever there is room for them. */
static int make_lane(
    const struct pc_scheduler *s, struct pc_open *o, struct pc_lane *lane, struct paco_error *err)
{
    const struct pc_request *r = &o->r;
    bool alone = o->n_samples == 1, reads = !alone && !o->stem, tells = alone || reads;
    *lane = (struct pc_lane){.of = o,
        .n_prompt = r->n_prompt,
        .n = reads && r->n_logits == 0 && r->n_hidden == 0 ? r->n_prompt - 1 : r->n_prompt,
        .tells_from = tells ? r->n_prompt - r->n_logits : r->n_prompt,
        .shows_from = tells ? r->n_prompt - r->n_hidden : r->n_prompt,
        .i_sample = reads || r->max_tokens == 0 ? -1 : o->n_started};
    lane->chooses = lane->i_sample >= 0;
    size_t n = r->n_prompt + (lane->chooses ? (size_t)r->max_tokens : 0);
    lane->ids = pc_alloc(n, sizeof *lane->ids);
    if (!lane->ids)
        return pc_error_mem(err, n * sizeof *lane->ids, "an answer");
    memcpy(lane->ids, r->prompt, r->n_prompt * sizeof *lane->ids);
    return make_sampler(s, r, lane, err);
}

static void count(struct pc_scheduler *s, const struct pc_lane *lane, size_t n_known)
{
    if (lane->of->stem)
        return; /* the prompt was counted when it was read */
    lane->of->n_known = n_known;
    s->stats.n_prompt += lane->n_prompt;
    s->stats.n_computed += lane->n - n_known;
}

/* Make room for a sequence, and say whether there is; what is larger than all of it may run alone. */
static bool make_room(struct pc_scheduler *s, size_t max_tokens)
{
    uint64_t n = pages_of(max_tokens);
    while (s->n_pages + n > s->max_pages && pc_scheduler_drop_donor(s)) {
    }
    return s->n_pages + n <= s->max_pages || s->n_running == 0;
}

/* Positions a lane may come to hold: the last token of an answer is not computed. */
static size_t capacity_of(const struct pc_lane *lane)
{
    size_t n = lane->n + (lane->chooses ? (size_t)lane->of->r.max_tokens - 1 : 0);
    return n ? n : 1;
}

/* Find where a lane starts and make its sequence. */
static enum verdict place(struct pc_scheduler *s, struct pc_lane *lane, struct paco_error *err)
{
    const struct pc_open *o = lane->of;
    const struct pc_variant *variant = o->r.variant;
    size_t n_most = smaller(lane->n - lane->chooses, smaller(lane->tells_from, lane->shows_from));
    struct start start = {o->stem, o->r.n_prompt - 1};
    if (!o->stem && !find_start(s, variant, lane->ids, n_most, &start))
        return WAITS;
    if (!make_room(s, capacity_of(lane)))
        return NO_ROOM;
    if (!o->stem) /* again: what it was to start from may have made room */
        find_start(s, variant, lane->ids, n_most, &start);
    if (make_seq(s, &start, variant, lane->ids, capacity_of(lane), &lane->seq, err) < 0)
        return FAILED;
    count(s, lane, start.n);
    return BEGUN;
}

static enum verdict begin(struct pc_scheduler *s, struct pc_open *o)
{
    struct paco_error err = {0};
    struct pc_lane *lane = s->running[s->n_running];
    enum verdict verdict = make_lane(s, o, lane, &err) < 0 ? FAILED : place(s, lane, &err);
    if (verdict == BEGUN) {
        s->n_running++;
        o->reading = lane->i_sample < 0 && o->n_samples > 1;
        o->n_started += !o->reading;
        return BEGUN;
    }
    pc_sampler_free(lane->sampler);
    pc_free(lane->ids);
    *lane = (struct pc_lane){0};
    if (verdict == FAILED)
        pc_scheduler_end(s, o, &err);
    return verdict;
}

/* Whether a request has what is due to it of the lanes, with others waiting. Not all that wait have that
 * while there are free ones. */
static bool has_its_part(const struct pc_scheduler *s, const struct pc_open *o)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_running; i++)
        n += s->running[i]->of == o;
    return s->shares_lanes && s->n_waiting > 1 && n * s->n_waiting >= s->max_running;
}

void pc_scheduler_admit(struct pc_scheduler *s)
{
    size_t i = 0;
    while (i < s->n_waiting && s->n_running < s->max_running) {
        struct pc_open *o = s->waiting[i];
        enum verdict verdict = o->reading || has_its_part(s, o) ? WAITS : begin(s, o);
        if (verdict == NO_ROOM)
            return;
        if (verdict == WAITS || (verdict == BEGUN && o->reading)) {
            i++;
        } else if (verdict == BEGUN && o->n_started == o->n_samples) {
            s->n_waiting--;
            memmove(s->waiting + i, s->waiting + i + 1, (s->n_waiting - i) * sizeof(void *));
            pc_scheduler_drop_seq(s, o->stem);
            o->stem = NULL;
        }
    }
}
