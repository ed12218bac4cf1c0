// SPDX-License-Identifier: Apache-2.0
/* What commands print on stdout. */
#ifndef PC_CLI_OUTPUT_H
#define PC_CLI_OUTPUT_H

#include "base/error.h"

#include <jansson.h>
#include <stdint.h>

/** Print v as one line of JSON and release it. NULL (memory was out while it was built) is PACO_EMEM. */
int pc_print_json(json_t *v, struct paco_error *err);

/** Print bytes that come from a file, without what a terminal must not receive; width pads on the right, 0
 * does not. */
void pc_print_text(const char *text, int width);

/** "1,234,567" into out. Returns out. */
char *pc_human_count(uint64_t n, char out[32]);

#endif
