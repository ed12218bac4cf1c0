// SPDX-License-Identifier: Apache-2.0
#include "base/options.h"

#include "base/memory.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HELP_WIDTH = 100, HELP_COLUMN = 30, MAX_REMARKS = 64 * 1024 };

static char fold_dash(char c)
{
    return c == '_' ? '-' : c;
}

/* Compare name (n bytes) with an option's name, '-' and '_' alike. */
static bool same_name(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fold_dash(a[i]) != fold_dash(b[i]))
            return false;
    return true;
}

/* Call fn for the option's name and each alias until it returns true. */
static bool each_name(
    const struct pc_option *o, bool (*fn)(const char *name, size_t len, void *ctx), void *ctx)
{
    if (fn(o->name, strlen(o->name), ctx))
        return true;
    for (const char *a = o->aliases; a && *a;) {
        size_t n = strcspn(a, "|");
        if (fn(a, n, ctx))
            return true;
        a += n + (a[n] == '|');
    }
    return false;
}

struct wanted {
    const char *name;
    size_t len;
};

static bool is_exact(const char *name, size_t len, void *ctx)
{
    const struct wanted *w = ctx;
    return len == w->len && same_name(name, w->name, len);
}

static bool is_prefix(const char *name, size_t len, void *ctx)
{
    const struct wanted *w = ctx;
    return w->len < len && same_name(name, w->name, w->len);
}

const struct pc_option *pc_option_find(const struct pc_option *table, const char *name)
{
    struct wanted w = {name, strlen(name)};
    for (const struct pc_option *o = table; o->name; o++)
        if (each_name(o, is_exact, &w))
            return o;
    return NULL;
}

int pc_edit_distance(const char *a, const char *b)
{
    enum { MAX = 64 };
    size_t n = strnlen(a, MAX), m = strnlen(b, MAX);
    int rows[3][MAX + 1]; // row i is rows[i % 3]: an exchange looks two rows back
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int *row = rows[i % 3], *above = rows[(i + 2) % 3], *second = rows[(i + 1) % 3];
        char c = fold_dash(a[i - 1]);
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            char d = fold_dash(b[j - 1]);
            int best = above[j] + 1 < row[j - 1] + 1 ? above[j] + 1 : row[j - 1] + 1;
            int change = above[j - 1] + (c != d);
            best = change < best ? change : best;
            if (i > 1 && j > 1 && c == fold_dash(b[j - 2]) && d == fold_dash(a[i - 2]) &&
                second[j - 2] + 1 < best)
                best = second[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[n % 3][m];
}

struct nearest {
    const char *wanted;
    char best[65];
    int distance;
};

static bool measure(const char *name, size_t len, void *ctx)
{
    struct nearest *near = ctx;
    char text[65];
    snprintf(text, sizeof text, "%.*s", (int)(len < 64 ? len : 64), name);
    int d = pc_edit_distance(near->wanted, text);
    if (d < near->distance) {
        near->distance = d;
        memcpy(near->best, text, sizeof text);
    }
    return false;
}

static int unknown_option(const struct pc_option *table, const char *name, size_t len, struct paco_error *err)
{
    char wanted[65];
    snprintf(wanted, sizeof wanted, "%.*s", (int)(len < 64 ? len : 64), name);
    struct nearest near = {.wanted = wanted, .distance = 1 + (int)strlen(wanted) / 3};
    for (const struct pc_option *o = table; o->name; o++)
        each_name(o, measure, &near);
    if (near.best[0])
        return pc_error_set(err, PACO_EINVAL, "unknown option --%s (did you mean --%s?)", wanted, near.best);
    return pc_error_set(err, PACO_EINVAL, "unknown option --%s (-h lists them)", wanted);
}

static int find_long(const struct pc_option *table, const char *name, size_t len,
    const struct pc_option **found, struct paco_error *err)
{
    struct wanted w = {name, len};
    *found = NULL;
    for (const struct pc_option *o = table; o->name; o++)
        if (each_name(o, is_exact, &w)) {
            *found = o;
            return 0;
        }
    for (const struct pc_option *o = table; o->name; o++) {
        if (!each_name(o, is_prefix, &w))
            continue;
        if (*found)
            return pc_error_set(err, PACO_EINVAL, "option --%.*s is ambiguous: --%s or --%s", (int)len, name,
                (*found)->name, o->name);
        *found = o;
    }
    return *found ? 0 : unknown_option(table, name, len, err);
}

static bool parse_bool(const char *s, bool *out)
{
    static const char *const yes[] = {"true", "1", "yes", "on"}, *const no[] = {"false", "0", "no", "off"};
    for (size_t i = 0; i < 4; i++) {
        if (strcasecmp(s, yes[i]) == 0 || strcasecmp(s, no[i]) == 0) {
            *out = strcasecmp(s, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

bool pc_parse_size(const char *text, uint64_t *bytes)
{
    static const struct {
        const char *unit;
        double factor;
    } units[] = {{"", 1}, {"B", 1}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"KiB", 1024},
        {"MiB", 1048576}, {"GiB", 1073741824.0}, {"TiB", 1099511627776.0}, {"K", 1024}, {"M", 1048576},
        {"G", 1073741824.0}};
    char *end;
    errno = 0;
    double x = strtod(text, &end);
    if (end == text || errno || !(x >= 0) || !isfinite(x))
        return false;
    while (*end == ' ')
        end++;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcasecmp(end, units[i].unit) == 0) {
            x *= units[i].factor;
            if (x > 9e18)
                return false;
            *bytes = (uint64_t)x;
            return true;
        }
    return false;
}

static int add_string(struct pc_strings *list, const char *s, struct paco_error *err)
{
    const char **v = pc_realloc(list->v, list->n + 1, sizeof *v);
    if (!v)
        return pc_error_mem(err, (list->n + 1) * sizeof *v, "the command line");
    v[list->n++] = s;
    list->v = v;
    return 0;
}

static bool is_choice(const char *choices, const char *s)
{
    size_t len = strlen(s);
    for (const char *c = choices; *c;) {
        size_t n = strcspn(c, "|");
        if (n == len && strncmp(c, s, n) == 0)
            return true;
        c += n + (c[n] == '|');
    }
    return false;
}

static int out_of_range(const struct pc_option *o, const char *s, struct paco_error *err)
{
    return pc_error_set(err, PACO_EINVAL,
        o->max < 1e15 ? "option --%s: %s is outside %.15g to %.15g" : "option --%s: %s is less than %.15g",
        o->name, s, o->min, o->max);
}

static int set_value(const struct pc_option *o, const char *s, void *values, struct paco_error *err)
{
    void *at = o->at ? o->at : (char *)values + o->offset;
    bool bounded = o->min != 0 || o->max != 0;
    char *end;
    errno = 0;
    switch (o->type) {
    case PC_OPT_FLAG:
        if (!parse_bool(s, at))
            return pc_error_set(err, PACO_EINVAL, "option --%s: '%s' is neither true nor false", o->name, s);
        return 0;
    case PC_OPT_CHOICE:
        if (!is_choice(o->choices, s))
            return pc_error_set(err, PACO_EINVAL, "option --%s: '%s' is none of %s", o->name, s, o->choices);
        *(const char **)at = s;
        return 0;
    case PC_OPT_STRING: *(const char **)at = s; return 0;
    case PC_OPT_INT: {
        long long x = strtoll(s, &end, 10);
        if (end == s || *end || errno)
            return pc_error_set(err, PACO_EINVAL, "option --%s: '%s' is not a whole number", o->name, s);
        if (bounded && ((double)x < o->min || (double)x > o->max))
            return out_of_range(o, s, err);
        *(int64_t *)at = x;
        return 0;
    }
    case PC_OPT_FLOAT: {
        double x = strtod(s, &end);
        if (end == s || *end || !isfinite(x))
            return pc_error_set(err, PACO_EINVAL, "option --%s: '%s' is not a number", o->name, s);
        if (bounded && (x < o->min || x > o->max))
            return out_of_range(o, s, err);
        *(double *)at = x;
        return 0;
    }
    case PC_OPT_SIZE:
        if (!pc_parse_size(s, at))
            return pc_error_set(
                err, PACO_EINVAL, "option --%s: '%s' is not a size (say 10GB or 512MiB)", o->name, s);
        return 0;
    case PC_OPT_LIST: return add_string(at, s, err);
    case PC_OPT_IGNORED: return 0;
    }
    return 0;
}

struct parse {
    const struct pc_option *table;
    const char *command;
    int argc, i;
    char **argv;
    void *values;
    struct pc_args *args;
    struct paco_error *err;
};

static void mark_given(struct parse *p, const struct pc_option *o)
{
    p->args->given[o - p->table] = true;
}

/* Set o's value; a list is remembered, for pc_args_release. */
static int assign(struct parse *p, const struct pc_option *o, const char *s)
{
    struct pc_args *args = p->args;
    struct pc_strings *list = o->type == PC_OPT_LIST ? (void *)((char *)p->values + o->offset) : NULL;
    bool known = !list;
    for (int i = 0; i < args->n_lists; i++)
        known |= args->lists[i] == list;
    if (!known && args->n_lists == PC_MAX_LIST_OPTIONS)
        return pc_error_set(p->err, PACO_ELIMIT, "more than %d list options", PC_MAX_LIST_OPTIONS);
    if (!known)
        args->lists[args->n_lists++] = list;
    return set_value(o, s, p->values, p->err);
}

/* "--raw --diff D": the value was forgotten. A value that looks like an option is written --raw=--diff. */
static bool is_option(const struct pc_option *table, const char *arg)
{
    char name[65];
    if (strncmp(arg, "--", 2) != 0 || !arg[2])
        return false;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(arg + 2, "="), arg + 2);
    return pc_option_find(table, name) != NULL;
}

/* Take o, whose value is attached ("=value" or "-mvalue") or NULL. */
static int take(struct parse *p, const struct pc_option *o, const char *attached)
{
    const char *next = p->i + 1 < p->argc ? p->argv[p->i + 1] : NULL;
    bool unused;
    mark_given(p, o);
    if (o->type == PC_OPT_FLAG) {
        if (!attached && next && parse_bool(next, &unused) && !isdigit((unsigned char)next[0])) {
            attached = next;
            p->i++;
        }
        return assign(p, o, attached ? attached : "true");
    }
    if (o->type == PC_OPT_IGNORED) {
        if (!attached && next && next[0] != '-')
            p->i++;
        return add_string(&p->args->ignored, o->help, p->err);
    }
    if (!attached) {
        if (next && is_option(p->table, next))
            return pc_error_set(p->err, PACO_EINVAL, "option --%s needs a value (%s), found option %s",
                o->name, o->arg ? o->arg : "VALUE", next);
        if (!next)
            return pc_error_set(
                p->err, PACO_EINVAL, "option --%s needs a value (%s)", o->name, o->arg ? o->arg : "VALUE");
        attached = next;
        p->i++;
    }
    return assign(p, o, attached);
}

static int parse_short(struct parse *p, const char *arg)
{
    for (const struct pc_option *o = p->table; o->name; o++)
        if (o->short_name && o->short_name == arg[1]) {
            if (arg[2] && o->type == PC_OPT_FLAG)
                return pc_error_set(
                    p->err, PACO_EINVAL, "option -%c takes no value (found '%s')", arg[1], arg);
            return take(p, o, arg[2] ? arg + 2 : NULL);
        }
    // "-out" for "--out" is a common slip.
    if (arg[2] && pc_option_find(p->table, arg + 1))
        return pc_error_set(p->err, PACO_EINVAL, "unknown option %s (did you mean -%s?)", arg, arg);
    return pc_error_set(p->err, PACO_EINVAL, "unknown option -%c (-h lists them)", arg[1]);
}

static int parse_long(struct parse *p, const char *arg)
{
    const char *name = arg + 2;
    size_t len = strcspn(name, "=");
    const struct pc_option *o;
    int rc = find_long(p->table, name, len, &o, p->err);
    return rc < 0 ? rc : take(p, o, name[len] == '=' ? name + len + 1 : NULL);
}

const char *pc_option_variable(const char *command, const char *option, char name[128])
{
    int n = snprintf(name, 128, "PACO_%s%s%s", command ? command : "", command ? "_" : "", option);
    for (int i = 0; i < n && i < 127; i++)
        name[i] = name[i] == '-' || name[i] == ' ' ? '_' : (char)toupper((unsigned char)name[i]);
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static int take_variable(struct parse *p, const struct pc_option *o)
{
    char name[128];
    const char *value = p->command ? pc_option_variable(p->command, o->name, name) : NULL;
    bool is_general = !value;
    if (!value && !(value = pc_option_variable(NULL, o->name, name)))
        return 0;
    if (is_general && o->type == PC_OPT_CHOICE && !is_choice(o->choices, value)) {
        char own[128];
        pc_option_variable(p->command ? p->command : "COMMAND", o->name, own);
        pc_buf_printf(&p->args->remarks,
            "the environment variable %s is '%s', none of %s here, and ignored (%s is for this command "
            "alone)\n",
            name, value, o->choices, own);
        return 0;
    }
    mark_given(p, o);
    int rc = assign(p, o, value);
    if (rc < 0)
        pc_error_prefix(p->err, "environment variable %s", name);
    return rc;
}

static int take_environment(struct parse *p)
{
    int rc = 0;
    for (const struct pc_option *o = p->table; o->name && rc == 0; o++)
        if (o->type != PC_OPT_IGNORED && !p->args->given[o - p->table])
            rc = take_variable(p, o);
    return rc;
}

static int take_arguments(struct parse *p)
{
    bool only_positional = false;
    int rc = 0;
    for (; rc == 0 && p->i < p->argc; p->i++) {
        const char *arg = p->argv[p->i];
        if (only_positional || arg[0] != '-' || arg[1] == '\0')
            rc = add_string(&p->args->positional, arg, p->err);
        else if (strcmp(arg, "--") == 0)
            only_positional = true;
        else
            rc = arg[1] == '-' ? parse_long(p, arg) : parse_short(p, arg);
    }
    return rc;
}

static bool is_missing(const struct parse *p, const struct pc_option *o)
{
    return o->required && !p->args->given[o - p->table];
}

/* Several options were left out. If there are as many words that belong to none, they are probably what the
 * options should have been given. */
static int refuse_missing(const struct parse *p, size_t n)
{
    const struct pc_strings *words = &p->args->positional;
    char list[512] = "", line[512] = "";
    size_t i = 0, len = 0, line_len = 0;
    for (const struct pc_option *o = p->table; o->name && len < sizeof list && line_len < sizeof line; o++) {
        if (!is_missing(p, o))
            continue;
        len += (size_t)snprintf(list + len, sizeof list - len, "%s--%s %s",
            i == 0       ? ""
            : i + 1 == n ? " and "
                         : ", ",
            o->name, o->arg ? o->arg : "");
        if (words->n == n)
            line_len +=
                (size_t)snprintf(line + line_len, sizeof line - line_len, " --%s %s", o->name, words->v[i]);
        i++;
    }
    return pc_error_set(p->err, PACO_EINVAL, "options %s are required%s%s", list,
        words->n == n ? ": did you mean" : "", words->n == n ? line : "");
}

static int check_required(const struct parse *p)
{
    const struct pc_option *first = NULL;
    size_t n = 0;
    for (const struct pc_option *o = p->table; o->name; o++)
        if (is_missing(p, o) && n++ == 0)
            first = o;
    if (n > 1)
        return refuse_missing(p, n);
    if (n == 0)
        return 0;
    const struct pc_strings *words = &p->args->positional;
    return words->n == 1
               ? pc_error_set(p->err, PACO_EINVAL, "option --%s %s is required: did you mean --%s %s",
                     first->name, first->arg ? first->arg : "", first->name, words->v[0])
               : pc_error_set(p->err, PACO_EINVAL, "option --%s %s is required: %s", first->name,
                     first->arg ? first->arg : "", first->help);
}

int pc_options_parse(const struct pc_option *table, const char *command, int argc, char **argv, void *values,
    struct pc_args *args, struct paco_error *err)
{
    *args = (struct pc_args){0};
    pc_buf_init(&args->remarks, MAX_REMARKS);
    struct parse p = {table, command, argc, 0, argv, values, args, err};
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) {
            args->help = true;
            return 0;
        }
    int rc = take_arguments(&p);
    if (rc == 0)
        rc = take_environment(&p);
    if (rc == 0)
        rc = check_required(&p);
    if (rc < 0)
        pc_args_release(args);
    return rc;
}

void pc_args_release(struct pc_args *args)
{
    pc_free(args->positional.v);
    pc_free(args->ignored.v);
    pc_buf_release(&args->remarks);
    for (int i = 0; i < args->n_lists; i++) {
        pc_free(args->lists[i]->v);
        *args->lists[i] = (struct pc_strings){0};
    }
    *args = (struct pc_args){0};
}

static void wrap(struct pc_buf *out, const char *text, int column)
{
    int at = column;
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (at > column && at + 1 + n > HELP_WIDTH) {
            pc_buf_printf(out, "\n%*s", column, "");
            at = column;
        } else if (at > column) {
            pc_buf_putc(out, ' ');
            at++;
        }
        pc_buf_add(out, text, (size_t)n);
        at += n;
        text += n;
        while (*text == ' ')
            text++;
    }
    pc_buf_putc(out, '\n');
}

/* "where it goes (also --path_tuned, --target-model-path)" */
static void describe(const struct pc_option *o, char *out, size_t size)
{
    int n = snprintf(out, size, "%s", o->help);
    const char *a = o->aliases;
    for (bool first = true; a && *a && n >= 0 && (size_t)n < size; first = false) {
        int len = (int)strcspn(a, "|");
        n += snprintf(out + n, size - (size_t)n, "%s--%.*s", first ? " (also " : ", ", len, a);
        a += len + (a[len] == '|');
    }
    if (o->aliases && n >= 0 && (size_t)n + 1 < size)
        snprintf(out + n, size - (size_t)n, ")");
}

void pc_options_help(const struct pc_option *table, struct pc_buf *out)
{
    for (const struct pc_option *o = table; o->name; o++) {
        char left[128], help[1024];
        const char *arg = o->type == PC_OPT_CHOICE && !o->arg ? o->choices : o->arg;
        bool has_arg = o->type != PC_OPT_FLAG && o->type != PC_OPT_IGNORED && arg;
        int n = o->short_name ? snprintf(left, sizeof left, "  -%c, --%s", o->short_name, o->name)
                              : snprintf(left, sizeof left, "      --%s", o->name);
        if (has_arg)
            n += snprintf(left + n, sizeof left - (size_t)n, " %s", arg);
        describe(o, help, sizeof help);
        pc_buf_puts(out, left);
        if (n >= HELP_COLUMN - 1)
            pc_buf_printf(out, "\n%*s", HELP_COLUMN, "");
        else
            pc_buf_printf(out, "%*s", HELP_COLUMN - n, "");
        wrap(out, help, HELP_COLUMN);
    }
}
