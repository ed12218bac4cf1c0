// SPDX-License-Identifier: Apache-2.0
/* The parts a training run is made of: the flat space, what adapters are, keyed numbers, the log, tokenizer
 * files with a pad token. */
#include "memory_checkpoint.h"
#include "scratch.h"

#include "base/file.h"
#include "train/keyed.h"
#include "train/log.h"
#include "train/lora.h"
#include "train/params.h"
#include "train/step_lines.h"
#include "weights/adapter_config.h"
#include "weights/pad_token.h"

#include <math.h>

enum { WIDTH = 4, VOCAB = 5 };

static const struct pc_config g_config = {.n_layers = 1,
    .hidden_size = WIDTH,
    .intermediate_size = 6,
    .n_heads = 2,
    .n_kv_heads = 1,
    .head_dim = 2,
    .vocab_size = VOCAB + 1,
    .attention_bias = true};

static float g_data[64];

/* All tensors of the configuration but for the embedding's last row, which the base lacks. */
static struct pc_checkpoint *base(const struct pc_params *p, const char *without)
{
    struct pc_checkpoint *ck = memory_checkpoint();
    for (size_t i = 0; i < sizeof g_data / sizeof *g_data; i++)
        g_data[i] = (float)i;
    for (size_t i = 0; i < p->n; i++) {
        const struct pc_param *v = &p->v[i];
        bool grows = strstr(v->name, "embed") || strstr(v->name, "lm_head");
        if (!without || strcmp(v->name, without) != 0)
            memory_add(ck, v->name, PC_F32, v->n_out - grows, v->n_in > 1 ? v->n_in : 0, g_data);
    }
    return ck;
}

static struct pc_params *space(bool tied)
{
    struct pc_params *p;
    struct pc_config c = g_config;
    c.tied = tied;
    assert_int_equal(pc_params_new(&p, NULL), 0);
    assert_int_equal(pc_params_add_llama(p, &c, NULL), 0);
    assert_int_equal(pc_params_allocate(p, NULL), 0);
    return p;
}

static void parameters_lie_in_one_space(void **state)
{
    (void)state;
    struct pc_params *p = space(false);
    struct pc_pool *pool = pc_pool_new(2, NULL);
    struct pc_checkpoint *ck = base(p, NULL);
    assert_int_equal(p->n, 1 + 9 + 4 + 1 + 1);
    assert_int_equal(pc_params_read(p, ck, pool, NULL, NULL), 0);
    uint64_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        const struct pc_param *v = &p->v[i];
        const struct pc_tensor *t = &p->ck->tensors[i];
        assert_int_equal(v->offset % PC_PARAM_ALIGN, 0);
        assert_int_equal(v->n, pc_tensor_n_elements(t));
        assert_ptr_equal(pc_tensor_map(t), p->w + v->offset);
        assert_int_equal(v->is_norm, strstr(v->name, "norm") != NULL);
        assert_int_equal(v->is_bias, strstr(v->name, "bias") != NULL);
        assert_true(p->w[v->offset + 1] == 1 && p->w[v->offset + v->n] == 0);
        n += v->n;
    }
    assert_int_equal(n, p->n_elements);
    const float *q = pc_params_at(p, p->w, "model.layers.0.self_attn.q_proj.bias");
    assert_ptr_equal(q, pc_tensor_map(pc_checkpoint_find(p->ck, "model.layers.0.self_attn.q_proj.bias")));
    assert_null(pc_params_at(p, p->w, "model.layers.1.self_attn.q_proj.bias"));
    pc_checkpoint_close(ck);
    pc_params_free(p);
    pc_pool_free(pool);
}

static void a_base_must_fit(void **state)
{
    (void)state;
    struct paco_error err = {0};
    struct pc_pool *pool = pc_pool_new(1, NULL);
    struct pc_params *p = space(false);
    struct pc_checkpoint *ck = base(p, "model.layers.0.mlp.up_proj.weight");
    assert_int_equal(pc_params_read(p, ck, pool, NULL, &err), PACO_ENOENT);
    assert_contains(err.message, "'model.layers.0.mlp.up_proj.weight' is missing");
    memory_add(ck, "model.layers.0.mlp.up_proj.weight", PC_F32, 6, WIDTH + 1, g_data);
    assert_int_equal(pc_params_read(p, ck, pool, NULL, &err), PACO_EMISMATCH);
    assert_contains(err.message, "shape [6,5], the model to be trained has [6,4]");
    pc_checkpoint_close(ck);
    pc_params_free(p);
    pc_pool_free(pool);
}

static void new_rows_are_drawn_or_the_mean(void **state)
{
    (void)state;
    struct pc_pool *pool = pc_pool_new(1, NULL);
    struct pc_params *p = space(false);
    struct pc_checkpoint *ck = base(p, NULL);
    assert_int_equal(pc_params_read(p, ck, pool, NULL, NULL), 0);
    assert_int_equal(pc_params_fill_new_rows(p, ck, PC_ROWS_MEAN, 0, NULL), 0);
    const float *e = pc_params_at(p, p->w, "model.embed_tokens.weight") + VOCAB * WIDTH;
    for (int c = 0; c < WIDTH; c++)
        assert_true(e[c] == (float)(8 + c)); /* of c, c + 4, ... c + 16 */
    assert_int_equal(pc_params_fill_new_rows(p, ck, PC_ROWS_RANDOM, 42, NULL), 0);
    const float *h = pc_params_at(p, p->w, "lm_head.weight") + VOCAB * WIDTH;
    for (int c = 0; c < WIDTH; c++)
        assert_true(fabsf(e[c]) < 0.2f && e[c] != 0 && e[c] != h[c]);
    assert_true(e[-1] == 19);
    pc_checkpoint_close(ck);
    pc_params_free(p);
    pc_pool_free(pool);
}

static void keyed_numbers_are_what_they_claim(void **state)
{
    (void)state;
    enum { N = 100000 };
    static float x[N];
    double mean = 0, square = 0, fourth = 0;
    pc_keyed_normal(pc_keyed_key(1, 2), 3, x, N);
    for (int i = 0; i < N; i++) {
        mean += (double)x[i] / N;
        square += pow((double)x[i] / 3, 2) / N;
        fourth += pow((double)x[i] / 3, 4) / N;
    }
    assert_true(fabs(mean) < 0.04 && fabs(square - 1) < 0.02 && fabs(fourth - 3) < 0.2);
    mean = 0;
    for (int i = 0; i < N; i++) {
        float u = pc_keyed_uniform(7, (uint64_t)i);
        assert_true(u >= 0 && u < 1);
        mean += (double)u / N;
    }
    assert_true(fabs(mean - 0.5) < 0.005);
    assert_int_not_equal(pc_keyed_key(1, 2), pc_keyed_key(2, 1));
}

static void adapters_have_targets(void **state)
{
    (void)state;
    struct paco_error err = {0};
    unsigned targets;
    assert_int_equal(pc_lora_targets_parse("q_proj,v_proj", &targets, &err), 0);
    assert_int_equal(targets, PC_LORA_TARGETS);
    assert_int_equal(pc_lora_targets_parse("all", &targets, &err), 0);
    assert_int_equal(targets, PC_LORA_ALL);
    assert_int_equal(pc_lora_targets_parse("q_proj,lm_head", &targets, &err), PACO_EINVAL);
    assert_contains(err.message, "'lm_head' is no matrix that an adapter goes beside");
    assert_int_equal(pc_lora_targets_parse("", &targets, &err), PACO_EINVAL);
    assert_contains(err.message, "no matrix is named");

    const struct pc_lora_options o = {
        .rank = 3, .alpha = 6, .targets = 1u << PC_LLAMA_DOWN | 1u << PC_LLAMA_K};
    struct pc_params *p;
    assert_int_equal(pc_params_new(&p, NULL), 0);
    assert_int_equal(pc_params_add_lora(p, &g_config, &o, NULL), 0);
    assert_int_equal(p->n, 4);
    assert_string_equal(p->v[2].name, "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight");
    assert_int_equal(p->v[2].n_out, 3);
    assert_int_equal(p->v[2].n_in, 6);
    assert_int_equal(p->v[3].n_out, WIDTH);
    assert_int_equal(pc_params_allocate(p, NULL), 0);
    pc_params_init_lora(p, 1);
    float largest = 0;
    for (uint64_t i = 0; i < p->v[2].n; i++)
        largest = fmaxf(largest, fabsf(p->w[p->v[2].offset + i]));
    assert_true(largest > 0.1f && largest <= 1 / sqrtf(6));
    for (uint64_t i = 0; i < p->v[3].n; i++)
        assert_true(p->w[p->v[3].offset + i] == 0);
    assert_true(pc_lora_scale(&o) == 2);
    pc_params_free(p);
}

/* What is written is what a merge, and more training, read. */
static void an_adapter_s_configuration_is_read_again(void **state)
{
    (void)state;
    struct pc_lora_options o = {.rank = 4,
                               .alpha = 9,
                               .dropout = 0.05,
                               .scale_by_root = true,
                               .targets = PC_LORA_ALL},
                           again = {.dropout = 0.5};
    struct pc_adapter_config c;
    struct pc_buf text;
    struct paco_error err = {0};
    float scale;
    int64_t r;
    pc_buf_init(&text, 1 << 16);
    pc_lora_config_write(&o, "a \"base\"", &text);
    if (pc_adapter_config_parse(text.data, text.len, "adapter_config.json", &c, &err) < 0)
        fail_msg("%s", err.message);
    assert_string_equal(c.base, "a \"base\"");
    assert_int_equal(pc_adapter_config_module(&c, "model.layers.0.self_attn.q_proj", &r, &scale, &err), 0);
    assert_int_equal(r, 4);
    assert_true(scale == 4.5f && scale == pc_lora_scale(&o));

    struct pc_checkpoint *ck = memory_checkpoint();
    memory_add(ck, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", PC_F32, 4, 4, g_data);
    memory_add(ck, "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", PC_F32, 4, 4, g_data);
    assert_int_equal(pc_lora_options_of(ck, c.root, &again, &err), 0);
    assert_int_equal(again.rank, 4);
    assert_true(again.alpha == 9 && again.scale_by_root);
    assert_int_equal(again.targets, 1u << PC_LLAMA_Q);
    memory_add(ck, "base_model.model.lm_head.weight", PC_F32, 4, 4, g_data);
    assert_int_equal(pc_lora_options_of(ck, c.root, &again, &err), PACO_EUNSUPPORTED);
    assert_contains(err.message, "'base_model.model.lm_head.weight' is no factor");
    pc_checkpoint_close(ck);
    pc_adapter_config_release(&c);
    pc_buf_release(&text);
}

/* ---- the log ---- */

static void add_lines(const char *dir, uint64_t from, uint64_t n, uint64_t *missing)
{
    struct pc_train_log *log;
    struct paco_error err = {0};
    if (pc_train_log_open(dir, from, &log, missing, &err) < 0)
        fail_msg("%s", err.message);
    for (uint64_t i = 1; i <= n; i++) {
        const struct pc_train_report r = {
            .step = from + i, .loss = 0.1, .rate = NAN, .n_tokens = 3, .seconds = 2};
        assert_int_equal(pc_train_log_add(log, &r, 7, &err), 0);
    }
    assert_int_equal(pc_train_log_sync(log, &err), 0);
    pc_train_log_close(log);
}

static void the_log_is_cut_where_a_run_goes_on(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_buf text;
    struct paco_error err = {0};
    uint64_t missing;
    scratch_open(&s);
    add_lines(s.dir, 0, 5, &missing);
    assert_int_equal(missing, 0);
    assert_int_equal(pc_file_slurp(scratch_path(&s, "train_log.jsonl"), 1 << 16, &text, &err), 0);
    assert_memory_equal(text.data, "{\"step\":1,\"loss\":0.1,\"learning_rate\":null,", 42);
    assert_contains(text.data, "\"tokens\":3,");
    assert_contains(text.data, "\"tokens_per_s\":1.5,");
    assert_contains(text.data, "\"peak_rss_bytes\":7");
    size_t line = text.len / 5;
    pc_buf_release(&text);
    add_lines(s.dir, 3, 1, &missing);
    assert_int_equal(missing, 0);
    assert_int_equal(pc_file_slurp(scratch_path(&s, "train_log.jsonl"), 1 << 16, &text, &err), 0);
    assert_int_equal(text.len, 4 * line);
    text.len -= 9; /* torn by a crash */
    scratch_write(&s, "train_log.jsonl", text.data, text.len);
    pc_buf_release(&text);
    add_lines(s.dir, 4, 0, &missing);
    assert_int_equal(missing, 1);
    assert_int_equal(pc_file_slurp(scratch_path(&s, "train_log.jsonl"), 1 << 16, &text, &err), 0);
    assert_int_equal(text.len, 3 * line);
    pc_buf_release(&text);
    scratch_close(&s);
}

static void two_runs_do_not_share_a_log(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_train_log *a, *b;
    struct paco_error err = {0};
    uint64_t missing;
    scratch_open(&s);
    assert_int_equal(pc_train_log_open(s.dir, 0, &a, &missing, &err), 0);
    assert_int_equal(pc_train_log_open(s.dir, 0, &b, &missing, &err), PACO_EEXIST);
    assert_contains(err.message, "another process is training");
    pc_train_log_close(a);
    scratch_close(&s);
}

static void the_log_knows_the_losses_of_steps(void **state)
{
    (void)state;
    struct scratch s;
    struct paco_error err = {0};
    double sum = 1;
    uint64_t n = 1, missing;
    scratch_open(&s);
    assert_int_equal(pc_train_log_losses(s.dir, 0, 9, &sum, &n, &err), 0);
    assert_true(sum == 0 && n == 0);
    add_lines(s.dir, 0, 5, &missing);
    assert_int_equal(pc_train_log_losses(s.dir, 1, 4, &sum, &n, &err), 0);
    assert_int_equal(n, 3);
    assert_true(sum == 0.1 + 0.1 + 0.1);
    assert_int_equal(pc_train_log_losses(s.dir, 5, 5, &sum, &n, &err), 0);
    assert_true(sum == 0 && n == 0);
    scratch_close(&s);
}

/* Six steps, four an epoch, a line every three; gone on from step go_on, if that is not 0. */
static void say_steps(bool quirks, uint64_t go_on, char said[2][160])
{
    struct scratch s;
    struct paco_error err = {0};
    struct pc_schedule schedule;
    struct pc_train_log *log;
    char line[160];
    uint64_t missing;
    assert_int_equal(pc_schedule_make(PC_SCHEDULE_LINEAR, 1e-4, 0, 8, 1, &schedule, &err), 0);
    struct pc_step_lines l = {.every = 3, .per_epoch = 4, .quirks = quirks, .schedule = &schedule}, fresh = l;
    scratch_open(&s);
    assert_int_equal(pc_train_log_open(s.dir, 0, &log, &missing, &err), 0);
    for (uint64_t step = 1; step <= 6; step++) {
        const struct pc_train_report r = {
            .step = step, .loss = (double)step / 2, .rate = pc_schedule_rate(&schedule, step - 1)};
        if (pc_step_lines_add(&l, &r, line))
            snprintf(said[step > 3], 160, "%s", line);
        else
            assert_true(step % 3);
        assert_int_equal(pc_train_log_add(log, &r, 0, &err), 0);
        if (step == go_on) {
            l = fresh;
            assert_int_equal(pc_step_lines_begin(&l, s.dir, step, &err), 0);
        }
    }
    pc_train_log_close(log);
    scratch_close(&s);
}

static void lines_are_said_as_upstream_says_them(void **state)
{
    (void)state;
    for (uint64_t go_on = 0; go_on <= 5; go_on++) {
        char said[2][160];
        say_steps(false, go_on, said);
        assert_string_equal(said[0], "  Step: 3, LR: 7.5e-05, Loss: 1");
        assert_string_equal(said[1], "  Step: 6, LR: 3.75e-05, Loss: 2.5");
        // The next step's rate; step 4 ended an epoch, and its loss is forgotten: (2.5 + 3) / 3.
        say_steps(true, go_on, said);
        assert_string_equal(said[0], "  Step: 3, LR: 6.25e-05, Loss: 1.0");
        assert_string_equal(said[1], "  Step: 6, LR: 2.5e-05, Loss: 1.8333333333333333");
    }
}

/* ---- tokenizer files ---- */

static const char *text_of(const struct pc_pad_files *f, const char *name)
{
    for (size_t i = 0; i < f->n_files; i++)
        if (strcmp(f->files[i].name, name) == 0)
            return f->files[i].bytes;
    return "";
}

static void tokenizer_files_get_a_pad_token(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_pad_files f = {.n_files = 0};
    struct paco_error err = {0};
    scratch_open(&s);
    assert_int_equal(pc_pad_files_make(s.dir, "<pad>", 32000, &f, &err), 0);
    assert_int_equal(f.n_files, 3);
    assert_string_equal(text_of(&f, "added_tokens.json"), "{\n  \"<pad>\": 32000\n}\n");
    assert_contains(text_of(&f, "tokenizer_config.json"), "\"tokenizer_class\": \"LlamaTokenizer\"");
    pc_pad_files_release(&f);
    scratch_text(
        &s, "tokenizer.json", "{\"version\": \"1.0\", \"added_tokens\": [{\"id\": 0}], \"model\": {}}");
    scratch_text(&s, "special_tokens_map.json", "{\"bos_token\": \"<s>\"}");
    assert_int_equal(pc_pad_files_make(s.dir, "[PAD]", 9, &f, &err), 0);
    assert_int_equal(f.n_files, 4);
    assert_contains(
        text_of(&f, "special_tokens_map.json"), "\"bos_token\": \"<s>\",\n  \"pad_token\": \"[PAD]\"");
    assert_contains(text_of(&f, "tokenizer.json"), "\"id\": 9,\n      \"content\": \"[PAD]\"");
    pc_pad_files_release(&f);
    scratch_text(&s, "tokenizer.json", "[]");
    assert_int_equal(pc_pad_files_make(s.dir, "[PAD]", 9, &f, &err), PACO_EFORMAT);
    assert_contains(err.path, "tokenizer.json");
    pc_pad_files_release(&f);
    scratch_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(parameters_lie_in_one_space),
        cmocka_unit_test(a_base_must_fit), cmocka_unit_test(new_rows_are_drawn_or_the_mean),
        cmocka_unit_test(keyed_numbers_are_what_they_claim), cmocka_unit_test(adapters_have_targets),
        cmocka_unit_test(an_adapter_s_configuration_is_read_again),
        cmocka_unit_test(the_log_is_cut_where_a_run_goes_on), cmocka_unit_test(two_runs_do_not_share_a_log),
        cmocka_unit_test(the_log_knows_the_losses_of_steps),
        cmocka_unit_test(lines_are_said_as_upstream_says_them),
        cmocka_unit_test(tokenizer_files_get_a_pad_token)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
