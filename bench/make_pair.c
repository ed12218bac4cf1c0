// SPDX-License-Identifier: Apache-2.0
/* A base and a weight diff of a LLaMA of any size, for timing: seeded random numbers of the usual spread, F16
 * base, F32 diff with one row more, as safetensors in shards. Values repeat after some million; nothing here
 * compresses anyway.
 *
 *     make_pair DIR [layers [width [inner [vocab]]]]      writes DIR/raw and DIR/diff
 *
 * Plain C without the library, so that it times nothing of it. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { N_RANDOM = 1 << 22, MAX_TENSORS = 2048, SHARD = 2000000000 };

struct tensor {
    char name[96];
    uint64_t rows, cols; /* cols 0: a vector */
};

static struct tensor g_tensors[MAX_TENSORS];
static int g_n;
static float g_random[N_RANDOM]; /* about normal, deviation 1 */

static void die(const char *what)
{
    fprintf(stderr, "make_pair: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void add(uint64_t rows, uint64_t cols, const char *name)
{
    struct tensor *t = &g_tensors[g_n++];
    snprintf(t->name, sizeof t->name, "%s", name);
    t->rows = rows;
    t->cols = cols;
}

static void layer(int n, uint64_t width, uint64_t inner)
{
    static const struct {
        const char *name;
        int rows, cols; /* 1 width, 2 inner, 0 none */
    } parts[] = {{"self_attn.q_proj", 1, 1}, {"self_attn.k_proj", 1, 1}, {"self_attn.v_proj", 1, 1},
        {"self_attn.o_proj", 1, 1}, {"mlp.gate_proj", 2, 1}, {"mlp.down_proj", 1, 2}, {"mlp.up_proj", 2, 1},
        {"input_layernorm", 1, 0}, {"post_attention_layernorm", 1, 0}};
    const uint64_t sizes[] = {0, width, inner};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char name[96];
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", n, parts[i].name);
        add(sizes[parts[i].rows], sizes[parts[i].cols], name);
    }
}

static void fill_random(void)
{
    uint64_t x = 88172645463325252u;
    for (int i = 0; i < N_RANDOM; i++) {
        float sum = 0;
        for (int k = 0; k < 4; k++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            sum += (float)(x >> 40) / 16777216.0f - 0.5f;
        }
        g_random[i] = sum * 1.7320508f;
    }
}

/* Truncating is good enough for numbers that only have to be some. */
static uint16_t to_f16(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    int exponent = (int)(bits >> 23 & 255) - 112;
    if (exponent <= 0)
        return (uint16_t)(bits >> 16 & 0x8000);
    return (uint16_t)((bits >> 16 & 0x8000) | (uint32_t)exponent << 10 | (bits >> 13 & 1023));
}

static void write_values(FILE *f, const struct tensor *t, bool diff, uint64_t *at)
{
    static unsigned char block[1 << 20];
    uint64_t n = t->rows * (t->cols ? t->cols : 1), size = diff ? 4 : 2;
    bool norm = t->cols == 0;
    while (n > 0) {
        uint64_t m = n < sizeof block / size ? n : sizeof block / size;
        for (uint64_t i = 0; i < m; i++) {
            float r = g_random[(*at)++ % N_RANDOM];
            float v = diff ? r * 0.001f : norm ? 1.0f + r * 0.1f : r * 0.02f;
            uint16_t h = to_f16(v);
            if (diff)
                memcpy(block + 4 * i, &v, 4);
            else
                memcpy(block + 2 * i, &h, 2);
        }
        if (fwrite(block, (size_t)size, (size_t)m, f) != m)
            die("write");
        n -= m;
        *at += 12345; // so that no two rows of blocks are alike
    }
}

static uint64_t size_of(const struct tensor *t, bool diff)
{
    return t->rows * (t->cols ? t->cols : 1) * (diff ? 4 : 2);
}

static void write_shard(const char *dir, int i_shard, int n_shards, int first, int n, bool diff, uint64_t *at)
{
    static char header[1 << 20];
    char path[4096];
    size_t len = (size_t)sprintf(header, "{\"__metadata__\":{\"format\":\"pt\"}");
    uint64_t offset = 0;
    for (int i = first; i < first + n; i++) {
        const struct tensor *t = &g_tensors[i];
        char cols[32] = "";
        if (t->cols)
            sprintf(cols, ",%llu", (unsigned long long)t->cols);
        len += (size_t)sprintf(header + len,
            ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%llu%s],\"data_offsets\":[%llu,%llu]}", t->name,
            diff ? "F32" : "F16", (unsigned long long)t->rows, cols, (unsigned long long)offset,
            (unsigned long long)(offset + size_of(t, diff)));
        offset += size_of(t, diff);
    }
    len += (size_t)sprintf(header + len, "}");
    while (len % 8)
        header[len++] = ' ';
    snprintf(path, sizeof path, "%s/model-%05d-of-%05d.safetensors", dir, i_shard + 1, n_shards);
    FILE *f = fopen(path, "wb");
    uint64_t size = len;
    if (!f || fwrite(&size, 8, 1, f) != 1 || fwrite(header, 1, len, f) != len)
        die(path);
    for (int i = first; i < first + n; i++)
        write_values(f, &g_tensors[i], diff, at);
    if (fclose(f) != 0)
        die(path);
}

static void write_text(const char *dir, const char *name, const char *text)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    if (!f || fputs(text, f) < 0 || fclose(f) != 0)
        die(path);
}

static void write_model(const char *dir, bool diff, uint64_t seed)
{
    static char index[1 << 20];
    int first[MAX_TENSORS + 1], n_shards = 0;
    uint64_t used = 0, total = 0;
    for (int i = 0; i < g_n; i++) {
        if (i == 0 || used + size_of(&g_tensors[i], diff) > SHARD) {
            first[n_shards++] = i;
            used = 0;
        }
        used += size_of(&g_tensors[i], diff);
        total += size_of(&g_tensors[i], diff);
    }
    first[n_shards] = g_n;
    if (mkdir(dir, 0777) < 0 && errno != EEXIST)
        die(dir);
    size_t len = (size_t)sprintf(
        index, "{\"metadata\":{\"total_size\":%llu},\"weight_map\":{", (unsigned long long)total);
    for (int s = 0; s < n_shards; s++) {
        write_shard(dir, s, n_shards, first[s], first[s + 1] - first[s], diff, &seed);
        for (int i = first[s]; i < first[s + 1]; i++)
            len += (size_t)sprintf(index + len, "%s\"%s\":\"model-%05d-of-%05d.safetensors\"", i ? "," : "",
                g_tensors[i].name, s + 1, n_shards);
    }
    sprintf(index + len, "}}\n");
    write_text(dir, "model.safetensors.index.json", index);
}

static void write_config(
    const char *dir, int layers, uint64_t width, uint64_t inner, uint64_t vocab, const char *dtype)
{
    char text[1024];
    snprintf(text, sizeof text,
        "{\n  \"architectures\": [\"LlamaForCausalLM\"],\n  \"hidden_act\": \"silu\",\n  \"hidden_size\": "
        "%llu,\n"
        "  \"intermediate_size\": %llu,\n  \"max_position_embeddings\": 2048,\n  \"model_type\": \"llama\",\n"
        "  \"num_attention_heads\": %llu,\n  \"num_hidden_layers\": %d,\n  \"rms_norm_eps\": 1e-06,\n"
        "  \"tie_word_embeddings\": false,\n  \"torch_dtype\": \"%s\",\n  \"vocab_size\": %llu\n}\n",
        (unsigned long long)width, (unsigned long long)inner,
        (unsigned long long)(width / (width >= 4096 ? 128 : 64)), layers, dtype, (unsigned long long)vocab);
    write_text(dir, "config.json", text);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: make_pair DIR [layers [width [inner [vocab]]]]\n");
        return 2;
    }
    int layers = argc > 2 ? atoi(argv[2]) : 8;
    uint64_t width = argc > 3 ? strtoull(argv[3], NULL, 10) : 4096,
             inner = argc > 4 ? strtoull(argv[4], NULL, 10) : 11008,
             vocab = argc > 5 ? strtoull(argv[5], NULL, 10) : 32000;
    char dir[4000];
    fill_random();
    if (mkdir(argv[1], 0777) < 0 && errno != EEXIST)
        die(argv[1]);
    for (int diff = 0; diff < 2; diff++) {
        g_n = 0;
        add(vocab + (uint64_t)diff, width, "model.embed_tokens.weight");
        for (int n = 0; n < layers; n++)
            layer(n, width, inner);
        add(width, 0, "model.norm.weight");
        add(vocab + (uint64_t)diff, width, "lm_head.weight");
        snprintf(dir, sizeof dir, "%s/%s", argv[1], diff ? "diff" : "raw");
        write_model(dir, diff, diff ? 777 : 1);
        write_config(dir, layers, width, inner, vocab + (uint64_t)diff, diff ? "float32" : "float16");
        write_text(dir, "tokenizer_config.json",
            diff ? "{\"pad_token\": \"[PAD]\", \"tokenizer_class\": \"LlamaTokenizer\"}\n"
                 : "{\"tokenizer_class\": \"LlamaTokenizer\"}\n");
    }
    return 0;
}
