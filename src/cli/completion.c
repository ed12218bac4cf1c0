// SPDX-License-Identifier: Apache-2.0
/* Shell completion from the rows that parse the command line. Where nothing of ours fits, shells complete
 * file names. */
#include "cli/command.h"

#include <string.h>

typedef void option_writer(struct pc_buf *out, const struct pc_command *c, const struct pc_option *o);

/* Whether the command, or a part of it that comes before this one, has an option of that name. */
static bool is_before(const struct pc_command *c, const struct pc_command *part, const char *name)
{
    if (c->options && pc_option_find(c->options, name))
        return true;
    for (const struct pc_command *const *p = c->parts; p && *p && *p != part; p++)
        if (pc_option_find((*p)->options, name))
            return true;
    return false;
}

static void each_option(struct pc_buf *out, const struct pc_command *c, option_writer *write)
{
    for (const struct pc_option *o = c->options; o && o->name; o++)
        if (o->type != PC_OPT_IGNORED)
            write(out, c, o);
    for (const struct pc_command *const *p = c->parts; p && *p; p++)
        for (const struct pc_option *o = (*p)->options; o->name; o++)
            if (!is_before(c, *p, o->name))
                write(out, c, o);
    for (const struct pc_option *o = pc_common_options; o->name; o++)
        if (!is_before(c, NULL, o->name))
            write(out, c, o);
}

static void choices(struct pc_buf *out, const struct pc_option *o)
{
    for (const char *p = o->choices; *p; p++)
        pc_buf_putc(out, *p == '|' ? ' ' : *p);
}

/* Text between single quotes; colons and brackets mean something to zsh. */
static void quoted_zsh(struct pc_buf *out, const char *text)
{
    for (; *text; text++)
        if (*text == '\'')
            pc_buf_puts(out, "'\\''");
        else
            pc_buf_printf(out, "%s%c", strchr("[]:\\", *text) ? "\\" : "", *text);
}

static void quoted_fish(struct pc_buf *out, const char *text)
{
    for (; *text; text++)
        pc_buf_printf(out, "%s%c", strchr("'\\", *text) ? "\\" : "", *text);
}

static void bash_value(struct pc_buf *out, const struct pc_command *c, const struct pc_option *o)
{
    (void)c;
    if (o->type == PC_OPT_FLAG)
        return;
    pc_buf_puts(out, "        ");
    if (o->short_name)
        pc_buf_printf(out, "-%c|", o->short_name);
    pc_buf_printf(out, "--%s) COMPREPLY=(", o->name);
    if (o->type == PC_OPT_CHOICE) {
        pc_buf_puts(out, "$(compgen -W '");
        choices(out, o);
        pc_buf_puts(out, "' -- \"$cur\")");
    }
    pc_buf_puts(out, "); return ;;\n");
}

static void bash_name(struct pc_buf *out, const struct pc_command *c, const struct pc_option *o)
{
    (void)c;
    pc_buf_printf(out, " --%s", o->name);
}

static void bash(struct pc_buf *out)
{
    pc_buf_puts(out,
        "# bash completion for paco\n_paco() {\n"
        "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} all= words=\n"
        "    if [ \"$COMP_CWORD\" -eq 1 ] || { [ \"$COMP_CWORD\" -eq 2 ] && [ \"$prev\" = help ]; }; then\n"
        "        COMPREPLY=($(compgen -W 'help");
    for (const struct pc_command *const *c = pc_commands; *c; c++)
        pc_buf_printf(out, " %s", (*c)->name);
    pc_buf_puts(out, "' -- \"$cur\"))\n        return\n    fi\n    case ${COMP_WORDS[1]} in\n");
    for (const struct pc_command *const *c = pc_commands; *c; c++) {
        pc_buf_printf(out, "    %s)\n        case $prev in\n", (*c)->name);
        each_option(out, *c, bash_value);
        pc_buf_puts(out, "        esac\n        all='--help");
        each_option(out, *c, bash_name);
        pc_buf_putc(out, '\'');
        if ((*c)->put_words) {
            pc_buf_puts(out, " words='");
            (*c)->put_words(out);
            pc_buf_putc(out, '\'');
        }
        pc_buf_puts(out, " ;;\n");
    }
    pc_buf_puts(out, "    esac\n    case $cur in -*) COMPREPLY=($(compgen -W \"$all\" -- \"$cur\")) ;; *) "
                     "COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;; esac\n}\n"
                     "complete -o default -F _paco paco\n");
}

static void zsh_option(struct pc_buf *out, const struct pc_command *c, const struct pc_option *o)
{
    (void)c;
    pc_buf_printf(out, " \\\n            '--%s%s[", o->name, o->type == PC_OPT_FLAG ? "" : "=");
    quoted_zsh(out, o->help);
    pc_buf_putc(out, ']');
    if (o->type == PC_OPT_CHOICE) {
        pc_buf_puts(out, ":value:(");
        choices(out, o);
        pc_buf_putc(out, ')');
    } else if (o->type != PC_OPT_FLAG) {
        pc_buf_printf(out, ":%s:_files", o->arg ? o->arg : "value");
    }
    pc_buf_putc(out, '\'');
}

static void zsh(struct pc_buf *out)
{
    pc_buf_puts(out, "#compdef paco\n_paco() {\n    local -a commands=(\n");
    for (const struct pc_command *const *c = pc_commands; *c; c++) {
        pc_buf_printf(out, "        '%s:", (*c)->name);
        quoted_zsh(out, (*c)->summary);
        pc_buf_puts(out, "'\n");
    }
    pc_buf_puts(out,
        "    )\n    if (( CURRENT == 2 )); then\n        _describe command commands\n        return\n    fi\n"
        "    local name=$words[2]\n    shift words\n    (( CURRENT-- ))\n    case $name in\n");
    for (const struct pc_command *const *c = pc_commands; *c; c++) {
        pc_buf_printf(out, "    %s)\n        _arguments '*:", (*c)->name);
        if ((*c)->put_words) {
            pc_buf_puts(out, "word:{ compadd --");
            (*c)->put_words(out);
            pc_buf_puts(out, "; _files }'");
        } else {
            pc_buf_puts(out, "file:_files'");
        }
        each_option(out, *c, zsh_option);
        pc_buf_puts(out, " ;;\n");
    }
    pc_buf_puts(out, "    esac\n}\n_paco \"$@\"\n");
}

static void fish_option(struct pc_buf *out, const struct pc_command *c, const struct pc_option *o)
{
    pc_buf_printf(out, "complete -c paco -n '__fish_seen_subcommand_from %s' -l %s", c->name, o->name);
    if (o->short_name)
        pc_buf_printf(out, " -s %c", o->short_name);
    if (o->type == PC_OPT_CHOICE) {
        pc_buf_puts(out, " -x -a '");
        choices(out, o);
        pc_buf_putc(out, '\'');
    } else if (o->type != PC_OPT_FLAG) {
        pc_buf_puts(out, " -r");
    }
    pc_buf_puts(out, " -d '");
    quoted_fish(out, o->help);
    pc_buf_puts(out, "'\n");
}

static void fish(struct pc_buf *out)
{
    pc_buf_puts(out, "# fish completion for paco\n");
    for (const struct pc_command *const *c = pc_commands; *c; c++) {
        pc_buf_printf(out, "complete -c paco -f -n __fish_use_subcommand -a %s -d '", (*c)->name);
        quoted_fish(out, (*c)->summary);
        pc_buf_puts(out, "'\n");
        if ((*c)->put_words) {
            pc_buf_printf(out, "complete -c paco -n '__fish_seen_subcommand_from %s' -a '", (*c)->name);
            (*c)->put_words(out);
            pc_buf_puts(out, "'\n");
        }
        each_option(out, *c, fish_option);
    }
}

bool pc_completion(const char *shell, struct pc_buf *out)
{
    static const struct {
        const char *name;
        void (*write)(struct pc_buf *out);
    } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++)
        if (strcmp(shells[i].name, shell) == 0) {
            shells[i].write(out);
            return true;
        }
    return false;
}
