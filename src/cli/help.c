// SPDX-License-Identifier: Apache-2.0
/* Help, from the same rows that parse the command line. */
#include "cli/command.h"

#include "paco/paco.h"

#include <stdio.h>
#include <string.h>

const struct pc_command *pc_command_part(const struct pc_command *self, const char *word)
{
    size_t n = strlen(self->name);
    for (const struct pc_command *const *p = self->parts; p && *p; p++)
        if (strcmp((*p)->name + n + 1, word) == 0)
            return *p;
    return NULL;
}

static void help_of_parts(const struct pc_command *self, struct pc_buf *out)
{
    for (const struct pc_command *const *p = self->parts; p && *p; p++) {
        pc_buf_printf(
            out, "\npaco %s: %s\n\nusage: paco %s %s\n", (*p)->name, (*p)->summary, (*p)->name, (*p)->usage);
        if ((*p)->description)
            pc_buf_printf(out, "\n%s\n", (*p)->description);
        pc_buf_puts(out, "\nOptions:\n");
        pc_options_help((*p)->options, out);
    }
}

/* By an option that the command has. */
static void help_of_variables(const struct pc_command *self, struct pc_buf *out)
{
    const struct pc_option *options =
        self->options && self->options->name ? self->options : pc_common_options;
    char own[128], general[128];
    pc_option_variable(self->name, options->name, own);
    pc_option_variable(NULL, options->name, general);
    pc_buf_printf(out,
        "\nEach option has an environment variable, too: --%s is %s, or %s for all\n"
        "commands; the option wins.\n",
        options->name, own, general);
}

void pc_command_help(const struct pc_command *self, struct pc_buf *out)
{
    pc_buf_printf(out, "paco %s: %s\n\nusage: paco %s %s\n", self->name, self->summary, self->name,
        self->usage ? self->usage : "[options]");
    if (self->alias)
        pc_buf_printf(out, "Also spelt: paco %s\n", self->alias);
    if (self->description)
        pc_buf_printf(out, "\n%s\n", self->description);
    if (self->options && self->options->name) {
        pc_buf_puts(out, "\nOptions:\n");
        pc_options_help(self->options, out);
    }
    help_of_parts(self, out);
    pc_buf_puts(out, "\nOptions of every command:\n");
    pc_options_help(pc_common_options, out);
    pc_buf_puts(out, "  -h, --help                  this text\n");
    help_of_variables(self, out);
    if (self->examples)
        pc_buf_printf(out, "\nExamples:\n%s\n", self->examples);
}

static void overview(FILE *to)
{
    fprintf(to,
        "paco %s: recover, run and check LLaMA-family models published as weight diffs\n\n"
        "usage: paco COMMAND [options]\n\nCommands:\n",
        paco_version());
    for (const struct pc_command *const *c = pc_commands; *c; c++)
        fprintf(to, "  %-10s  %s\n", (*c)->name, (*c)->summary);
    fprintf(to, "\nMore about one: paco help COMMAND\n"
                "Exit status: 0 done, 1 failed, 2 misused, 128 + N stopped by signal N.\n");
}

static int print(struct pc_buf *out)
{
    struct paco_error err = {0};
    int rc = pc_buf_check(out, "the help text", &err);
    if (rc == 0)
        fwrite(out->data, 1, out->len, stdout);
    else
        pc_command_fail(NULL, &err);
    pc_buf_release(out);
    return rc == 0 ? PC_EXIT_OK : PC_EXIT_FAILED;
}

/* paco help [--man] [CMD], paco help --list, paco help --completion SHELL. The flags serve the build, not
 * people. */
int pc_help_main(int argc, char **argv)
{
    struct paco_error err = {0};
    struct pc_buf out;
    pc_buf_init(&out, 1 << 20);
    if (argc == 2 && strcmp(argv[0], "--completion") == 0) {
        if (pc_completion(argv[1], &out))
            return print(&out);
        pc_error_set(&err, PACO_EINVAL, "--completion %s: bash, zsh or fish", argv[1]);
        return pc_command_fail(NULL, &err);
    }
    if (argc == 1 && strcmp(argv[0], "--list") == 0) {
        for (const struct pc_command *const *c = pc_commands; *c; c++)
            pc_buf_printf(&out, "%s\n", (*c)->name);
        return print(&out);
    }
    if (argc == 1 && strcmp(argv[0], "help") == 0)
        argc = 0;
    if (argc == 0) {
        overview(stdout);
        return PC_EXIT_OK;
    }
    bool manual = strcmp(argv[0], "--man") == 0;
    const struct pc_command *c = argc > manual ? pc_command_find(argv[manual], &err) : NULL;
    if (argc > manual && !c)
        return pc_command_fail(NULL, &err);
    if (c && argc > manual + 1 && pc_command_part(c, argv[manual + 1]))
        c = pc_command_part(c, argv[manual + 1]);
    if (manual)
        pc_manual(c, &out);
    else if (c)
        pc_command_help(c, &out);
    return print(&out);
}
