// SPDX-License-Identifier: Apache-2.0
/* Whether files are still the ones they were. */
#ifndef PC_CLI_STAMP_H
#define PC_CLI_STAMP_H

#include "base/error.h"

#include <stdint.h>

/** Mix into *stamp what the system says of the model, diff or adapter called name (weights/source.h): which
 * files there are, which inodes they are, how large, and when they were changed. Their content is not read.
 * Nothing happens for NULL. Errors: those of pc_source_find; PACO_EIO. */
int pc_stamp(const char *name, uint64_t *stamp, struct paco_error *err);

#endif
