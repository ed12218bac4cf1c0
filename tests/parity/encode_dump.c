// SPDX-License-Identifier: Apache-2.0
/* For encode.py: MODEL FILE ENCODING MAX_LENGTH NEW_PAD|- THREADS prints, for each example of a data file
 * that training would see, a line {"line", "flags", "ids", "trained"}, then one {"n_read", "n_dropped",
 * "n_truncated", "n_no_eos", "n_masked", "n_empty", "digest", "file_digest", "seconds"}. */
#include "base/buf.h"
#include "prompt/vocabulary.h"
#include "train/encode_example.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int fail(const struct paco_error *err)
{
    char text[2048];
    fprintf(stderr, "encode_dump: %s\n", pc_error_format(err, text, sizeof text));
    return 1;
}

static void print_example(const struct pc_examples *set, size_t i, int32_t *ids)
{
    const struct pc_example *e = pc_example_at(set, i);
    pc_examples_get(set, i, ids, NULL);
    printf("{\"line\":%u,\"flags\":%u,\"ids\":[", e->line, e->flags);
    for (uint32_t t = 0; t < e->n_ids; t++)
        printf(t ? ",%d" : "%d", (int)ids[t]);
    printf("],\"trained\":[");
    for (uint32_t t = 0; t < e->n_ids; t++)
        printf(t ? ",%d" : "%d", pc_examples_is_trained(set, i, t));
    printf("]}\n");
}

static void print_sums(const struct pc_examples *set, double seconds)
{
    char digest[PC_SHA256_HEX], file_digest[PC_SHA256_HEX];
    printf("{\"n_read\":%zu,\"n_dropped\":%zu,\"n_truncated\":%zu,\"n_no_eos\":%zu,\"n_masked\":%zu,\"n_"
           "empty\":%zu,",
        set->n_read, set->n_dropped, set->n_truncated, set->n_no_eos, set->n_masked, set->n_empty);
    printf("\"n_ids\":%llu,\"n_trained\":%llu,\"digest\":\"%s\",\"file_digest\":\"%s\",\"seconds\":%.3f}\n",
        (unsigned long long)set->n_ids, (unsigned long long)set->n_trained,
        pc_sha256_hex(set->digest, digest), pc_sha256_hex(set->file_digest, file_digest), seconds);
}

int main(int argc, char **argv)
{
    struct paco_error err = {0};
    struct pc_tokenizer *tok;
    struct pc_examples set;
    struct timespec a, b;
    if (argc != 7) {
        fprintf(stderr, "encode_dump MODEL FILE ENCODING MAX_LENGTH NEW_PAD|- THREADS\n");
        return 2;
    }
    if (pc_vocabulary_open(argv[1], &tok, &err) < 0)
        return fail(&err);
    struct pc_pool *pool = pc_pool_new(atoi(argv[6]), &err);
    struct pc_examples_options o = {.tokenizer = tok,
        .max_seq_length = (uint32_t)atoi(argv[4]),
        .gets_pad = strcmp(argv[5], "-") != 0,
        .pool = pool};
    if (!pool || !pc_encoding_parse(argv[3], &o.encoding))
        return 2;
    clock_gettime(CLOCK_MONOTONIC, &a);
    if (pc_examples_read(argv[2], &o, &set, &err) < 0)
        return fail(&err);
    clock_gettime(CLOCK_MONOTONIC, &b);
    int32_t *ids = malloc(set.longest * sizeof *ids);
    for (size_t i = 0; ids && i < set.n; i++)
        print_example(&set, i, ids);
    print_sums(&set, (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec));
    free(ids);
    pc_examples_release(&set);
    pc_pool_free(pool);
    pc_tokenizer_free(tok);
    return ids ? 0 : 1;
}
