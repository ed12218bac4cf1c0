// SPDX-License-Identifier: Apache-2.0
/* Updates in the middle of backward: the same bytes as after it, and what happens when one goes wrong. */
#include "train_bench.h"

#include "train/in_backward.h"
#include "train/state.h"

#include <math.h>
#include <unistd.h>

static struct pc_train_options big_options(bool bf16, uint64_t batch)
{
    struct pc_train_options o = options();
    o.bf16 = bf16;
    o.batch = batch;
    o.accumulation = 1;
    o.clip = 0;
    o.optimizer.weight_decay = 0.1;
    return o;
}

/* A step that is one pass anyway: whatever it is kept in, and whether the head is the embedding or not. */
static void it_is_the_ordinary_update(void **state)
{
    (void)state;
    for (int k = 0; k < 12; k++) {
        bool bf16 = k % 2, tied = k / 2 % 2;
        enum pc_dtype matrices = bf16 && k % 4 == 1 ? PC_BF16 : PC_F32;
        struct pc_train_options o = big_options(bf16, bf16 ? 6 : 1);
        o.optimizer.states = (enum pc_optim_states)(k / 4);
        struct bench after, within;
        struct pc_train_report a, b;
        open_model(&after, &o, 1, 0, NULL, tied, matrices);
        o.in_backward = true;
        o.recompute = k / 4 == 1;
        open_model(&within, &o, 3, 0, NULL, tied, matrices);
        assert_null(within.t->gradient[0]);
        for (int i = 0; i < 8; i++) {
            steps(&after, 1, &a);
            steps(&within, 1, &b);
            assert_true(a.loss == b.loss);
            assert_true(fabs(a.norm - b.norm) <= 1e-13 * a.norm);
        }
        assert_same_weights(&after, &within);
        assert_int_equal(within.t->step, 8);
        assert_int_equal(within.t->optimizer->n_updates, 8);
        close_bench(&after);
        close_bench(&within);
    }
}

/* A step of more rows than passes have otherwise: one pass, for any number of threads the same bytes. */
static void a_step_is_one_pass(void **state)
{
    (void)state;
    for (uint32_t room = 0; room <= 40; room += 40) {
        struct pc_train_options o = big_options(true, N_EXAMPLES);
        o.in_backward = true;
        struct bench one, three;
        struct pc_train_report r;
        open_model(&one, &o, 1, room, NULL, false, PC_BF16);
        open_model(&three, &o, 3, room, NULL, false, PC_BF16);
        steps(&one, 3, &r);
        assert_int_equal(r.n_examples, N_EXAMPLES);
        assert_int_equal(r.n_tokens, one.examples.n_ids);
        steps(&three, 3, &r);
        assert_same_weights(&one, &three);
        close_bench(&one);
        close_bench(&three);
    }
}

static void gradients_are_a_part_s(void **state)
{
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        struct pc_train_options o = big_options(true, 1);
        struct pc_train_memory whole, part;
        struct bench b;
        open_model(&b, &o, 1, 0, NULL, tied, PC_BF16);
        pc_train_memory(&b.t->setup, &o, &whole);
        o.in_backward = true;
        pc_train_memory(&b.t->setup, &o, &part);
        // The largest part is a layer: 4 matrices of attention, 3 of 48 and two norms in whole blocks.
        uint64_t layer = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32 + 2 * 256, embedding = 64 * 32;
        assert_int_equal(part.gradients, (layer + (tied ? embedding : 0)) * sizeof(float));
        assert_int_equal(whole.gradients, b.params->n_flat * sizeof(float));
        assert_int_equal(part.weights, b.params->n_flat * 2 + b.params->n_vectors * 4);
        close_bench(&b);
    }
}

/* In a file: the same bytes, also after going on from a state that was saved from memory or from another
 * file. */
static void states_in_a_file_are_the_same(void **state)
{
    (void)state;
    for (int k = 0; k < 6; k++) {
        struct pc_train_options o = big_options(true, 6);
        o.in_backward = true;
        o.optimizer.states = (enum pc_optim_states)(k % 3);
        struct scratch scratch;
        struct bench in_memory, in_file, after[2];
        struct pc_train_report r;
        struct paco_error err = {0};
        char dir[2][1100], top[1100];
        scratch_open(&scratch);
        snprintf(top, sizeof top, "%s", scratch.dir);
        json_t *id = json_pack("{s:i}", "seed", 7);
        const struct pc_train_saving saving = {.identity = id};
        open_model(&in_memory, &o, 1, 0, NULL, k < 3, PC_BF16);
        o.optimizer.states_dir = top;
        open_model(&in_file, &o, 2, 0, NULL, k < 3, PC_BF16);
        assert_null(in_file.t->optimizer->m.data);
        steps(&in_memory, 5, &r);
        steps(&in_file, 5, &r);
        assert_same_weights(&in_memory, &in_file);
        struct bench *of[2] = {&in_memory, &in_file};
        for (int i = 0; i < 2; i++) {
            snprintf(dir[i], sizeof dir[i], "%s", scratch_path(&scratch, i ? "file" : "memory"));
            if (pc_train_state_save(of[i]->t, &saving, dir[i], &err) < 0)
                fail_msg("%s: %s", err.path, err.message);
        }
        steps(&in_memory, 3, &r);
        steps(&in_file, 3, &r); /* goes on after a save */
        assert_same_weights(&in_memory, &in_file);
        for (int i = 0; i < 2; i++) {
            o.optimizer.states_dir = i ? NULL : top;
            open_model(&after[i], &o, 2, 0, NULL, k < 3, PC_BF16);
            if (pc_train_state_load(after[i].t, dir[i], id, &err) < 0)
                fail_msg("%s: %s", err.path, err.message);
            steps(&after[i], 3, &r);
            assert_same_weights(&in_memory, &after[i]);
            close_bench(&after[i]);
        }
        close_bench(&in_memory);
        close_bench(&in_file);
        json_decref(id);
        scratch_close(&scratch);
    }
}

/* A step whose loss is not finite has asked for states that it does not use. */
static void a_step_may_be_given_up(void **state)
{
    (void)state;
    struct scratch scratch;
    struct bench b, same;
    struct pc_train_report r;
    struct paco_error err = {0};
    struct pc_train_options o = big_options(true, 6);
    scratch_open(&scratch);
    o.in_backward = true;
    open_bench(&same, &o, 1);
    o.optimizer.states_dir = scratch.dir;
    open_bench(&b, &o, 1);
    float *w = pc_params_at(b.params, b.params->w, "model.norm.weight"), kept = w[3];
    for (int i = 0; i < 4; i++) {
        kept = w[3];
        w[3] = INFINITY;
        assert_int_equal(pc_trainer_step(b.t, NULL, &r, &err), PACO_EVERIFY);
        w[3] = kept;
        steps(&b, 1, &r);
        steps(&same, 1, &r);
    }
    assert_same_weights(&b, &same);
    close_bench(&b);
    close_bench(&same);
    scratch_close(&scratch);
}

/* Take away what is in the file without a name that this process has in dir. */
static void cut_unnamed(const char *dir)
{
    int n_cut = 0;
    for (int fd = 3; fd < 64; fd++) {
        char link[64], path[1100];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof path - 1);
        path[n > 0 ? n : 0] = '\0';
        if (strncmp(path, dir, strlen(dir)) == 0 && strstr(path, "(deleted)") && ftruncate(fd, 0) == 0)
            n_cut++;
    }
    assert_true(n_cut > 0);
}

/* What cannot be read back, as from a disk that fails, tears the model, and nothing of it is saved. */
static void a_file_that_fails_tears_the_model(void **state)
{
    (void)state;
    struct scratch scratch;
    struct bench b;
    struct pc_train_report r;
    struct paco_error err = {0};
    struct pc_train_options o = big_options(true, 6);
    scratch_open(&scratch);
    o.in_backward = true;
    o.optimizer.states_dir = scratch.dir;
    open_bench(&b, &o, 1);
    steps(&b, 2, &r);
    assert_int_equal(pc_states_file_wait(b.t->optimizer->file, &err), 0);
    cut_unnamed(scratch.dir);
    assert_int_equal(pc_trainer_step(b.t, NULL, &r, &err), PACO_EIO);
    assert_contains(err.message, "the file ends there");
    assert_true(pc_trainer_is_torn(b.t));
    json_t *id = json_pack("{s:i}", "seed", 7);
    const struct pc_train_saving saving = {.identity = id};
    assert_int_equal(pc_train_state_save(b.t, &saving, scratch_path(&scratch, "never"), &err), PACO_EIO);
    json_decref(id);
    o.optimizer.states_dir = scratch_path(&scratch, "nowhere");
    struct pc_optimizer *never = NULL;
    err = (struct paco_error){.code = 0};
    assert_int_equal(pc_optimizer_new(b.params, &o.optimizer, b.pool, &never, &err), PACO_ENOENT);
    assert_contains(err.message, "GB for the optimiser's states: a scratch file cannot be made there");
    assert_null(never);
    close_bench(&b);
    scratch_close(&scratch);
}

/* Part after part by hand, with what is not finite in one of them. */
static void a_gradient_that_is_not_finite_ends_the_step(void **state)
{
    (void)state;
    for (int32_t bad = 2; bad >= -1; bad--) {
        struct pc_train_options o = big_options(true, 2);
        o.in_backward = true;
        struct bench b;
        struct paco_error err = {0};
        double norm;
        open_bench(&b, &o, 2);
        struct pc_in_backward *u = b.t->in_backward;
        pc_in_backward_begin(u, 1e-3);
        int32_t part = 2;
        for (bool good = true; good && part >= 0; part--) {
            u->parts.part[5] = part == bad ? INFINITY : 1;
            good = pc_in_backward_ready(u, part);
            assert_int_equal(good, part != bad);
        }
        u->parts.embedding[7] = bad < 0 ? NAN : 0;
        assert_int_equal(pc_in_backward_end(u, &norm, &err), PACO_EVERIFY);
        assert_false(isfinite(norm));
        assert_contains(err.message, bad == 2   ? "the model's end is inf: the weights are left as they were"
                                     : bad >= 0 ? "what is behind it has been updated already"
                                                : "the embedding is nan: what is behind it");
        assert_int_equal(pc_trainer_is_torn(b.t), bad != 2);
        for (uint64_t i = 0; i < u->n_part; i++)
            assert_true(u->parts.part[i] == 0);
        for (uint64_t i = 0; i < u->n_embedding; i++)
            assert_true(u->parts.embedding[i] == 0);
        close_bench(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_is_the_ordinary_update),
        cmocka_unit_test(states_in_a_file_are_the_same), cmocka_unit_test(a_step_may_be_given_up),
        cmocka_unit_test(a_file_that_fails_tears_the_model), cmocka_unit_test(a_step_is_one_pass),
        cmocka_unit_test(gradients_are_a_part_s),
        cmocka_unit_test(a_gradient_that_is_not_finite_ends_the_step)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
