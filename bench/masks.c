// SPDX-License-Identifier: Apache-2.0
/* What answers that must have a form cost: the time of finding which tokens may come next, at each token of
 * texts that are drawn from what the form allows.
 *
 *     bench_masks VOCABULARY [TOKENS]                    a model's folder, tokenizer.json or .gguf
 *
 * A drawn answer costs this at every token; a greedy one only where its best four tokens do not fit. Tokens
 * are drawn from all that fit, each as likely as another. By processor time.
 */
#include "base/json.h"
#include "base/memory.h"
#include "base/splitmix.h"
#include "engine/constraint.h"
#include "engine/json_schema.h"
#include "prompt/vocabulary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TOKENS = 2000, MOST = 1 << 20, LONGEST = 200 };

static const struct {
    const char *name, *schema;
} g_forms[] = {
    {"any object", NULL},
    {"nested objects",
        "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{\"type\":\"integer\"},"
        "\"home\":{\"type\":\"object\",\"properties\":{\"street\":{\"type\":\"string\"},\"town\":{\"type\":"
        "\"string\"}},\"required\":[\"street\",\"town\"]}},\"required\":[\"name\",\"age\",\"home\"]}"},
    {"enums",
        "{\"type\":\"object\",\"properties\":{\"unit\":{\"enum\":[\"celsius\",\"fahrenheit\",\"kelvin\"]},"
        "\"level\":{\"enum\":[1,2,3]},\"ok\":{\"type\":\"boolean\"}},\"required\":[\"unit\",\"level\","
        "\"ok\"]}"},
    {"array of objects",
        "{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"sku\":{\"type\":\"string\"},"
        "\"price\":{\"type\":\"number\",\"minimum\":0}},\"required\":[\"sku\",\"price\"]}}"},
    {"email", "{\"type\":\"string\",\"format\":\"email\"}"},
    {"date-time", "{\"type\":\"string\",\"format\":\"date-time\"}"},
    {"uuid", "{\"type\":\"string\",\"format\":\"uuid\"}"},
    {"pattern ^.{1,200}$", "{\"type\":\"string\",\"pattern\":\"^.{1,200}$\"}"},
    {"maxLength 200", "{\"type\":\"string\",\"maxLength\":200}"},
    {"pattern ^\\w+( \\w+)*$", "{\"type\":\"string\",\"pattern\":\"^\\\\w+( \\\\w+)*$\"}"},
};

static float *g_score;
static size_t g_n;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* One of the tokens left, each as likely. */
static int32_t draw(uint64_t *random)
{
    size_t n_left = 0, id = 0;
    for (size_t i = 0; i < g_n; i++)
        n_left += g_score[i] == 0;
    if (n_left == 0)
        return -1;
    size_t wanted = (size_t)(pc_splitmix_next(random) % n_left);
    for (size_t seen = 0; id < g_n; id++)
        if (g_score[id] == 0 && seen++ == wanted)
            break;
    return (int32_t)id;
}

static void run(const struct pc_spelling *spelling, int32_t end, const char *name, const char *text,
    size_t n_tokens, double *times)
{
    struct pc_grammar *g = NULL;
    struct pc_constraint *c = NULL;
    struct paco_error err = {0};
    json_t *schema = NULL;
    uint64_t random = 1;
    double t0 = now();
    if ((text && pc_json_parse(text, strlen(text), NULL, 0, &schema, &err) < 0) ||
        pc_json_schema_compile(schema, &g, &err) < 0 ||
        pc_constraint_new(spelling, g, &end, 1, &c, &err) < 0) {
        fprintf(stderr, "bench_masks: %s: %s\n", name, err.message);
        exit(1);
    }
    double compiled = now() - t0;
    double sum = 0;
    size_t in_answer = 0;
    for (size_t i = 0; i < n_tokens; i++) {
        memset(g_score, 0, g_n * sizeof *g_score);
        double before = now();
        pc_constraint_limit(c, g_score, g_n);
        times[i] = now() - before;
        sum += times[i];
        int32_t id = draw(&random);
        pc_constraint_accept(c, id);
        if (id < 0 || id == end || ++in_answer == LONGEST) {
            in_answer = 0;
            pc_constraint_reset(c);
        }
    }
    qsort(times, n_tokens, sizeof *times, ascending);
    printf("%-24s %8.2f %8.1f %8.1f %8.1f\n", name, compiled * 1e3, sum / (double)n_tokens * 1e6,
        times[n_tokens / 2] * 1e6, times[n_tokens - 1] * 1e6);
    pc_constraint_free(c);
    pc_grammar_unref(g);
    json_decref(schema);
}

int main(int argc, char **argv)
{
    struct pc_tokenizer *tok = NULL;
    struct pc_spelling *spelling = NULL;
    struct paco_error err = {0};
    size_t n_tokens = argc > 2 ? strtoul(argv[2], NULL, 10) : TOKENS;
    if (argc < 2 || n_tokens == 0 || n_tokens > MOST) {
        fprintf(stderr, "usage: bench_masks VOCABULARY [TOKENS]\n");
        return 2;
    }
    if (pc_vocabulary_open(argv[1], &tok, &err) < 0 || pc_spelling_new(tok, &spelling, &err) < 0) {
        fprintf(stderr, "bench_masks: %s\n", err.message);
        return 1;
    }
    g_n = (size_t)pc_tokenizer_n_tokens(tok);
    g_score = pc_alloc(g_n, sizeof *g_score);
    double *times = pc_alloc(n_tokens, sizeof *times);
    int32_t end = 0;
    while (end + 1 < (int32_t)g_n && !pc_tokenizer_is_special(tok, end))
        end++;
    printf("%zu tokens; microseconds a token\n%-24s %8s %8s %8s %8s\n", g_n, "form", "ms made", "mean",
        "median", "most");
    for (size_t i = 0; g_score && times && i < sizeof g_forms / sizeof *g_forms; i++)
        run(spelling, end, g_forms[i].name, g_forms[i].schema, n_tokens, times);
    pc_free(times);
    pc_free(g_score);
    pc_spelling_free(spelling);
    pc_tokenizer_free(tok);
    return 0;
}
