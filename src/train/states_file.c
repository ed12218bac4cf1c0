// SPDX-License-Identifier: Apache-2.0
#include "train/states_file.h"

#include "base/disk.h"
#include "base/memory.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { N_BUFFERS = 2, MAX_JOBS = 8, STACK_SIZE = 128 * 1024 };

/* A part of the model in the file, and in a buffer. */
struct piece {
    uint64_t first, n;                  /* elements */
    uint64_t at, size;                  /* bytes, of the file */
    uint64_t array[PC_STATES_N_ARRAYS]; /* where each begins, from `at` */
};

/* Parts are numbered as pieces from the embedding's, which is 0. */
struct job {
    size_t i_piece;
    bool write;
};

struct pc_states_file {
    const struct pc_params *params;
    enum pc_optim_states states;
    struct piece *pieces;
    size_t n_pieces;
    struct pc_disk_file file;
    unsigned char *buffer[N_BUFFERS]; /* of piece i: i % N_BUFFERS */
    uint64_t ticket[N_BUFFERS];       /* of the reading that fills it */

    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock;
    pthread_cond_t work, moved;
    struct job jobs[MAX_JOBS];
    uint64_t n_asked, n_done; /* jobs; those between are in the ring */
    bool stop;
    int rc; /* of the first that failed, and */
    struct paco_error err;
};

/* ---- where things are ---- */

static uint64_t round_up(uint64_t n)
{
    return (n + PC_DISK_PAGE - 1) / PC_DISK_PAGE * PC_DISK_PAGE;
}

static struct piece lay_out(const struct pc_params *p, enum pc_optim_states states, int32_t part, uint64_t at)
{
    struct piece piece = {.at = at};
    uint64_t end;
    pc_params_part(p, part, &piece.first, &end);
    piece.n = end - piece.first;
    uint64_t scales = states == PC_STATES_8BIT ? piece.n / PC_PARAM_ALIGN * sizeof(float) : 0;
    const uint64_t sizes[] = {
        piece.n * pc_optim_states_size(states), piece.n * pc_optim_states_size(states), scales, scales};
    for (int i = 0; i < PC_STATES_N_ARRAYS; i++) {
        piece.array[i] = piece.size;
        piece.size += round_up(sizes[i]);
    }
    return piece;
}

/* Bytes of all parts, and of the largest. */
static uint64_t measure(const struct pc_params *p, enum pc_optim_states states, uint64_t *largest)
{
    uint64_t total = 0;
    *largest = 0;
    for (int32_t part = -1; part <= pc_params_n_layers(p); part++) {
        const struct piece piece = lay_out(p, states, part, total);
        total += piece.size;
        *largest = piece.size > *largest ? piece.size : *largest;
    }
    return total;
}

uint64_t pc_states_file_size(const struct pc_params *params, enum pc_optim_states states)
{
    uint64_t largest;
    return measure(params, states, &largest);
}

uint64_t pc_states_file_memory(const struct pc_params *params, enum pc_optim_states states)
{
    uint64_t largest;
    measure(params, states, &largest);
    return N_BUFFERS * largest;
}

uint64_t pc_states_file_at(
    const struct pc_states_file *f, const struct pc_param *param, enum pc_states_array array)
{
    const struct piece *piece = &f->pieces[pc_params_part_of(f->params, param) + 1];
    uint64_t skip = param->offset - piece->first;
    bool scale = array == PC_STATES_M_SCALE || array == PC_STATES_V_SCALE;
    return piece->at + piece->array[array] +
           (scale ? skip / PC_PARAM_ALIGN * sizeof(float) : skip * pc_optim_states_size(f->states));
}

/* ---- the thread ---- */

static int run_job(struct pc_states_file *f, const struct job *job, struct paco_error *err)
{
    const struct piece *piece = &f->pieces[job->i_piece];
    unsigned char *buffer = f->buffer[job->i_piece % N_BUFFERS];
    return job->write ? pc_disk_write_at(&f->file, piece->at, buffer, (size_t)piece->size, err)
                      : pc_disk_read_at(&f->file, piece->at, buffer, (size_t)piece->size, err);
}

static void *thread_main(void *arg)
{
    struct pc_states_file *f = arg;
    pthread_mutex_lock(&f->lock);
    for (;;) {
        while (f->n_done == f->n_asked && !f->stop)
            pthread_cond_wait(&f->work, &f->lock);
        if (f->n_done == f->n_asked)
            break;
        struct job job = f->jobs[f->n_done % MAX_JOBS];
        struct paco_error err = {0};
        int rc = f->rc;
        pthread_mutex_unlock(&f->lock);
        if (rc == 0) // behind one that failed nothing is right any more
            rc = run_job(f, &job, &err);
        pthread_mutex_lock(&f->lock);
        if (f->rc == 0 && rc < 0) {
            f->rc = rc;
            f->err = err;
        }
        f->n_done++;
        pthread_cond_broadcast(&f->moved);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

/* Returns the job's ticket: it is done when as many are. */
static uint64_t ask(struct pc_states_file *f, size_t i_piece, bool write)
{
    pthread_mutex_lock(&f->lock);
    while (f->n_asked - f->n_done == MAX_JOBS)
        pthread_cond_wait(&f->moved, &f->lock);
    f->jobs[f->n_asked % MAX_JOBS] = (struct job){i_piece, write};
    uint64_t ticket = ++f->n_asked;
    pthread_cond_signal(&f->work);
    pthread_mutex_unlock(&f->lock);
    return ticket;
}

static int wait_for(struct pc_states_file *f, uint64_t ticket, struct paco_error *err)
{
    pthread_mutex_lock(&f->lock);
    while (f->n_done < ticket)
        pthread_cond_wait(&f->moved, &f->lock);
    int rc = f->rc;
    if (rc < 0 && err)
        *err = f->err;
    pthread_mutex_unlock(&f->lock);
    return rc;
}

static int start(struct pc_states_file *f, struct paco_error *err)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    int rc = pthread_create(&f->thread, &attr, thread_main, f);
    pthread_attr_destroy(&attr);
    f->has_thread = rc == 0;
    return rc == 0 ? 0 : pc_error_os(err, rc, "cannot start a thread that reads and writes");
}

/* ---- life ---- */

static int make_room(struct pc_states_file *f, const char *dir, struct paco_error *err)
{
    uint64_t largest, total = measure(f->params, f->states, &largest);
    for (size_t i = 0; i < N_BUFFERS; i++) {
        f->buffer[i] = pc_alloc_huge((size_t)largest);
        if (!f->buffer[i])
            return pc_error_mem(err, largest, "the optimiser's states");
    }
    int rc = pc_disk_open_unnamed(&f->file, dir, total, err);
    if (rc < 0)
        pc_error_prefix(err, "%.2f GB for the optimiser's states", (double)total * 1e-9);
    return rc;
}

int pc_states_file_new(struct pc_states_file **out, const char *dir, const struct pc_params *params,
    enum pc_optim_states states, struct paco_error *err)
{
    struct pc_states_file *f = pc_alloc_zero(1, sizeof *f);
    size_t n = (size_t)pc_params_n_layers(params) + 2;
    struct piece *pieces = pc_alloc_zero(n, sizeof *pieces);
    if (!f || !pieces) {
        pc_free(f);
        pc_free(pieces);
        return pc_error_mem(err, n * sizeof *pieces, "the optimiser's states");
    }
    f->params = params;
    f->states = states;
    f->pieces = pieces;
    f->n_pieces = n;
    f->file = (struct pc_disk_file){.fd = -1, .direct_fd = -1};
    for (size_t i = 0; i < n; i++)
        pieces[i] = lay_out(params, states, (int32_t)i - 1, i ? pieces[i - 1].at + pieces[i - 1].size : 0);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->work, NULL);
    pthread_cond_init(&f->moved, NULL);
    int rc = make_room(f, dir, err);
    if (rc == 0)
        rc = start(f, err);
    if (rc < 0)
        return pc_states_file_free(f), rc;
    *out = f;
    return 0;
}

void pc_states_file_free(struct pc_states_file *f)
{
    if (!f)
        return;
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_cond_broadcast(&f->work);
    pthread_mutex_unlock(&f->lock);
    if (f->has_thread)
        pthread_join(f->thread, NULL);
    pthread_cond_destroy(&f->moved);
    pthread_cond_destroy(&f->work);
    pthread_mutex_destroy(&f->lock);
    pc_disk_close(&f->file);
    for (size_t i = 0; i < N_BUFFERS; i++)
        pc_free(f->buffer[i]);
    pc_free(f->pieces);
    pc_free(f);
}

/* ---- a step ---- */

/* What a buffer held has been asked to be written before: jobs are done in their order. */
static void fetch(struct pc_states_file *f, size_t i_piece)
{
    f->ticket[i_piece % N_BUFFERS] = ask(f, i_piece, false);
}

void pc_states_file_begin(struct pc_states_file *f)
{
    for (size_t i = 1; i <= N_BUFFERS; i++)
        fetch(f, f->n_pieces - i);
}

int pc_states_file_take(struct pc_states_file *f, int32_t part, struct pc_optim_moment *m,
    struct pc_optim_moment *v, struct paco_error *err)
{
    size_t i = (size_t)(part + 1);
    const struct piece *piece = &f->pieces[i];
    unsigned char *buffer = f->buffer[i % N_BUFFERS];
    bool has_scales = f->states == PC_STATES_8BIT;
    int rc = wait_for(f, f->ticket[i % N_BUFFERS], err);
    *m = (struct pc_optim_moment){.data = buffer + piece->array[PC_STATES_M]};
    *v = (struct pc_optim_moment){.data = buffer + piece->array[PC_STATES_V]};
    if (has_scales) {
        m->scale = (float *)(void *)(buffer + piece->array[PC_STATES_M_SCALE]);
        v->scale = (float *)(void *)(buffer + piece->array[PC_STATES_V_SCALE]);
    }
    return rc;
}

void pc_states_file_give(struct pc_states_file *f, int32_t part)
{
    size_t i = (size_t)(part + 1);
    (void)ask(f, i, true);
    if (i >= N_BUFFERS)
        fetch(f, i - N_BUFFERS);
}

int pc_states_file_wait(struct pc_states_file *f, struct paco_error *err)
{
    return wait_for(f, f->n_asked, err);
}

/* ---- between steps ---- */

int pc_states_file_read(
    const struct pc_states_file *f, uint64_t at, void *buf, size_t n, struct paco_error *err)
{
    assert(f->n_done == f->n_asked);
    return pc_disk_read_at(&f->file, at, buf, n, err);
}

int pc_states_file_write(
    struct pc_states_file *f, uint64_t at, const void *buf, size_t n, struct paco_error *err)
{
    assert(f->n_done == f->n_asked);
    return pc_disk_write_at(&f->file, at, buf, n, err);
}
