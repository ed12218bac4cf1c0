// SPDX-License-Identifier: Apache-2.0
/* What commands read. */
#ifndef PC_CLI_INPUT_H
#define PC_CLI_INPUT_H

#include "base/buf.h"
#include "base/error.h"

/** Append all of a file, or of standard input for "-", to b, up to b's bound. Pipes are read as they come. */
int pc_read_input(const char *path, struct pc_buf *b, struct paco_error *err);

#endif
