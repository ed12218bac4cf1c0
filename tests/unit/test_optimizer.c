// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/memory.h"
#include "kernels/float_bits.h"
#include "train/keyed.h"
#include "train/optimizer.h"

#include <math.h>

/* A space of a matrix, a norm and a bias, 3 chunks long, with weights and gradients that are random. */
struct space {
    struct pc_params *p;
    struct pc_optimizer *o;
    struct pc_pool *pool;
    float *g;
};

static float uniform(uint64_t key, uint64_t i)
{
    return 2 * pc_keyed_uniform(key, i) - 1;
}

static double norm_of(struct pc_optimizer *o, const float *g, struct pc_pool *pool)
{
    pc_optimizer_squares(o, g, pool);
    return pc_optimizer_norm_of_squares(o);
}

static void fill_gradients(struct space *s, uint64_t key)
{
    memset(s->g, 0, (size_t)s->p->n_flat * sizeof *s->g);
    for (size_t i = 0; i < s->p->n; i++)
        for (uint64_t k = 0; k < s->p->v[i].n; k++)
            s->g[s->p->v[i].offset + k] = uniform(key, s->p->v[i].offset + k) * expf(6 * uniform(~key, k));
}

static void make_of(
    struct space *s, enum pc_dtype matrices, const struct pc_optimizer_options *options, int n_threads)
{
    struct paco_error err = {0};
    assert_int_equal(pc_params_new(&s->p, &err), 0);
    s->p->matrices = matrices;
    assert_int_equal(pc_params_add(s->p, "a.weight", 500, 301, &err), 0);
    assert_int_equal(pc_params_add(s->p, "input_layernorm.weight", 33, 0, &err), 0);
    assert_int_equal(pc_params_add(s->p, "a.bias", 100, 0, &err), 0);
    assert_int_equal(pc_params_allocate(s->p, &err), 0);
    pc_params_zero(s->p);
    assert_int_equal(s->p->n_elements, 500 * 301 + 133);
    for (uint64_t i = 0; i < s->p->n; i++)
        for (uint64_t k = 0; k < s->p->v[i].n; k++) {
            float w = uniform(7, s->p->v[i].offset + k);
            void *at = pc_params_weights(s->p, &s->p->v[i]);
            if (s->p->v[i].dtype == PC_F32)
                ((float *)at)[k] = w;
            else
                ((uint16_t *)at)[k] = pc_f32_to_bf16(w);
        }
    s->pool = pc_pool_new(n_threads, &err);
    assert_int_equal(pc_optimizer_new(s->p, options, s->pool, &s->o, &err), 0);
    s->g = pc_alloc((size_t)s->p->n_flat, sizeof *s->g);
    assert_non_null(s->pool);
    assert_non_null(s->g);
}

static void make(struct space *s, const struct pc_optimizer_options *options, int n_threads)
{
    make_of(s, PC_F32, options, n_threads);
}

static void release(struct space *s)
{
    pc_optimizer_free(s->o);
    pc_params_free(s->p);
    pc_pool_free(s->pool);
    pc_free(s->g);
}

/* torch.optim.AdamW(lr 1e-2, weight_decay 0.1), three steps. */
static void updates_are_torch_s(void **state)
{
    (void)state;
    static const float first[] = {0.5f, -1.25f, 3, 0.01f}, g[] = {0.1f, -2, 1e-6f, 0};
    static const float want[3][4] = {{0.489500016f, -1.23874998f, 2.98709893f, 0.00999000017f},
        {0.479358703f, -1.2278595f, 2.97452068f, 0.00998000987f},
        {0.469299346f, -1.21705163f, 2.96201038f, 0.00997002982f}};
    struct pc_optimizer_options options = pc_optimizer_options_default();
    options.weight_decay = 0.1;
    struct space s;
    make(&s, &options, 1);
    memcpy(s.p->w, first, sizeof first);
    for (int t = 0; t < 3; t++) {
        memset(s.g, 0, (size_t)s.p->n_flat * sizeof *s.g);
        for (int i = 0; i < 4; i++)
            s.g[i] = 4 * g[i] * (float)(t + 1);
        pc_optimizer_update(s.o, s.g, 1e-2, 0.25, s.pool);
        for (int i = 0; i < 4; i++)
            if (fabsf(s.p->w[i] - want[t][i]) > 1e-6f * fabsf(want[t][i]))
                fail_msg(
                    "step %d, element %d: %.9g instead of %.9g", t, i, (double)s.p->w[i], (double)want[t][i]);
    }
    release(&s);
}

/* The same in double, for every element: 20 updates, weights decayed where they should be. */
static void long_runs_stay_near_double(void **state)
{
    (void)state;
    for (int quirks = 0; quirks < 2; quirks++) {
        struct pc_optimizer_options o = pc_optimizer_options_default();
        o.weight_decay = 0.3;
        o.decay_norms = quirks;
        struct space s;
        make(&s, &o, 2);
        size_t n = (size_t)s.p->n_flat;
        double *w = pc_alloc_zero(n, sizeof *w), *m = pc_alloc_zero(n, sizeof *m),
               *v = pc_alloc_zero(n, sizeof *v);
        for (size_t i = 0; i < n; i++)
            w[i] = (double)s.p->w[i];
        for (int t = 1; t <= 20; t++) {
            fill_gradients(&s, (uint64_t)t);
            for (size_t i = 0; i < n; i++) {
                bool decays = i < s.p->v[1].offset || (quirks && i < s.p->v[2].offset);
                double g = (double)s.g[i], b1 = pow(0.9, t), b2 = pow(0.999, t);
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                w[i] = w[i] * (decays ? 1 - 1e-3 * 0.3 : 1) -
                       1e-3 * (m[i] / (1 - b1)) / (sqrt(v[i] / (1 - b2)) + 1e-8);
            }
            pc_optimizer_update(s.o, s.g, 1e-3, 1, s.pool);
        }
        for (size_t i = 0; i < n; i++) {
            assert_true(fabs((double)s.p->w[i] - w[i]) < 2e-6);
            assert_true(s.g[i] == 0);
        }
        assert_true(s.p->w[s.p->v[0].n] == 0); /* a gap */
        pc_free(w), pc_free(m), pc_free(v);
        release(&s);
    }
}

/* Narrow states wander off, but no further than their precision lets them. */
static void narrow_states_go_the_same_way(void **state)
{
    (void)state;
    static const double bounds[] = {[PC_STATES_F32] = 0, [PC_STATES_BF16] = 0.01, [PC_STATES_8BIT] = 0.12};
    struct space s[3];
    for (int k = 0; k < 3; k++) {
        struct pc_optimizer_options o = pc_optimizer_options_default();
        o.states = (enum pc_optim_states)k;
        make(&s[k], &o, 1);
        for (int t = 1; t <= 400; t++) {
            fill_gradients(&s[k], (uint64_t)t);
            for (size_t i = 0; i < s[k].p->n_flat; i++)
                s[k].g[i] += i % 2 && s[k].g[i] != 0 ? 0.5f : 0; /* something to learn */
            pc_optimizer_update(s[k].o, s[k].g, 1e-3, 1, s[k].pool);
        }
    }
    for (int k = 1; k < 3; k++) {
        double moved = 0, apart = 0;
        for (size_t i = 0; i < s[0].p->n_flat; i++) {
            double first = i < s[0].p->v[0].n ? (double)uniform(7, i) : (double)s[0].p->w[i];
            moved += pow((double)s[0].p->w[i] - first, 2);
            apart += pow((double)s[0].p->w[i] - (double)s[k].p->w[i], 2);
        }
        if (sqrt(apart / moved) > bounds[k])
            fail_msg("states %d: %g of the way apart", k, sqrt(apart / moved));
    }
    for (int k = 0; k < 3; k++)
        release(&s[k]);
}

/* A mean that gains a thousandth of what is new each time keeps up although its code is coarser than that. */
static void a_second_moment_follows_in_8_bits(void **state)
{
    (void)state;
    struct pc_optimizer_options o = pc_optimizer_options_default();
    o.states = PC_STATES_8BIT;
    struct space s;
    make(&s, &o, 1);
    double sum = 0;
    for (int t = 0; t < 3000; t++) {
        for (size_t i = 0; i < PC_PARAM_ALIGN; i++)
            s.g[i] = i == 0 ? 100.0f : 0.25f * (t < 1500 ? 1 : 4);
        pc_optimizer_update(s.o, s.g, 0, 1, s.pool);
    }
    for (size_t i = 1; i < PC_PARAM_ALIGN; i++) {
        uint32_t bits = (uint32_t)(s.o->v.data[i] - 255 + 1016) << 20;
        float x;
        memcpy(&x, &bits, sizeof x);
        sum += (double)x * (double)s.o->v.scale[0] / (PC_PARAM_ALIGN - 1);
    }
    double want = pow(0.999, 1500) * (1 - pow(0.999, 1500)) * 0.0625 + (1 - pow(0.999, 1500));
    if (fabs(sum - want) > 0.05 * want)
        fail_msg("%g instead of %g", sum, want);
    release(&s);
}

/* Over all that the noise can be, a number is rounded away from zero exactly as often as it should be. */
static void random_rounding_is_unbiased(void **state)
{
    (void)state;
    static const uint32_t cases[] = {0x3f800000, 0x3f800001, 0x3f808000, 0x3f80ffff, 0xbf812345, 0x00000001,
        0x007fffff, 0x80000000, 0x7f7f0000, 0x42280000};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        uint32_t n_away = 0;
        for (uint32_t noise = 0; noise < 65536; noise++) {
            uint16_t got = pc_f32_to_bf16_random(pc_f32_from_bits(cases[k]), noise);
            assert_in_range(got, cases[k] >> 16, (cases[k] >> 16) + 1);
            n_away += got != cases[k] >> 16;
        }
        assert_int_equal(n_away, cases[k] & 0xffff);
    }
    assert_int_equal(pc_f32_to_bf16_random(INFINITY, 65535), 0x7f80);
    assert_int_equal(pc_f32_to_bf16_random(-INFINITY, 65535), 0xff80);
    assert_int_equal(pc_f32_to_bf16_random(pc_f32_from_bits(0x7fffffff), 65535) & 0x7fc0, 0x7fc0);
    assert_int_equal(pc_f32_to_bf16_random(pc_f32_from_bits(0xff800001), 65535) & 0x7fc0, 0x7fc0);
}

/* BF16 weights: what F32 ones that begin there become, rounded by the bits of the element. */
static void bf16_weights_are_rounded_f32_ones(void **state)
{
    (void)state;
    for (int k = 0; k < 3; k++) {
        struct pc_optimizer_options o = pc_optimizer_options_default();
        o.states = (enum pc_optim_states)k;
        o.weight_decay = 0.1;
        o.seed = 11;
        struct space wide, narrow;
        make(&wide, &o, 1);
        make_of(&narrow, PC_BF16, &o, 3);
        assert_null(narrow.p->w);
        uint64_t n = wide.p->v[0].n;
        for (uint64_t t = 1; t <= 5; t++) {
            for (uint64_t i = 0; i < n; i++)
                wide.p->w[i] = pc_bf16_to_f32(narrow.p->w16[i]);
            fill_gradients(&wide, t);
            fill_gradients(&narrow, t);
            pc_optimizer_update(wide.o, wide.g, 1e-3, 0.5, wide.pool);
            pc_optimizer_update(narrow.o, narrow.g, 1e-3, 0.5, narrow.pool);
            for (uint64_t i = 0; i < n; i++) {
                uint32_t noise = (uint32_t)pc_keyed_bits(pc_keyed_key(11, t), i) & 0xffff;
                assert_int_equal(narrow.p->w16[i], pc_f32_to_bf16_random(wide.p->w[i], noise));
            }
            assert_memory_equal(narrow.p->vectors, wide.p->w + wide.p->v[1].offset, 33 * sizeof(float));
        }
        size_t size = pc_optim_states_size(o.states);
        assert_memory_equal(narrow.o->m.data, wide.o->m.data, wide.p->n_flat * size);
        assert_memory_equal(narrow.o->v.data, wide.o->v.data, wide.p->n_flat * size);
        assert_int_equal(narrow.p->w16[n], 0); /* a gap */
        release(&wide);
        release(&narrow);
    }
}

/* Steps of a hundredth of what BF16 can tell apart add up: rounded to nearest, nothing would ever move. */
static void small_steps_add_up_in_bf16(void **state)
{
    (void)state;
    enum { STEPS = 200 };
    struct pc_optimizer_options o = pc_optimizer_options_default();
    struct space s;
    make_of(&s, PC_BF16, &o, 2);
    uint64_t n = s.p->v[0].n;
    for (uint64_t i = 0; i < n; i++)
        s.p->w16[i] = 0x3fc0; /* 1.5: neighbours are 2^-7 away */
    for (int t = 0; t < STEPS; t++) {
        for (uint64_t i = 0; i < n; i++)
            s.g[i] = 1;
        pc_optimizer_update(s.o, s.g, 0x1p-7 / 100, 1, s.pool); /* Adam's step is the rate */
    }
    double sum = 0, want = -STEPS * 0x1p-7 / 100;
    for (uint64_t i = 0; i < n; i++)
        sum += (double)pc_bf16_to_f32(s.p->w16[i]) - 1.5;
    // Each of n STEPS roundings has a variance of 0.01 * 0.99 spacings squared: four deviations of the mean.
    double bound = 4 * 0x1p-7 * sqrt(0.01 * 0.99 * STEPS / (double)n);
    if (!(fabs(sum / (double)n - want) < bound))
        fail_msg("moved %g, not %g within %g", sum / (double)n, want, bound);
    release(&s);
}

/* Part after part, from the last, the same bytes as at once; and the same norm. */
static void parts_are_the_whole(void **state)
{
    (void)state;
    static const uint64_t bounds[] = {0, 256, 65536, 70144};
    for (int k = 0; k < 6; k++) {
        struct pc_optimizer_options o = pc_optimizer_options_default();
        o.states = (enum pc_optim_states)(k % 3);
        struct space s[2];
        make_of(&s[0], k < 3 ? PC_F32 : PC_BF16, &o, 1);
        make_of(&s[1], k < 3 ? PC_F32 : PC_BF16, &o, 2);
        size_t size = pc_optim_states_size(o.states);
        for (int t = 1; t <= 3; t++) {
            fill_gradients(&s[0], (uint64_t)t);
            fill_gradients(&s[1], (uint64_t)t);
            double norm = norm_of(s[0].o, s[0].g, s[0].pool);
            pc_optimizer_update(s[0].o, s[0].g, 1e-3, 1, s[0].pool);
            pc_optimizer_squares_begin(s[1].o);
            pc_optimizer_begin(s[1].o, 1e-3, 1);
            for (int i = 4; i-- > 0;) {
                struct pc_optim_part part = {.first = bounds[i],
                    .end = i < 3 ? bounds[i + 1] : s[1].p->n_flat,
                    .g = s[1].g + bounds[i]};
                part.m = pc_optimizer_moment_at(s[1].o, &s[1].o->m, part.first);
                part.v = pc_optimizer_moment_at(s[1].o, &s[1].o->v, part.first);
                assert_true(pc_optimizer_squares_part(s[1].o, &part, s[1].pool) > 0);
                pc_optimizer_update_part(s[1].o, &part, s[1].pool);
            }
            assert_true(fabs(pc_optimizer_norm_of_squares(s[1].o) - norm) <= 1e-14 * norm);
        }
        for (size_t i = 0; i < s[0].p->n; i++)
            assert_memory_equal(pc_params_weights(s[0].p, &s[0].p->v[i]),
                pc_params_weights(s[1].p, &s[1].p->v[i]), s[0].p->ck->tensors[i].size);
        assert_memory_equal(s[0].o->m.data, s[1].o->m.data, s[0].p->n_flat * size);
        assert_memory_equal(s[0].o->v.data, s[1].o->v.data, s[0].p->n_flat * size);
        release(&s[0]);
        release(&s[1]);
    }
}

static void threads_make_no_difference(void **state)
{
    (void)state;
    for (int k = 0; k < 3; k++) {
        struct pc_optimizer_options o = pc_optimizer_options_default();
        o.states = (enum pc_optim_states)k;
        struct space s[2];
        double norm[2];
        for (int i = 0; i < 2; i++) {
            make(&s[i], &o, 1 + 2 * i);
            for (int t = 1; t <= 3; t++) {
                fill_gradients(&s[i], (uint64_t)t);
                norm[i] = norm_of(s[i].o, s[i].g, s[i].pool);
                pc_optimizer_update(s[i].o, s[i].g, 1e-3, 0.5, s[i].pool);
            }
        }
        assert_memory_equal(&norm[0], &norm[1], sizeof *norm);
        assert_memory_equal(s[0].p->w, s[1].p->w, (size_t)s[0].p->n_flat * sizeof(float));
        assert_memory_equal(s[0].o->v.data, s[1].o->v.data,
            (size_t)(pc_optimizer_size(s[0].p->n_flat, o.states) / 2) -
                (k == PC_STATES_8BIT ? (size_t)s[0].p->n_flat / PC_PARAM_ALIGN * 4 : 0));
        release(&s[0]);
        release(&s[1]);
    }
}

/* Two ranks, each with its half of the states: weights, norm and states are those of one. */
static void shards_together_are_the_whole(void **state)
{
    (void)state;
    for (int k = 0; k < 3; k++) {
        struct pc_optimizer_options o = pc_optimizer_options_default();
        o.states = (enum pc_optim_states)k;
        struct space whole, part[2];
        struct pc_shard shard[2];
        make(&whole, &o, 1);
        const uint64_t begin[] = {0, 100000};
        for (int r = 0; r < 2; r++) {
            assert_int_equal(pc_shard_init(&shard[r], whole.p->n_flat, begin, 2, r, 2, NULL), 0);
            o.shard = &shard[r];
            make(&part[r], &o, 1);
        }
        assert_int_equal(part[0].o->n_own + part[1].o->n_own, whole.p->n_flat);
        for (int t = 1; t <= 3; t++) {
            fill_gradients(&whole, (uint64_t)t);
            double norm = norm_of(whole.o, whole.g, whole.pool);
            for (int r = 0; r < 2; r++) {
                fill_gradients(&part[r], (uint64_t)t);
                pc_optimizer_squares(part[r].o, part[r].g, whole.pool);
            }
            for (uint64_t c = 0; c < shard->n_chunks; c++)
                part[0].o->partial[c] += part[1].o->partial[c]; // one of them is zero
            assert_true(pc_optimizer_norm_of_squares(part[0].o) == norm);
            pc_optimizer_update(whole.o, whole.g, 1e-3, 0.5, whole.pool);
            for (int r = 0; r < 2; r++)
                pc_optimizer_update(part[r].o, part[r].g, 1e-3, 0.5, whole.pool);
        }
        for (uint64_t i = 0; i < whole.p->n_flat; i++) {
            uint64_t local;
            int r = pc_shard_owns(&shard[0], i / PC_PARAM_CHUNK, NULL) ? 0 : 1;
            assert_true(pc_shard_owns(&shard[r], i / PC_PARAM_CHUNK, &local));
            local += i % PC_PARAM_CHUNK;
            assert_true(part[r].p->w[i] == whole.p->w[i]);
            size_t size = k == PC_STATES_F32 ? 4 : k == PC_STATES_BF16 ? 2 : 1;
            assert_memory_equal(part[r].o->v.data + local * size, whole.o->v.data + i * size, size);
            assert_memory_equal(part[r].o->m.data + local * size, whole.o->m.data + i * size, size);
        }
        for (int r = 0; r < 2; r++) {
            release(&part[r]);
            pc_shard_release(&shard[r]);
        }
        release(&whole);
    }
}

static void norms_are_sums_in_double(void **state)
{
    (void)state;
    struct pc_optimizer_options o = pc_optimizer_options_default();
    struct space s;
    make(&s, &o, 2);
    fill_gradients(&s, 1);
    long double sum = 0;
    for (size_t i = 0; i < s.p->n_flat; i++)
        sum += (long double)s.g[i] * (long double)s.g[i];
    double want = (double)sqrtl(sum), got = norm_of(s.o, s.g, s.pool);
    assert_true(fabs(got - want) < 1e-14 * want);
    s.g[70000] = NAN;
    assert_true(isnan(norm_of(s.o, s.g, s.pool)));
    s.g[70000] = -INFINITY;
    assert_true(isinf(norm_of(s.o, s.g, s.pool)));
    release(&s);
}

static void slots_join(void **state)
{
    (void)state;
    struct pc_optimizer_options o = pc_optimizer_options_default();
    struct space s;
    make(&s, &o, 2);
    float *from = pc_alloc((size_t)s.p->n_flat, sizeof *from);
    for (size_t i = 0; i < s.p->n_flat; i++)
        s.g[i] = (float)i, from[i] = 0.5f;
    pc_gradients_join(s.g, from, s.p->n_flat, s.pool);
    for (size_t i = 0; i < s.p->n_flat; i++)
        assert_true(s.g[i] == (float)i + 0.5f && from[i] == 0);
    pc_free(from);
    release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(updates_are_torch_s),
        cmocka_unit_test(long_runs_stay_near_double), cmocka_unit_test(narrow_states_go_the_same_way),
        cmocka_unit_test(a_second_moment_follows_in_8_bits), cmocka_unit_test(random_rounding_is_unbiased),
        cmocka_unit_test(bf16_weights_are_rounded_f32_ones), cmocka_unit_test(small_steps_add_up_in_bf16),
        cmocka_unit_test(parts_are_the_whole), cmocka_unit_test(threads_make_no_difference),
        cmocka_unit_test(shards_together_are_the_whole), cmocka_unit_test(norms_are_sums_in_double),
        cmocka_unit_test(slots_join)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
