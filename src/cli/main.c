// SPDX-License-Identifier: Apache-2.0
/* The table of subcommands. Each row is defined in its own cmd_NAME.c. */
#include "cli/command.h"
#include "paco/paco.h"

#include <stdio.h>
#include <string.h>

static const struct pc_command *const g_commands[] = {
    NULL,
};

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: paco COMMAND [options]\n");
        return PC_EXIT_MISUSED;
    }
    for (size_t i = 0; g_commands[i]; i++)
        if (strcmp(argv[1], g_commands[i]->name) == 0)
            return g_commands[i]->run(g_commands[i], argc - 2, argv + 2);
    if (strcmp(argv[1], "--version") == 0) {
        printf("paco %s\n", paco_version());
        return PC_EXIT_OK;
    }
    fprintf(stderr, "paco: unknown command '%s'\n", argv[1]);
    return PC_EXIT_MISUSED;
}
