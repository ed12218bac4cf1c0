// SPDX-License-Identifier: Apache-2.0
/* Manual pages from the rows that parse the command line, so that they cannot disagree. */
#include "cli/command.h"
#include "paco/paco.h"

#include <ctype.h>
#include <string.h>

/* Text for troff: '\' and '-' escaped, and no line may begin with a control character. */
static void roff(struct pc_buf *out, const char *text, size_t len)
{
    bool at_start = out->len == 0 || out->data[out->len - 1] == '\n';
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (at_start && (c == '.' || c == '\''))
            pc_buf_puts(out, "\\&");
        if (c == '\\')
            pc_buf_puts(out, "\\e");
        else if (c == '-')
            pc_buf_puts(out, "\\-");
        else
            pc_buf_putc(out, c);
        at_start = c == '\n';
    }
}

static void roff_string(struct pc_buf *out, const char *text)
{
    roff(out, text, strlen(text));
}

static void upper(struct pc_buf *out, const char *text)
{
    for (; *text; text++)
        pc_buf_putc(out, *text == '-' || *text == ' ' ? '_' : (char)toupper((unsigned char)*text));
}

static void header(struct pc_buf *out, const char *title, const char *summary)
{
    pc_buf_puts(out, ".TH ");
    upper(out, "paco");
    if (*title)
        pc_buf_putc(out, '-');
    upper(out, title);
    pc_buf_printf(out, " 1 \"\" \"paco %s\" \"User Commands\"\n.SH NAME\npaco", paco_version());
    if (*title)
        pc_buf_printf(out, "\\-%s", title);
    pc_buf_puts(out, " \\- ");
    roff_string(out, summary);
    pc_buf_putc(out, '\n');
}

/* Paragraphs end at an empty line; lines that begin with spaces keep their form. */
static void paragraphs(struct pc_buf *out, const char *text)
{
    bool kept = false;
    while (*text) {
        size_t n = strcspn(text, "\n");
        bool keep = n > 0 && text[0] == ' ';
        if (keep != kept)
            pc_buf_puts(out, keep ? ".nf\n" : ".fi\n");
        kept = keep;
        if (n == 0) {
            pc_buf_puts(out, ".PP\n");
        } else {
            roff(out, text, n);
            pc_buf_putc(out, '\n');
        }
        text += n + (text[n] == '\n');
    }
    if (kept)
        pc_buf_puts(out, ".fi\n");
}

static void option(struct pc_buf *out, const struct pc_option *o)
{
    const char *arg = o->type == PC_OPT_CHOICE && !o->arg ? o->choices : o->arg;
    pc_buf_puts(out, ".TP\n");
    if (o->short_name)
        pc_buf_printf(out, "\\fB\\-%c\\fR, ", o->short_name);
    pc_buf_puts(out, "\\fB\\-\\-");
    roff_string(out, o->name);
    pc_buf_puts(out, "\\fR");
    if (arg && o->type != PC_OPT_FLAG && o->type != PC_OPT_IGNORED) {
        pc_buf_puts(out, " \\fI");
        roff_string(out, arg);
        pc_buf_puts(out, "\\fR");
    }
    pc_buf_putc(out, '\n');
    roff_string(out, o->help);
    pc_buf_putc(out, '.');
    if (o->aliases) {
        pc_buf_puts(out, " Also \\-\\-");
        for (const char *a = o->aliases; *a; a++)
            if (*a == '|')
                pc_buf_puts(out, ", \\-\\-");
            else
                roff(out, a, 1);
        pc_buf_putc(out, '.');
    }
    if (o->type != PC_OPT_IGNORED) {
        pc_buf_puts(out, " Environment: PACO_");
        upper(out, o->name);
        pc_buf_putc(out, '.');
    }
    pc_buf_putc(out, '\n');
}

static void options(struct pc_buf *out, const char *heading, const struct pc_option *table)
{
    if (!table || !table->name)
        return;
    pc_buf_printf(out, ".SH %s\n", heading);
    for (const struct pc_option *o = table; o->name; o++)
        option(out, o);
}

/* A section for each command under this one, with its options. */
static void parts(struct pc_buf *out, const struct pc_command *self)
{
    for (const struct pc_command *const *p = self->parts; p && *p; p++) {
        pc_buf_puts(out, ".SH PACO ");
        for (const char *c = (*p)->name; *c; c++)
            pc_buf_putc(out, (char)toupper((unsigned char)*c));
        pc_buf_puts(out, "\n.B paco ");
        roff_string(out, (*p)->name);
        pc_buf_puts(out, "\n");
        roff_string(out, (*p)->usage);
        pc_buf_puts(out, "\n.PP\n");
        paragraphs(out, (*p)->description);
        for (const struct pc_option *o = (*p)->options; o->name; o++)
            option(out, o);
    }
}

static void exit_status(struct pc_buf *out)
{
    pc_buf_puts(out, ".SH EXIT STATUS\n0 done, 1 failed, 2 misused, 128 + N stopped by signal N.\n");
}

static void manual_of_program(struct pc_buf *out)
{
    header(out, "", "recover, run and check LLaMA-family models published as weight diffs");
    pc_buf_puts(out, ".SH SYNOPSIS\n.B paco\n.I COMMAND\n[options]\n.SH COMMANDS\n");
    for (const struct pc_command *const *c = pc_commands; *c; c++) {
        pc_buf_printf(out, ".TP\n\\fBpaco\\-%s\\fR(1)\n", (*c)->name);
        roff_string(out, (*c)->summary);
        pc_buf_putc(out, '\n');
    }
    pc_buf_puts(out,
        ".SH OPTIONS\nLong options may be cut to an unambiguous prefix. Each has an environment variable: "
        "\\-\\-out is PACO_OUT, or PACO_RECOVER_OUT for paco recover alone; the option wins. NO_COLOR and "
        "TERM=dumb are honoured.\n");
    exit_status(out);
}

void pc_manual(const struct pc_command *self, struct pc_buf *out)
{
    if (!self) {
        manual_of_program(out);
        return;
    }
    header(out, self->name, self->summary);
    pc_buf_printf(out, ".SH SYNOPSIS\n.B paco %s\n", self->name);
    roff_string(out, self->usage ? self->usage : "[options]");
    pc_buf_puts(out, "\n.SH DESCRIPTION\n");
    paragraphs(out, self->description ? self->description : self->summary);
    if (self->alias)
        pc_buf_printf(out, ".PP\nAlso spelt \\fBpaco %s\\fR.\n", self->alias);
    options(out, "OPTIONS", self->options);
    parts(out, self);
    options(out, "OPTIONS OF EVERY COMMAND", pc_common_options);
    pc_buf_puts(out, ".TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nShow help.\n");
    if (self->examples) {
        pc_buf_puts(out, ".SH EXAMPLES\n.nf\n");
        roff_string(out, self->examples);
        pc_buf_puts(out, "\n.fi\n");
    }
    exit_status(out);
    pc_buf_puts(out, ".SH SEE ALSO\n\\fBpaco\\fR(1)\n");
}
