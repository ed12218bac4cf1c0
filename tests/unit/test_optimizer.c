// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/memory.h"
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

static void fill_gradients(struct space *s, uint64_t key)
{
    memset(s->g, 0, (size_t)s->p->n_flat * sizeof *s->g);
    for (size_t i = 0; i < s->p->n; i++)
        for (uint64_t k = 0; k < s->p->v[i].n; k++)
            s->g[s->p->v[i].offset + k] = uniform(key, s->p->v[i].offset + k) * expf(6 * uniform(~key, k));
}

static void make(struct space *s, const struct pc_optimizer_options *options, int n_threads)
{
    struct paco_error err = {0};
    assert_int_equal(pc_params_new(&s->p, &err), 0);
    assert_int_equal(pc_params_add(s->p, "a.weight", 500, 301, &err), 0);
    assert_int_equal(pc_params_add(s->p, "input_layernorm.weight", 33, 0, &err), 0);
    assert_int_equal(pc_params_add(s->p, "a.bias", 100, 0, &err), 0);
    assert_int_equal(pc_params_allocate(s->p, &err), 0);
    pc_params_zero(s->p);
    assert_int_equal(s->p->n_elements, 500 * 301 + 133);
    for (uint64_t i = 0; i < s->p->n; i++)
        for (uint64_t k = 0; k < s->p->v[i].n; k++)
            s->p->w[s->p->v[i].offset + k] = uniform(7, s->p->v[i].offset + k);
    s->pool = pc_pool_new(n_threads, &err);
    assert_int_equal(pc_optimizer_new(s->p, options, s->pool, &s->o, &err), 0);
    s->g = pc_alloc((size_t)s->p->n_flat, sizeof *s->g);
    assert_non_null(s->pool);
    assert_non_null(s->g);
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
                norm[i] = pc_optimizer_norm(s[i].o, s[i].g, s[i].pool);
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
            double norm = pc_optimizer_norm(whole.o, whole.g, whole.pool);
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
    double want = (double)sqrtl(sum), got = pc_optimizer_norm(s.o, s.g, s.pool);
    assert_true(fabs(got - want) < 1e-14 * want);
    s.g[70000] = NAN;
    assert_true(isnan(pc_optimizer_norm(s.o, s.g, s.pool)));
    s.g[70000] = -INFINITY;
    assert_true(isinf(pc_optimizer_norm(s.o, s.g, s.pool)));
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
        cmocka_unit_test(a_second_moment_follows_in_8_bits), cmocka_unit_test(threads_make_no_difference),
        cmocka_unit_test(shards_together_are_the_whole), cmocka_unit_test(norms_are_sums_in_double),
        cmocka_unit_test(slots_join)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
