// SPDX-License-Identifier: Apache-2.0
#include "eval/math_answer.h"

#include "eval/number_text.h"
#include "eval/task_out.h"

enum { MAX_OUTPUT = 64 << 20 };

void pc_math_ask(struct pc_ask *ask, const struct pc_ids *newline)
{
    ask->kind = PC_ASK_TEXT;
    ask->max_tokens = PC_MATH_MAX_TOKENS;
    ask->n_samples = 1;
    if (newline->n)
        ask->stop_ids[ask->n_stop_ids++] = newline;
    ask->stop_texts[ask->n_stop_texts++] = "\n";
}

/* Equal as upstream compares them, or as numbers. */
static int compare(
    struct pc_text prediction, struct pc_text answer, unsigned fixes, bool *equal, struct paco_error *err)
{
    double a, b;
    if (fixes & PC_FIX_GSM_SIGN && pc_number_value(prediction, &a) && pc_number_value(answer, &b)) {
        *equal = a == b;
        return 0;
    }
    return pc_exact_match(prediction, answer, equal, err);
}

static int put_verdict(struct pc_text question, struct pc_text answer, struct pc_text prediction,
    bool correct, json_t *record, struct paco_error *err)
{
    int rc = pc_object_put(record, "question", pc_text_value(question), err);
    if (rc == 0)
        rc = pc_object_put(record, "answer", pc_text_value(answer), err);
    if (rc == 0)
        rc = pc_object_put(record, "extraction", pc_text_value(prediction), err);
    return rc == 0 ? pc_object_put(record, "correct", json_boolean(correct), err) : rc;
}

int pc_math_judge(struct pc_text question, struct pc_text answer, const struct pc_answers *answers,
    bool drop_commas, unsigned fixes, json_t *record, struct paco_error *err)
{
    if (answers->n_texts != 1)
        return pc_error_set(err, PACO_EFORMAT, "%zu answers where one is expected", answers->n_texts);
    struct pc_text output = {answers->texts[0], answers->lens[0]}, prediction;
    struct pc_buf plain;
    bool correct = false;
    pc_buf_init(&plain, MAX_OUTPUT);
    if (drop_commas) {
        pc_drop_commas(&plain, output);
        output = (struct pc_text){plain.data, plain.len};
    }
    int rc = pc_buf_check(&plain, "an answer", err);
    prediction = pc_last_number(output, fixes & PC_FIX_GSM_SIGN);
    if (!prediction.v)
        prediction = output;
    if (rc == 0)
        rc = compare(prediction, answer, fixes, &correct, err);
    if (rc == 0)
        rc = put_verdict(question, answer, prediction, correct, record, err);
    pc_buf_release(&plain);
    return rc;
}

int pc_math_line(struct pc_buf *lines, const json_t *record, struct paco_error *err)
{
    if (!pc_record_is_good(record))
        return 0;
    return pc_lines_add(lines,
        json_pack("{s:o, s:o, s:o, s:o}", "question", pc_text_value(pc_record_text(record, "question")),
            "answer", pc_text_value(pc_record_text(record, "answer")), "model_output",
            pc_text_value(pc_record_text(record, "output")), "prediction",
            pc_text_value(pc_record_text(record, "extraction"))),
        err);
}
