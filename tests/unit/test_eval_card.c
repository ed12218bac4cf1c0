// SPDX-License-Identifier: Apache-2.0
/* The card's arithmetic and table, flags, and the table of tasks itself. */
#include "unit.h"

#include "eval/card.h"
#include "eval/flags.h"
#include "eval/table.h"
#include "eval/tasks.h"

#include <math.h>

/* ---- the average (reference, section 8) ---- */

static void test_average(void **state)
{
    (void)state;
    char text[16];
    double v[PC_CARD_SETTINGS];
    for (int i = 0; i < PC_CARD_SETTINGS; i++)
        v[i] = pc_card_settings[i].score;
    assert_float_equal(pc_card_average(v), 23.25, 1e-9);
    assert_string_equal(pc_card_round(pc_card_own_average(), text), "23.3");
    // Each benchmark weighs the same, however many settings it has.
    for (int i = 0; i < PC_CARD_SETTINGS; i++)
        v[i] = 0;
    v[10] = 60;
    assert_float_equal(pc_card_average(v), 10, 1e-12);
    v[10] = 0;
    v[1] = 60;
    assert_float_equal(pc_card_average(v), 5, 1e-12);
    v[4] = (double)NAN;
    assert_true(isnan(pc_card_average(v)));
}

static void test_rounding(void **state)
{
    (void)state;
    char text[16];
    assert_string_equal(pc_card_round(23.25, text), "23.3");
    assert_string_equal(pc_card_round(139.5 / 6, text), "23.3");
    assert_string_equal(pc_card_round(23.2499, text), "23.2");
    assert_string_equal(pc_card_round(0, text), "0.0");
    assert_string_equal(pc_card_round(100, text), "100.0");
    assert_string_equal(pc_card_round(0.05, text), "0.1");
    assert_string_equal(pc_card_round((double)NAN, text), "-");
}

static void test_errors(void **state)
{
    (void)state;
    assert_float_equal(pc_card_error(&pc_card_settings[0]), 0.4158, 1e-4);  // MMLU, 14042
    assert_float_equal(pc_card_error(&pc_card_settings[2]), 1.8042, 1e-4);  // GSM, 200
    assert_float_equal(pc_card_error(&pc_card_settings[10]), 1.4381, 1e-4); // AlpacaFarm, 805
}

/* ---- results into columns ---- */

static json_t *parse(const char *text)
{
    json_t *v;
    assert_int_equal(pc_json_parse(text, strlen(text), NULL, 0, &v, NULL), 0);
    return v;
}

/* The result of a made-up task called name; results is what results.json holds. */
static void add(struct pc_card *card, const char *name, double score, size_t n_items, size_t n_failed,
    const json_t *results)
{
    const struct pc_task task = {.name = name};
    const struct pc_eval_result r = {
        .task = &task, .score = score, .se = 1, .n_items = n_items, .n_failed = n_failed, .results = results};
    pc_card_add(card, &r);
}

static void test_comparable(void **state)
{
    (void)state;
    static const struct {
        const char *results;
        size_t n_failed;
        const char *differs;
        size_t n_items; /* 0: the card's 200 */
    } cases[] = {
        {"{\"flags\": {\"seed\": 1, \"fix\": []}, \"bos\": \"auto\"}", 0, NULL, 0},
        {"{\"flags\": {\"seed\": 1, \"fix\": [], \"unsafe_exec\": true}}", 0, NULL, 0},
        {"{\"flags\": {\"limit\": 2}}", 0, "only the first --limit questions", 0},
        {"{\"flags\": {\"fix\": [\"gsm-sign\"]}}", 0, "with --fix", 0},
        {"{\"flags\": {\"fix\": [\"mmlu-none\"], \"ntrain\": 3}}", 0, NULL, 0}, // of other tasks
        {"{\"flags\": {\"n_shot\": 3}}", 0, "other settings than the card's", 0},
        {"{\"flags\": {}, \"bos\": \"always\"}", 0, "with --bos", 0},
        {"{\"flags\": {}}", 1, "some items failed", 0},
        {"{\"flags\": {}, \"metrics\": {\"not_comparable\": \"another judge\"}}", 0, "another judge", 0},
        {"{\"flags\": {}}", 0, "not as many questions as the card's", 199},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pc_card card = {0};
        json_t *results = parse(cases[i].results);
        add(&card, "gsm_cot", 12.5, cases[i].n_items ? cases[i].n_items : 200, cases[i].n_failed, results);
        assert_true(card.v[3].measured);
        if (cases[i].differs)
            assert_string_equal(card.v[3].differs, cases[i].differs);
        else
            assert_null(card.v[3].differs);
        json_decref(results);
    }
    struct pc_card card = {0};
    add(&card, "mgsm", 12.5, 10, 0, NULL); // not on the card
    for (int i = 0; i < PC_CARD_SETTINGS; i++)
        assert_false(card.v[i].measured);
}

/* Answers that wait for a judge, and those whose judge said nothing that can be read, in either order. */
static void test_no_preference(void **state)
{
    (void)state;
    static const char waits[] = "have no score before they are judged", silent[] = "judge gave no reply that";
    static const char *const orders[][2] = {
        {"alpaca_farm", "alpaca_judge_text"}, {"alpaca_judge_text", "alpaca_farm"}};
    json_t *plain = parse("{\"flags\": {}}");
    for (size_t i = 0; i < 2; i++) {
        struct pc_card card = {0};
        struct pc_buf b;
        pc_buf_init(&b, 1 << 16);
        add(&card, orders[i][0], (double)NAN, 805, 0, plain);
        pc_table_card(&b, &card, 100);
        assert_contains(b.data, i == 0 ? waits : silent);
        pc_buf_clear(&b);
        add(&card, orders[i][1], (double)NAN, 805, 0, plain);
        pc_table_card(&b, &card, 100);
        assert_contains(b.data, silent);
        assert_null(strstr(b.data, waits));
        pc_buf_release(&b);
    }
    json_decref(plain);
}

static void test_tables(void **state)
{
    (void)state;
    struct pc_card card = {0};
    struct pc_buf b;
    json_t *plain = parse("{\"flags\": {}}"), *limited = parse("{\"flags\": {\"limit\": 2}}");
    for (int i = 0; i < PC_CARD_SETTINGS; i++)
        add(&card, pc_card_settings[i].task, 10 + i, (size_t)pc_card_settings[i].n, 0,
            i == 2 ? limited : plain);
    pc_buf_init(&b, 1 << 16);
    pc_table_card(&b, &card, 100);
    assert_contains(b.data, "MMLU           GSM           BBH        TydiQA    Codex-Eval  AlpacaFarm\n");
    assert_contains(b.data, "    P@1   P@10  D-003  Average\n");
    assert_contains(b.data,
        "the card        41.5   40.3    7.0   10.0   32.6   31.8   31.2    7.2   13.2   22.0"
        "   21.1     23.3\n");
    assert_contains(b.data, "this model      10.0   11.0   12.0*  13.0 ");
    assert_contains(b.data, "   20.0     15.4*\n"); // (10.5 + 12.5 + 14.5 + 16.5 + 18.5 + 20) / 6
    assert_contains(
        b.data, "* not to be compared with the card's, only the first --limit questions: gsm_direct\n");
    assert_contains(b.data, "its own draw of them is not known\n");
    assert_null(strstr(b.data, "missing"));
    for (const char *line = b.data, *end; (end = strchr(line, '\n')); line = end + 1)
        assert_true(end - line <= 100);
    pc_buf_clear(&b);
    card.v[10].measured = card.v[9].measured = false;
    pc_table_card(&b, &card, 80);
    assert_contains(b.data, "GSM        Direct        7.0    1.8      12.0*    1.0\n");
    assert_contains(b.data, "AlpacaFarm D-003        21.1    1.4         -       -\n");
    assert_contains(b.data, "missing, so there is no average: codex_eval_temp_0.8, alpaca_farm\n");
    json_t *o = pc_card_json(&card);
    assert_true(json_is_null(json_object_get(o, "average")));
    assert_int_equal(json_array_size(json_object_get(o, "missing")), 2);
    const json_t *columns = json_object_get(o, "columns");
    assert_true(json_is_false(json_object_get(json_array_get(columns, 2), "comparable")));
    assert_true(json_is_true(json_object_get(json_array_get(columns, 3), "comparable")));
    json_decref(o);
    json_decref(plain);
    json_decref(limited);
    pc_buf_release(&b);
}

/* ---- flags ---- */

/* A standard error of 0 from two items would mislead. */
static void test_alike(void **state)
{
    (void)state;
    json_t *results = json_object();
    const struct pc_eval_result r = {.task = pc_task_find("gsm_cot", NULL),
        .score = 100,
        .se = 0,
        .n_items = 3,
        .n_failed = 1,
        .results = results};
    const struct pc_eval_result *list[] = {&r};
    struct pc_buf b;
    pc_buf_init(&b, 1 << 16);
    pc_table_results(&b, list, 1);
    assert_contains(b.data, "gsm_cot                  100.00       -       3     10.0*");
    assert_contains(b.data, "Wilson's 95 % interval instead of a standard error\n  gsm_cot                 "
                            "34.2 to 100.0, of 2\n");
    pc_buf_release(&b);
    json_decref(results);
}

static void test_flags(void **state)
{
    (void)state;
    struct paco_error err = {0};
    struct pc_task_flags f = pc_task_flags_default();
    json_t *o = pc_task_flags_json(&f), *expected = parse("{\"seed\": 42, \"fix\": []}");
    assert_true(json_equal(o, expected));
    json_decref(o);
    json_decref(expected);
    assert_int_equal(pc_task_flags_fix(&f, "codex-stop", &err), 0);
    assert_int_equal(pc_task_flags_fix(&f, "mmlu-none", &err), 0);
    assert_int_equal(f.fixes, PC_FIX_CODEX_STOP | PC_FIX_MMLU_NONE);
    assert_int_equal(pc_task_flags_fix(&f, "mmlu", &err), PACO_EINVAL);
    assert_contains(err.message, "--fix 'mmlu' is none of mmlu-none|gsm-quesion|");
    f.no_cot = 0;
    f.use_chat_format = 1;
    f.max_num_examples = -1;
    f.temperature = 0;
    o = pc_task_flags_json(&f);
    expected = parse("{\"max_num_examples\": -1, \"no_cot\": false, \"use_chat_format\": true, "
                     "\"temperature\": 0.0, \"seed\": 42, \"fix\": [\"mmlu-none\", \"codex-stop\"]}");
    assert_true(json_equal(o, expected));
    json_decref(o);
    json_decref(expected);
    const struct pc_task mmlu = {.name = "mmlu_0shot"}, gsm = {.name = "gsm_cot"};
    assert_string_equal(pc_task_flags_misfit(&f, &mmlu, 0), "max_num_examples");
    assert_string_equal(pc_task_flags_misfit(&f, &mmlu, 1), "no_cot");
    assert_string_equal(pc_task_flags_misfit(&f, &mmlu, 2), "temperature");
    assert_null(pc_task_flags_misfit(&f, &mmlu, 3));
    assert_string_equal(pc_task_flags_misfit(&f, &gsm, 0), "temperature");
    assert_null(pc_task_flags_misfit(&f, &gsm, 1));
}

/* ---- the table of tasks ---- */

static void test_tasks(void **state)
{
    (void)state;
    struct paco_error err = {0};
    int i_card = 0;
    for (const struct pc_task *const *t = pc_tasks; *t; t++) {
        assert_ptr_equal(pc_task_find((*t)->name, &err), *t);
        assert_non_null((*t)->summary);
        assert_int_equal((*t)->benchmark != NULL, !isnan((*t)->card_score));
        // Those of the card come first, in its order.
        while ((*t)->benchmark && i_card < PC_CARD_SETTINGS &&
               strcmp(pc_card_settings[i_card].task, (*t)->name) != 0)
            i_card++;
        if ((*t)->benchmark) {
            assert_true(i_card < PC_CARD_SETTINGS);
            assert_float_equal((*t)->card_score, pc_card_settings[i_card].score, 0);
        }
    }
    assert_null(pc_task_find("bbh", &err));
    assert_int_equal(err.code, PACO_EINVAL);
    assert_contains(err.message, "there is no task 'bbh' (did you mean bbh_direct or bbh_cot?)");
    assert_null(pc_task_find("nothing like it", &err));
    assert_contains(err.message, "--list shows them");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_average),
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_comparable),
        cmocka_unit_test(test_no_preference),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_alike),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_tasks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
