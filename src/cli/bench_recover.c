// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_recover.h"

#include "base/disk.h"
#include "base/file.h"
#include "base/host.h"
#include "base/journal.h"
#include "cli/job_args.h"

#include "paco/weights.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { N_TENSORS = 4, WIDTH = 4096, MAX_PATH = 4096, CHUNK = 1 << 20, N_BUFFERS = 16, N_WRITERS = 4 };

#define ELEMENTS ((uint64_t)WIDTH * WIDTH)

static const char g_config[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":4096,"
    "\"intermediate_size\":11008,\"num_hidden_layers\":1,\"num_attention_heads\":32,"
    "\"rms_norm_eps\":1e-06,\"vocab_size\":32000,\"max_position_embeddings\":2048}\n";

struct place {
    char root[MAX_PATH], raw[MAX_PATH], diff[MAX_PATH], out[MAX_PATH], plain[MAX_PATH];
};

/* ---- files ---- */

static int write_path(char out[MAX_PATH], const char *dir, const char *name, struct paco_error *err)
{
    int n = snprintf(out, MAX_PATH, "%s/%s", dir, name);
    return n < MAX_PATH ? 0 : pc_error_set(err, PACO_EINVAL, "%s: the path is too long", dir);
}

/* The header of a safetensors file, eight bytes of length first, padded with spaces to `room`. */
static void write_header(char *to, size_t room, const char *dtype, uint64_t element)
{
    static const char *const names[N_TENSORS] = {"q_proj", "k_proj", "v_proj", "o_proj"};
    size_t at = sizeof(uint64_t);
    for (int i = 0; i < N_TENSORS; i++)
        at += (size_t)snprintf(to + at, room - at,
            "%s\"model.layers.0.self_attn.%s.weight\":{\"dtype\":\"%s\",\"shape\":[%d,%d],\"data_offsets\":[%"
            "llu,%"
            "llu]}",
            i ? "," : "{", names[i], dtype, WIDTH, WIDTH,
            (unsigned long long)((uint64_t)i * ELEMENTS * element),
            (unsigned long long)((uint64_t)(i + 1) * ELEMENTS * element));
    to[at++] = '}';
    memset(to + at, ' ', room - at);
    for (size_t i = 0; i < sizeof(uint64_t); i++)
        to[i] = (char)((room - sizeof(uint64_t)) >> (8 * i) & 255);
}

/* Numbers of some sense: F16 of about 0.03, F32 of about 0.001, the low bits random. */
static void fill_numbers(unsigned char *to, size_t size, bool half)
{
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i + 8 <= size; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        uint64_t v = half ? (x & 0x83ff83ff83ff83ffu) | 0x2800280028002800u
                          : (x & 0x807fffff807fffffu) | 0x3a8000003a800000u;
        memcpy(to + i, &v, sizeof v);
    }
}

static int write_body(struct pc_disk *disk, struct pc_disk_file *f, size_t head, uint64_t size, bool half,
    const char *dtype, struct paco_error *err)
{
    for (uint64_t at = 0; at < size; at += CHUNK) {
        struct pc_disk_buffer *b = pc_disk_take(disk);
        if (!b)
            break;
        size_t n = size - at < CHUNK ? (size_t)(size - at) : CHUNK;
        fill_numbers(b->data, n, half);
        if (at == 0 && head)
            write_header((char *)b->data, head, dtype, half ? 2 : 4);
        pc_disk_write(disk, b, f, at, 0, n, NULL);
    }
    return pc_disk_wait(disk, err);
}

/* `head` bytes of header (0: none) and the numbers of all tensors; *seconds from the first byte until all is
 * on the disk. */
static int write_numbers(const char *path, size_t head, bool half, double *seconds, struct paco_error *err)
{
    uint64_t size = head + (uint64_t)N_TENSORS * ELEMENTS * (half ? 2 : 4);
    struct pc_disk_file f = {.fd = -1, .direct_fd = -1};
    struct pc_disk *disk = NULL;
    double start = pc_seconds();
    int rc = pc_disk_open(&f, path, size, head == 0, err);
    if (rc == 0)
        rc = pc_disk_new(CHUNK, N_BUFFERS, N_WRITERS, &disk, err);
    if (rc == 0)
        rc = write_body(disk, &f, head, size, half, half ? "F16" : "F32", err);
    if (rc == 0)
        rc = pc_disk_sync(&f, err);
    *seconds = pc_seconds() - start;
    pc_disk_free(disk);
    pc_disk_close(&f);
    return rc;
}

static int make_model(const char *dir, bool half, struct paco_error *err)
{
    char path[MAX_PATH];
    double unused;
    if (mkdir(dir, 0777) < 0)
        return pc_error_os(err, errno, "cannot make %s", dir);
    int rc = write_path(path, dir, "config.json", err);
    if (rc == 0)
        rc = pc_file_write_atomic(path, g_config, sizeof g_config - 1, err);
    if (rc == 0)
        rc = write_path(path, dir, "model.safetensors", err);
    return rc < 0 ? rc : write_numbers(path, CHUNK, half, &unused, err);
}

static int make_place(const char *parent, struct place *p, struct paco_error *err)
{
    int rc = write_path(p->root, parent, "paco-bench-XXXXXX", err);
    if (rc == 0 && !mkdtemp(p->root)) {
        rc = pc_error_os(err, errno, "cannot make a folder in %s", parent);
        p->root[0] = '\0';
    }
    if (rc == 0)
        rc = write_path(p->raw, p->root, "raw", err);
    if (rc == 0)
        rc = write_path(p->diff, p->root, "diff", err);
    if (rc == 0)
        rc = write_path(p->out, p->root, "out", err);
    return rc < 0 ? rc : write_path(p->plain, p->root, "plain", err);
}

/* ---- the job ---- */

static int recover(const struct place *p, int n_threads, const struct pc_progress *progress,
    struct pc_bench_recover *out, struct paco_error *err)
{
    struct paco_recover_options o = paco_recover_options_default();
    struct paco_job_result result = {0};
    o.raw = p->raw;
    o.diff = p->diff;
    o.job.out = p->out;
    o.job.n_threads = n_threads;
    o.job.on_progress = pc_job_progress;
    o.job.ctx = (void *)progress;
    double start = pc_seconds();
    int rc = paco_recover(&o, &result, err);
    out->seconds = pc_seconds() - start;
    paco_job_result_release(&result);
    return rc;
}

int pc_bench_recover(const char *parent, int n_threads, const struct pc_progress *progress,
    struct pc_bench_recover *out, struct paco_error *err)
{
    struct place p = {.root = ""};
    *out = (struct pc_bench_recover){.bytes = (uint64_t)N_TENSORS * ELEMENTS * sizeof(float)};
    int rc = make_place(parent, &p, err);
    if (rc == 0)
        rc = make_model(p.raw, true, err);
    if (rc == 0)
        rc = make_model(p.diff, false, err);
    if (rc == 0)
        rc = recover(&p, n_threads, progress, out, err);
    if (rc == 0)
        rc = write_numbers(p.plain, 0, false, &out->write_seconds, err);
    if (p.root[0])
        (void)pc_dir_remove(p.root, NULL);
    return rc;
}
