// SPDX-License-Identifier: Apache-2.0
/* The files of a run's directory beside its states and its log: the model, which gets there in two moves. */
#ifndef PC_TRAIN_TRAINING_FILES_H
#define PC_TRAIN_TRAINING_FILES_H

#include "base/error.h"
#include "base/json.h"

#include <stdbool.h>
#include <stdint.h>

#define PC_TRAINING_FINAL "final" /* where the model is written, before its files move up */

/** Make dir, and what is above it. */
int pc_training_directory(const char *dir, struct paco_error *err);

/** Hold size bytes of the disk below dir for what is to come, more or fewer than before; 0: none. PACO_ENOSPC
 * when there is not so much; PACO_EIO on other failures. A file system that cannot promise is believed. */
int pc_training_reserve(const char *dir, uint64_t size, struct paco_error *err);

/** Remove an earlier run's states and model, and no other file. The log is the caller's. */
int pc_training_clear(const char *dir, struct paco_error *err);

/** Move the files of dir/final up, those that make it a model last, and sync. Nothing is done where there is
 *  none: a move that was interrupted is ended by the next call. */
int pc_training_move(const char *dir, struct paco_error *err);

/** Whether dir holds the model of the run with this identity after so many steps. */
bool pc_training_finished(const char *dir, const json_t *identity, uint64_t step);

#endif
