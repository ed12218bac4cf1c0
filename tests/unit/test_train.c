// SPDX-License-Identifier: Apache-2.0
/* Whole steps on a tiny model: what must be the same bytes, and what must go on as if nothing had happened.
 */
#include "train_bench.h"

#include "train/training_run.h"

static void losses_fall(void **state)
{
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        struct pc_train_options o = options();
        o.bf16 = bf16;
        o.n_epochs = 12;
        struct bench b;
        struct pc_train_report first, last;
        open_bench(&b, &o, 2);
        assert_int_equal(b.t->course.n_updates, 48);
        steps(&b, 1, &first);
        assert_int_equal(first.step, 1);
        assert_int_equal(first.n_examples, 6);
        assert_true(first.rate == 0);
        assert_true(first.loss > 1 && first.loss < 40);
        steps(&b, 47, &last);
        assert_true(last.epoch == 12);
        if (!(last.loss < 0.5 * first.loss))
            fail_msg("bf16 %d: %g, then %g", bf16, first.loss, last.loss);
        close_bench(&b);
    }
}

static void threads_make_no_difference(void **state)
{
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        struct pc_train_options o = options();
        o.bf16 = bf16;
        struct bench b[3];
        for (int i = 0; i < 3; i++) {
            struct pc_train_report last;
            open_bench(&b[i], &o, 1 + i);
            steps(&b[i], 5, &last);
            if (i)
                assert_same_weights(&b[0], &b[i]);
        }
        for (int i = 0; i < 3; i++)
            close_bench(&b[i]);
    }
}

/* 1 x 8 = 2 x 4 = 8 x 1: in F32 the same bytes, an epoch's short end included. */
static void micro_batches_make_no_difference(void **state)
{
    (void)state;
    static const uint64_t cuts[][2] = {{8, 1}, {4, 2}, {2, 4}, {1, 8}};
    struct bench b[4];
    struct pc_train_report last[4];
    for (int i = 0; i < 4; i++) {
        struct pc_train_options o = options();
        o.batch = cuts[i][0];
        o.accumulation = cuts[i][1];
        open_bench(&b[i], &o, 1);
        steps(&b[i], 7, &last[i]);
        assert_same_weights(&b[0], &b[i]);
        assert_memory_equal(&last[0].loss, &last[i].loss, sizeof(double));
        assert_memory_equal(&last[0].norm, &last[i].norm, sizeof(double));
    }
    for (int i = 0; i < 4; i++)
        close_bench(&b[i]);
}

/* A micro-batch of short answers and one of long ones: upstream gives each half the say. */
static void quirks_weigh_micro_batches(void **state)
{
    (void)state;
    struct pc_train_options o = options();
    struct bench b[2];
    struct pc_train_report r[2];
    o.shuffle = false;
    o.batch = 2;
    double mean[2];
    for (int quirks = 0; quirks < 2; quirks++) {
        o.quirks = quirks;
        open_bench(&b[quirks], &o, 1);
        steps(&b[quirks], 1, &r[quirks]);
    }
    for (int k = 0; k < 2; k++) {
        uint64_t n = b[0].rows[2 * k].n_trained + b[0].rows[2 * k + 1].n_trained;
        mean[k] = (b[0].t->loss[2 * k] + b[0].t->loss[2 * k + 1]) / (double)n;
    }
    assert_true(fabs(r[1].loss - (mean[0] + mean[1]) / 2) < 1e-6);
    assert_true(fabs(r[0].loss - r[1].loss) > 1e-4);
    close_bench(&b[0]);
    close_bench(&b[1]);
}

/* A step of two packs is the step of their examples: the same bytes, in F32 and in BF16. */
static void a_step_of_packs_is_that_of_their_examples(void **state)
{
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        struct pc_train_options o = options();
        struct bench packed, plain;
        struct pc_train_report a, b;
        o.bf16 = bf16;
        o.warmup_ratio = 0;
        o.accumulation = 1;
        o.batch = 2;
        open_with(&packed, &o, 2, 40, NULL);
        steps(&packed, 1, &a);
        assert_in_range(a.n_examples, 5, 20);
        o.batch = a.n_examples;
        o.shuffle = false;
        open_with(&plain, &o, 1, 0, &packed);
        steps(&plain, 1, &b);
        assert_int_equal(a.n_examples, b.n_examples);
        assert_int_equal(a.n_tokens, b.n_tokens);
        assert_memory_equal(&a.loss, &b.loss, sizeof a.loss);
        assert_memory_equal(&a.norm, &b.norm, sizeof a.norm);
        assert_true(a.rate > 0);
        assert_same_weights(&packed, &plain);
        close_bench(&packed);
        close_bench(&plain);
    }
}

/* Every example once an epoch; batches, quirks and the course count packs. */
static void batches_are_counted_in_packs(void **state)
{
    (void)state;
    struct pc_train_options o = options();
    struct bench b;
    struct pc_train_report r = {.step = 0};
    o.quirks = true;
    open_with(&b, &o, 1, 40, NULL);
    uint64_t n_packs = b.packs.n, n = 0, per_epoch = b.t->course.updates_per_epoch;
    assert_int_equal(per_epoch, (n_packs + 5) / 6);
    assert_int_equal(b.t->course.n_updates, 3 * per_epoch);
    assert_in_range(n_packs, 7, 10);
    for (uint64_t k = 0; k < per_epoch; k++) {
        steps(&b, 1, &r);
        n += r.n_examples;
        double sum = 0;
        for (uint64_t i = 0; i < r.n_examples; i++) {
            const struct pc_example *e = &b.rows[b.t->order[n - r.n_examples + i]];
            sum += (double)b.t->weight[i] * e->n_trained;
        }
        // Each micro-batch of three packs weighs a half, and a missing one nothing.
        double micro = (double)((k + 1 < per_epoch ? 6 : n_packs - 6 * k) + 2) / 3;
        assert_true(fabs(sum - floor(micro) / 2) < 1e-6);
    }
    assert_int_equal(n, N_EXAMPLES);
    assert_true(r.epoch == 1);
    close_bench(&b);
}

static void recomputing_changes_no_bit(void **state)
{
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        struct pc_train_options o = options();
        o.bf16 = bf16;
        struct bench b[2];
        struct pc_train_report last;
        for (int i = 0; i < 2; i++) {
            o.recompute = i;
            open_bench(&b[i], &o, 2);
            steps(&b[i], 4, &last);
        }
        assert_same_weights(&b[0], &b[1]);
        close_bench(&b[0]);
        close_bench(&b[1]);
    }
}

static void nothing_is_updated_by_what_is_not_finite(void **state)
{
    (void)state;
    for (int in_backward = 0; in_backward < 2; in_backward++) {
        struct pc_train_options o = options();
        if (in_backward) {
            o.bf16 = o.in_backward = true;
            o.accumulation = 1;
            o.clip = 0;
        }
        struct bench b, same;
        struct pc_train_report r;
        struct paco_error err = {0};
        open_bench(&b, &o, 1);
        open_bench(&same, &o, 1);
        steps(&b, 2, &r);
        steps(&same, 2, &r);
        float *w = pc_params_at(b.params, b.params->w, "model.norm.weight"), kept = w[3];
        w[3] = NAN;
        assert_int_equal(pc_trainer_step(b.t, NULL, &r, &err), PACO_EVERIFY);
        assert_contains(err.message, "step 3: the loss is nan");
        assert_false(pc_trainer_is_torn(b.t));
        assert_int_equal(b.t->step, 2);
        w[3] = kept;
        assert_same_weights(&b, &same);
        steps(&b, 1, &r);
        steps(&same, 1, &r);
        assert_same_weights(&b, &same);
        close_bench(&b);
        close_bench(&same);
    }
}

static int stop_at_once(void *ctx, const struct pc_progress_event *event)
{
    int *n = ctx;
    return event->done >= 2 && (*n)-- == 0;
}

/* Stopped in the middle of a step: the step has not been. */
static void a_step_that_is_stopped_leaves_no_trace(void **state)
{
    (void)state;
    struct pc_train_options o = options();
    struct bench b, same;
    struct pc_train_report r;
    struct paco_error err = {0};
    int n = 3;
    const struct pc_progress progress = {.update = stop_at_once, .ctx = &n};
    open_bench(&b, &o, 1);
    open_bench(&same, &o, 1);
    steps(&b, 2, &r);
    assert_int_equal(pc_trainer_step(b.t, &progress, &r, &err), PACO_ECANCELLED);
    assert_contains(err.message, "after step 2");
    steps(&b, 3, &r);
    steps(&same, 5, &r);
    assert_same_weights(&b, &same);
    close_bench(&b);
    close_bench(&same);
}

/* ---- states ---- */

static json_t *identity(const char *data)
{
    return json_pack("{s:s,s:i,s:f}", "train_file", data, "seed", 7, "learning_rate", 0.003);
}

static void states_go_on_where_they_were_left(void **state)
{
    (void)state;
    for (int states = 0; states < 3; states++) {
        struct pc_train_options o = options();
        o.optimizer.states = (enum pc_optim_states)states;
        struct bench b, same;
        struct pc_train_report r;
        struct paco_error err = {0};
        struct scratch scratch;
        uint32_t room = states == 1 ? 20 : 0; /* of packs */
        scratch_open(&scratch);
        const char *dir = scratch_path(&scratch, "step_5");
        json_t *id = identity("aa");
        const struct pc_train_saving saving = {.identity = id};
        open_with(&b, &o, 2, room, NULL);
        steps(&b, 5, &r);
        if (pc_train_state_save(b.t, &saving, dir, &err) < 0)
            fail_msg("%s: %s", err.path, err.message);
        assert_int_equal(pc_train_state_save(b.t, &saving, dir, &err), 0); /* it is there */
        steps(&b, 4, &r);
        open_with(&same, &o, 1, room, NULL);
        if (pc_train_state_load(same.t, dir, id, &err) < 0)
            fail_msg("%s: %s", err.path, err.message);
        assert_int_equal(same.t->step, 5);
        steps(&same, 4, &r);
        assert_same_weights(&b, &same);
        json_t *other = identity("bb");
        assert_int_equal(pc_train_state_load(same.t, dir, other, &err), PACO_EMISMATCH);
        assert_contains(err.message, "train_file (was \"aa\", is \"bb\")");
        json_decref(other);
        json_decref(id);
        close_bench(&b);
        close_bench(&same);
        scratch_close(&scratch);
    }
}

/* Each allocation fails in turn: what was made is taken apart, and the error says so. */
static void memory_may_run_out(void **state)
{
    (void)state;
    struct pc_train_options o = options();
    struct bench b;
    struct pc_train_report r;
    struct scratch scratch;
    json_t *id = identity("aa");
    const struct pc_train_saving saving = {.identity = id};
    open_bench(&b, &o, 1);
    const struct pc_train_setup setup = b.t->setup;
    int rc = PACO_EMEM;
    int64_t n = 0;
    for (; rc < 0; n++) {
        struct pc_trainer *t = NULL;
        struct paco_error err = {0};
        pc_alloc_fail_after(n);
        rc = pc_trainer_new(&setup, &o, &t, &err);
        pc_alloc_fail_after(-1);
        assert_true(rc == 0 || (rc == PACO_EMEM && err.code == PACO_EMEM));
        pc_trainer_free(t);
    }
    assert_true(n > 20);
    scratch_open(&scratch);
    steps(&b, 1, &r);
    for (n = 0, rc = PACO_EMEM; rc < 0; n++) {
        struct paco_error err = {0};
        pc_alloc_fail_after(n);
        rc = pc_train_state_save(b.t, &saving, scratch_path(&scratch, "step_1"), &err);
        pc_alloc_fail_after(-1);
        if (rc < 0 && rc != PACO_EMEM)
            fail_msg("saving, after %d: %s", (int)n, err.message);
    }
    for (n = 0, rc = PACO_EMEM; rc < 0; n++) {
        struct paco_error err = {0};
        pc_alloc_fail_after(n);
        rc = pc_train_state_load(b.t, scratch_path(&scratch, "step_1"), id, &err);
        pc_alloc_fail_after(-1);
        if (rc < 0 && rc != PACO_EMEM)
            fail_msg("loading, after %d: %s", (int)n, err.message);
    }
    assert_int_equal(b.t->step, 1);
    scratch_close(&scratch);
    json_decref(id);
    close_bench(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(losses_fall),
        cmocka_unit_test(threads_make_no_difference), cmocka_unit_test(micro_batches_make_no_difference),
        cmocka_unit_test(quirks_weigh_micro_batches),
        cmocka_unit_test(a_step_of_packs_is_that_of_their_examples),
        cmocka_unit_test(batches_are_counted_in_packs), cmocka_unit_test(recomputing_changes_no_bit),
        cmocka_unit_test(nothing_is_updated_by_what_is_not_finite),
        cmocka_unit_test(a_step_that_is_stopped_leaves_no_trace),
        cmocka_unit_test(states_go_on_where_they_were_left), cmocka_unit_test(memory_may_run_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
