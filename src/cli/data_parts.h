// SPDX-License-Identifier: Apache-2.0
/* The commands under `paco data`. */
#ifndef PC_CLI_DATA_PARTS_H
#define PC_CLI_DATA_PARTS_H

#include "cli/command.h"

extern const struct pc_command pc_cmd_data_reformat, pc_cmd_data_resample, pc_cmd_data_split,
    pc_cmd_data_stats, pc_cmd_data_generate;

#endif
