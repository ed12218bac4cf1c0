// SPDX-License-Identifier: Apache-2.0
/* The optimiser's states in a file, of which two parts of the model are in memory: one at work, one on its
 * way.
 *
 *     pc_states_file_new(&f, dir, params, states, &err);        zeros
 *     pc_states_file_begin(f);                                  of a step: the last two parts are being read
 *     for part = n_layers, ..., 0, -1:
 *         pc_states_file_take(f, part, &m, &v, &err);           waits for it
 *         ... update it in m and v ...
 *         pc_states_file_give(f, part);                         is being written; the one before the next is
 * read pc_states_file_wait(f, &err);                             all of it is in the file
 *     pc_states_file_free(f);
 *
 * One thread reads and writes in the order it was asked to, while the others compute; past the page cache
 * where the file system takes that, so that the file does not fill memory after all. The file has no name: it
 * is scratch, and gone with the process, however that ends. Its room is taken when it is made. */
#ifndef PC_TRAIN_STATES_FILE_H
#define PC_TRAIN_STATES_FILE_H

#include "kernels/adamw.h"
#include "train/params.h"

/** One of AdamW's means, of elements from some first one on. */
struct pc_optim_moment {
    unsigned char *data; /* (n) in F32, BF16 or 8 bits */
    float *scale;        /* (n / PC_PARAM_ALIGN) of 8-bit blocks: their largest magnitudes; else NULL */
};

/** What there is of each element, or block of them. */
enum pc_states_array { PC_STATES_M, PC_STATES_V, PC_STATES_M_SCALE, PC_STATES_V_SCALE, PC_STATES_N_ARRAYS };

struct pc_states_file;

/** Bytes on the disk, and in memory. */
uint64_t pc_states_file_size(const struct pc_params *params, enum pc_optim_states states);
uint64_t pc_states_file_memory(const struct pc_params *params, enum pc_optim_states states);

/** A file in dir. params is *borrowed*. *owned*: pc_states_file_free. PACO_ENOSPC when there is no room. */
int pc_states_file_new(struct pc_states_file **out, const char *dir, const struct pc_params *params,
    enum pc_optim_states states, struct paco_error *err);
/** Waits for what is under way. NULL is fine. */
void pc_states_file_free(struct pc_states_file *f);

/** One caller at a time, as for all below but read and write. A step that was begun need not be ended. */
void pc_states_file_begin(struct pc_states_file *f);
/** m and v of part (train/pass.h), views until it is given back. Parts are taken one after the other, from
 * the last. An error, of this or of any earlier reading or writing, makes the file useless. */
int pc_states_file_take(struct pc_states_file *f, int32_t part, struct pc_optim_moment *m,
    struct pc_optim_moment *v, struct paco_error *err);
void pc_states_file_give(struct pc_states_file *f, int32_t part);
int pc_states_file_wait(struct pc_states_file *f, struct paco_error *err);

/** Where an array's entry for a parameter begins in the file. */
uint64_t pc_states_file_at(
    const struct pc_states_file *f, const struct pc_param *param, enum pc_states_array array);
/** n bytes from there on. Nothing is under way. Thread-safe on disjoint bytes. */
int pc_states_file_read(
    const struct pc_states_file *f, uint64_t at, void *buf, size_t n, struct paco_error *err);
int pc_states_file_write(
    struct pc_states_file *f, uint64_t at, const void *buf, size_t n, struct paco_error *err);

#endif
