// SPDX-License-Identifier: Apache-2.0
#include "eval/tydiqa_data.h"

#include "base/file.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

const struct pc_tydiqa_language pc_tydiqa_languages[PC_TYDIQA_LANGUAGES] = {
    {"arabic", "أجب على السؤال التالي بناءً على المعلومات في المقطع المعطى.", "أجب على السؤال التالي.",
        "المقطع:", "السؤال:", "الإجابة:"},
    {"bengali", "প্রদত্ত অধ্যায়ের তথ্যের উপর ভিত্তি করে নিম্নলিখিত প্রশ্নের উত্তর দিন।", "নিম্নলিখিত প্রশ্নের উত্তর দিন।",
        "অধ্যায়:", "প্রশ্ন:", "উত্তর:"},
    {"english", "Answer the following question based on the information in the given passage.",
        "Answer the following question.", "Passage:", "Question:", "Answer:"},
    {"finnish", "Vastaa seuraavaan kysymykseen annetun kappaleen tiedon perusteella.",
        "Vastaa seuraavaan kysymykseen.", "Kappale:", "Kysymys:", "Vastaus:"},
    {"indonesian", "Jawab pertanyaan berikut berdasarkan informasi di bagian yang diberikan.",
        "Jawab pertanyaan berikut.", "Bagian:", "Pertanyaan:", "Jawaban:"},
    {"korean", "주어진 문단의 정보에 기반하여 다음 질문에 답하십시오.", "다음 질문에 답하십시오.",
        "문단:", "질문:", "답변:"},
    {"russian", "Ответьте на следующий вопрос на основе информации в данном отрывке.",
        "Ответьте на следующий вопрос.", "Отрывок:", "Вопрос:", "Ответ:"},
    {"swahili", "Jibu swali lifuatalo kulingana na habari kwenye kifungu kilichotolewa.",
        "Jibu swali lifuatalo.", "Kifungu:", "Swali:", "Jibu:"},
    {"telugu", "ఇచ్చిన పేరాలోని సమాచారం ఆధారంగా కింది ప్రశ్నకు సమాధానం ఇవ్వండి.", "క్రింది ప్రశ్నకు సమాధానం ఇవ్వండి.",
        "పేరా:", "ప్రశ్న:", "సమాధానం:"},
};

static int out_of_memory(struct paco_error *err)
{
    return pc_error_mem(err, 256, "TyDi QA's questions");
}

void pc_tydiqa_release(struct pc_tydiqa_questions *q)
{
    for (size_t i = 0; i < q->n; i++)
        pc_free(q->v[i].cut);
    for (size_t i = 0; i < q->n_roots; i++)
        json_decref(q->roots[i]);
    pc_free(q->v);
    *q = (struct pc_tydiqa_questions){0};
}

static size_t language_of(struct pc_text id)
{
    const char *dash = memchr(id.v, '-', id.len);
    size_t len = dash ? (size_t)(dash - id.v) : id.len;
    for (size_t i = 0; i < PC_TYDIQA_LANGUAGES; i++)
        if (strlen(pc_tydiqa_languages[i].name) == len && memcmp(pc_tydiqa_languages[i].name, id.v, len) == 0)
            return i;
    return PC_TYDIQA_LANGUAGES;
}

static int check_answers(const json_t *answers, struct paco_error *err)
{
    struct pc_text text;
    if (!json_is_array(answers) || json_array_size(answers) == 0)
        return pc_error_set(err, PACO_EFORMAT, "has no \"answers\", a list of objects with \"text\"");
    int rc = 0;
    for (size_t i = 0; i < json_array_size(answers) && rc == 0; i++)
        rc = pc_member_text(json_array_get(answers, i), "text", &text, err);
    return rc;
}

static int add_question(
    struct pc_tydiqa_questions *q, struct pc_text context, const json_t *qa, struct paco_error *err)
{
    struct pc_tydiqa_question new = {.context = context};
    int rc = pc_member_text(qa, "id", &new.id, err);
    if (rc == 0)
        rc = pc_member_text(qa, "question", &new.text, err);
    if (rc == 0)
        rc = check_answers(json_object_get(qa, "answers"), err);
    if (rc < 0)
        return rc;
    new.answers = json_object_get(qa, "answers");
    new.i_language = language_of(new.id);
    if (new.i_language == PC_TYDIQA_LANGUAGES) {
        if (q->n_unknown++ == 0)
            snprintf(q->unknown, sizeof q->unknown, "%.*s", (int)strcspn(new.id.v, "-"), new.id.v);
        return 0;
    }
    if (q->n >= PC_EVAL_MAX_ITEMS)
        return pc_error_set(err, PACO_ELIMIT, "more than %d questions", PC_EVAL_MAX_ITEMS);
    rc = pc_grow(&q->v, &q->capacity, q->n, sizeof *q->v, "questions", err);
    if (rc == 0)
        q->v[q->n++] = new;
    return rc;
}

static int expect_list(const json_t *object, const char *key, const json_t **out, struct paco_error *err)
{
    *out = json_object_get(object, key);
    return json_is_array(*out) ? 0 : pc_error_set(err, PACO_EFORMAT, "has no list \"%s\"", key);
}

static int add_paragraph(struct pc_tydiqa_questions *q, const json_t *paragraph, struct paco_error *err)
{
    struct pc_text context;
    const json_t *qas;
    int rc = pc_member_text(paragraph, "context", &context, err);
    if (rc == 0)
        rc = expect_list(paragraph, "qas", &qas, err);
    for (size_t i = 0; rc == 0 && i < json_array_size(qas); i++) {
        rc = add_question(q, context, json_array_get(qas, i), err);
        if (rc < 0)
            pc_error_prefix(err, "qas[%zu]", i);
    }
    return rc;
}

static int add_article(struct pc_tydiqa_questions *q, const json_t *article, struct paco_error *err)
{
    const json_t *paragraphs;
    int rc = expect_list(article, "paragraphs", &paragraphs, err);
    for (size_t i = 0; rc == 0 && i < json_array_size(paragraphs); i++) {
        rc = add_paragraph(q, json_array_get(paragraphs, i), err);
        if (rc < 0)
            pc_error_prefix(err, "paragraphs[%zu]", i);
    }
    return rc;
}

static int read_file(
    const struct pc_task_env *env, struct pc_tydiqa_questions *q, const char *path, struct paco_error *err)
{
    const json_t *data;
    json_t *root;
    int rc = pc_eval_json(env, path, &root, err);
    if (rc < 0)
        return rc;
    q->roots[q->n_roots++] = root;
    rc = expect_list(root, "data", &data, err);
    for (size_t i = 0; rc == 0 && i < json_array_size(data); i++) {
        rc = add_article(q, json_array_get(data, i), err);
        if (rc < 0)
            pc_error_prefix(err, "data[%zu]", i);
    }
    if (rc < 0)
        pc_error_path(err, path);
    return rc;
}

/* The languages' own files in the folder of one of them. */
static int read_languages(const struct pc_task_env *env, struct pc_tydiqa_questions *q,
    const char *one_of_them, const char *kind, struct paco_error *err)
{
    char *dir = pc_strndup(one_of_them, (size_t)(pc_path_base(one_of_them) - one_of_them)), name[64];
    int rc = dir ? 0 : out_of_memory(err);
    for (size_t i = 0; i < PC_TYDIQA_LANGUAGES && rc == 0; i++) {
        snprintf(name, sizeof name, "%s_tydiqa_%s.json", pc_tydiqa_languages[i].name, kind);
        char *path = pc_path_join(*dir ? dir : ".", name);
        if (!path)
            rc = out_of_memory(err);
        else if (pc_path_exists(path))
            rc = read_file(env, q, path, err);
        pc_free(path);
    }
    pc_free(dir);
    return rc;
}

int pc_tydiqa_read(
    const struct pc_task_env *env, const char *kind, struct pc_tydiqa_questions *q, struct paco_error *err)
{
    char names[PC_TYDIQA_LANGUAGES + 1][64], *path;
    const char *list[PC_TYDIQA_LANGUAGES + 2] = {names[0]};
    snprintf(names[0], sizeof names[0], "tydiqa/tydiqa-goldp-v1.1-%s.json", kind);
    for (size_t i = 0; i < PC_TYDIQA_LANGUAGES; i++) {
        snprintf(
            names[i + 1], sizeof names[0], "tydiqa/%s_tydiqa_%s.json", pc_tydiqa_languages[i].name, kind);
        list[i + 1] = names[i + 1];
    }
    int rc = pc_eval_find(env->data_dir, "TyDi QA", list, &path, err);
    if (rc < 0)
        return rc;
    rc = pc_ends_with(path, names[0] + strlen("tydiqa/")) ? read_file(env, q, path, err)
                                                          : read_languages(env, q, path, kind, err);
    pc_free(path);
    if (q->n_unknown)
        pc_note(env->notes, "%zu questions in languages there is no prompt for ('%s') are left out",
            q->n_unknown, q->unknown);
    return rc;
}

int pc_tydiqa_list(
    const struct pc_tydiqa_questions *q, size_t i_language, size_t **out, size_t *n, struct paco_error *err)
{
    size_t *v = pc_alloc(q->n, sizeof *v);
    *n = 0;
    if (!v)
        return out_of_memory(err);
    for (size_t i = 0; i < q->n; i++)
        if (q->v[i].i_language == i_language)
            v[(*n)++] = i;
    *out = v;
    return 0;
}
