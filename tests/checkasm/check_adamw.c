// SPDX-License-Identifier: Apache-2.0
/* AdamW: several updates in a row of weights and states of every type, the same bytes at every level. */
#include "checkasm.h"

#include "kernels/adamw.h"
#include "kernels/float_bits.h"

#include <string.h>

enum { N = 5 * PC_ADAMW_BLOCK, N_SCALES = 5, STEPS = 4 };

/* One element's worth of everything, and what a level makes of it. */
struct side {
    struct pc_adamw_run run;
    size_t w_size, state_size;
};

static void make(struct side *s, bool narrow, enum pc_optim_states states, size_t pad)
{
    size_t each = pc_optim_states_size(states);
    s->w_size = N * (narrow ? sizeof(uint16_t) : sizeof(float));
    s->state_size = N * each;
    void *w = check_buffer(s->w_size, narrow ? pad / 2 : pad);
    s->run = (struct pc_adamw_run){.n = N,
        .w = narrow ? NULL : w,
        .w16 = narrow ? w : NULL,
        .g = check_buffer(N * sizeof(float), pad),
        .first = 123456789,
        .states = states,
        .m = check_buffer(s->state_size, pad / 4 * each),
        .v = check_buffer(s->state_size, pad / 4 * each),
        .m_scale = check_buffer(N_SCALES * sizeof(float), pad),
        .v_scale = check_buffer(N_SCALES * sizeof(float), pad)};
    memset(s->run.m, 0, s->state_size);
    memset(s->run.v, 0, s->state_size);
    memset(s->run.m_scale, 0, N_SCALES * sizeof(float));
    memset(s->run.v_scale, 0, N_SCALES * sizeof(float));
}

/* In (-1, 1), over many powers of two; some zeros. */
static float draw(void)
{
    uint64_t bits = check_random();
    float x = (float)(int32_t)bits * 0x1p-31f;
    return bits >> 60 == 0 ? 0 : x * x * x * pc_f32_from_bits((uint32_t)(127 - (bits >> 32) % 24) << 23);
}

static void fill(struct side *a, struct side *b, bool weights)
{
    for (size_t i = 0; i < N && weights; i++) {
        float w = draw();
        if (a->run.w)
            a->run.w[i] = b->run.w[i] = w;
        else
            a->run.w16[i] = b->run.w16[i] = pc_f32_to_bf16(w);
    }
    for (size_t i = 0; i < N; i++) // one block of nothing but zeros
        a->run.g[i] = b->run.g[i] = i / PC_ADAMW_BLOCK == 2 ? 0 : draw();
}

static void check_type(
    const struct pc_adamw *plain, const struct pc_adamw *fast, bool narrow, enum pc_optim_states states)
{
    struct side want, got;
    make(&want, narrow, states, 0);
    make(&got, narrow, states, 4);
    for (int t = 1; t <= STEPS; t++) {
        const struct pc_adamw_rule rule = {.scale = 0.75f,
            .keep = t % 2 ? 1 : 0.999f,
            .fresh1 = 0.1f,
            .keep2 = 0.999f,
            .fresh2 = 0.001f,
            .step = 1e-2f / (float)t,
            .root = 0.05f * (float)t,
            .eps = 1e-8f};
        fill(&want, &got, t == 1);
        want.run.key = got.run.key = check_random();
        plain->update(&rule, &want.run);
        fast->update(&rule, &got.run);
        check_same(narrow ? (void *)want.run.w16 : want.run.w, narrow ? (void *)got.run.w16 : got.run.w,
            want.w_size, "weights, %d, states %d, step %d", narrow, states, t);
        check_same(want.run.m, got.run.m, want.state_size, "m, %d, states %d, step %d", narrow, states, t);
        check_same(want.run.v, got.run.v, want.state_size, "v, %d, states %d, step %d", narrow, states, t);
        check_same(want.run.m_scale, got.run.m_scale, N_SCALES * sizeof(float), "scales of m, step %d", t);
        check_same(want.run.v_scale, got.run.v_scale, N_SCALES * sizeof(float), "scales of v, step %d", t);
        check_same(want.run.g, got.run.g, N * sizeof(float), "gradients, step %d", t);
        for (size_t i = 0; i < N; i++)
            if (pc_f32_bits(got.run.g[i]))
                check_fail("gradient %zu is left", i);
    }
    check_release();
}

void check_adamw(void)
{
    struct pc_adamw plain, fast;
    pc_adamw_init(&plain, 0);
    for (const struct check_level *l = check_levels(); l->name; l++) {
        pc_adamw_init(&fast, l->flags);
        check_case("update", l);
        for (int round = 0; round < 8; round++)
            for (int k = 0; k < 6; k++)
                check_type(&plain, &fast, k % 2, (enum pc_optim_states)(k / 2));
    }
}
