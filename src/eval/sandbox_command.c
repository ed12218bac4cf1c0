// SPDX-License-Identifier: Apache-2.0
/* Which interpreter, where it lives, and the command line that shuts it in.
 *
 * The python3 of PATH may be a link, a shell script that chooses among versions, or a virtual environment's.
 * Only it can say what it really is, so it is asked; what the sandbox starts is the program it names, and
 * what the sandbox sees of the disk is /usr, the dynamic linker's tables, and the trees that program reads.
 */
#include "eval/sandbox_parts.h"

#include "base/file.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_ANSWER = 64 * 1024, MAX_ARGS = 1024 };

/* ---- command lines ---- */

static void take(struct pc_argv *argv, char *arg)
{
    if (argv->n + 1 >= argv->capacity && !argv->failed) {
        size_t capacity = argv->capacity ? 2 * argv->capacity : 64;
        char **args = capacity > MAX_ARGS ? NULL : pc_realloc(argv->args, capacity, sizeof *args);
        if (args)
            argv->args = args, argv->capacity = capacity;
        argv->failed = !args;
    }
    if (!arg || argv->failed) {
        argv->failed = true;
        pc_free(arg);
        return;
    }
    argv->args[argv->n++] = arg;
    argv->args[argv->n] = NULL;
}

void pc_argv_add(struct pc_argv *argv, const char *arg)
{
    take(argv, pc_strdup(arg));
}

void pc_argv_printf(struct pc_argv *argv, const char *fmt, ...)
{
    char text[64];
    va_list list;
    va_start(list, fmt);
    int len = vsnprintf(text, sizeof text, fmt, list);
    va_end(list);
    take(argv, len < 0 || (size_t)len >= sizeof text ? NULL : pc_strdup(text));
}

static void add_all(struct pc_argv *argv, const char *const *args)
{
    for (; *args; args++)
        pc_argv_add(argv, *args);
}

void pc_argv_release(struct pc_argv *argv)
{
    for (size_t i = 0; i < argv->n; i++)
        pc_free(argv->args[i]);
    pc_free(argv->args);
    *argv = (struct pc_argv){0};
}

/* ---- programs ---- */

static bool is_program(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

char *pc_find_program(const char *name)
{
    if (strchr(name, '/'))
        return is_program(name) ? pc_strdup(name) : NULL;
    const char *path = getenv("PATH");
    for (const char *p = path ? path : "/usr/local/bin:/usr/bin:/bin", *end; *p; p = *end ? end + 1 : end) {
        end = strchrnul(p, ':');
        char *dir = pc_strndup(p, (size_t)(end - p));
        char *full = dir && *dir ? pc_path_join(dir, name) : NULL;
        pc_free(dir);
        if (full && is_program(full))
            return full;
        pc_free(full);
    }
    return NULL;
}

/* ---- the interpreter ---- */

/** One a line: version, path, the trees it reads, an empty line, where it looks for modules. */
static const char question[] =
    "import os, sys\n"
    "if sys.version_info < (3, 8): sys.exit('this is Python %d.%d' % sys.version_info[:2])\n"
    "exe = os.path.realpath(sys.executable)\n"
    "dirs = [d for d in sys.path if os.path.isabs(d) and os.path.exists(d)]\n"
    "trees = [exe] + [os.path.join(p, 'lib') for p in (sys.base_prefix, sys.base_exec_prefix)] + dirs\n"
    "trees += [os.path.realpath(t) for t in trees]\n"
    "def inside(t, d): return t == d or t.startswith(d + os.sep)\n"
    "roots = []\n"
    "for t in sorted(set(trees)):\n"
    "    if os.path.exists(t) and not any(inside(t, d) for d in ['/usr', '/lib', '/lib64'] + roots): "
    "roots.append(t)\n"
    "print('.'.join(map(str, sys.version_info[:3])), exe, *roots, '', *dirs, sep='\\n')\n";

static int add_line(char ***lines, size_t *n, const char *line, size_t len)
{
    char **more = pc_realloc(*lines, *n + 1, sizeof *more);
    if (!more)
        return PACO_EMEM;
    *lines = more;
    more[*n] = pc_strndup(line, len);
    return more[*n] ? (*n)++, 0 : PACO_EMEM;
}

static int read_answer(const char *text, struct pc_interpreter *out, struct paco_error *err)
{
    int part = 0;
    for (const char *end; *text; text = *end ? end + 1 : end) {
        end = strchrnul(text, '\n');
        size_t len = (size_t)(end - text);
        int code = 0;
        if (part == 0)
            out->version = pc_strndup(text, len), part++;
        else if (part == 1)
            out->path = pc_strndup(text, len), part++;
        else if (!len)
            part++;
        else if (part == 2)
            code = add_line(&out->roots, &out->n_roots, text, len);
        else
            code = add_line(&out->dirs, &out->n_dirs, text, len);
        if (code || !out->version || (part > 1 && !out->path))
            return pc_error_mem(err, len, "what Python says of itself");
    }
    if (part < 3 || !out->n_dirs)
        return pc_error_set(err, PACO_EFORMAT, "python3 does not say where it lives");
    return 0;
}

int pc_interpreter_find(const char *python, struct pc_interpreter *out, struct paco_error *err)
{
    char *path = pc_find_program(python);
    if (!path)
        return pc_error_set(err, PACO_ENOENT,
            "%s: there is no such program (programs are tested with Python 3.8 or newer: install python3)",
            python);
    const char *const argv[] = {path, "-I", "-c", question, NULL};
    struct pc_buf answer;
    pc_buf_init(&answer, MAX_ANSWER);
    int status = 0;
    int code = pc_spawn_collect(argv, false, 20, &answer, &status, err);
    if (!code && (!WIFEXITED(status) || WEXITSTATUS(status)))
        code = pc_error_set(err, PACO_EUNSUPPORTED,
            "%s does not run as Python 3.8 or newer (status %d): programs are tested with that", path,
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    struct pc_interpreter found = {0};
    if (!code)
        code = read_answer(answer.data ? answer.data : "", &found, err);
    if (code)
        pc_interpreter_release(&found);
    else
        *out = found;
    pc_buf_release(&answer);
    pc_free(path);
    return code;
}

void pc_interpreter_release(struct pc_interpreter *p)
{
    for (size_t i = 0; i < p->n_dirs; i++)
        pc_free(p->dirs[i]);
    for (size_t i = 0; i < p->n_roots; i++)
        pc_free(p->roots[i]);
    pc_free(p->dirs);
    pc_free(p->roots);
    pc_free(p->path);
    pc_free(p->version);
    *p = (struct pc_interpreter){0};
}

/* ---- bwrap ---- */

static int bwrap_says(const char *bwrap, const char *option, struct pc_buf *out, struct paco_error *err)
{
    const char *const argv[] = {bwrap, option, NULL};
    int status = 0;
    int code = pc_spawn_collect(argv, true, 20, out, &status, err);
    if (!code && (!WIFEXITED(status) || WEXITSTATUS(status) || !out->len))
        code = pc_error_set(err, PACO_EUNSUPPORTED, "%s %s does not answer", bwrap, option);
    return code;
}

int pc_bwrap_ask(const char *bwrap, char version[32], bool *has_size, struct paco_error *err)
{
    struct pc_buf b;
    pc_buf_init(&b, MAX_ANSWER);
    int code = bwrap_says(bwrap, "--version", &b, err);
    if (!code) {
        const char *number = strchr(b.data, ' ');
        snprintf(version, 32, "%.*s", (int)strcspn(number ? number + 1 : b.data, "\n"),
            number ? number + 1 : b.data);
        pc_buf_clear(&b);
        code = bwrap_says(bwrap, "--help", &b, err);
    }
    if (!code && !strstr(b.data, "--unshare-cgroup-try"))
        code = pc_error_set(err, PACO_EUNSUPPORTED, "%s: version %s is too old", bwrap, version);
    if (!code)
        *has_size = strstr(b.data, "--size ") != NULL;
    pc_buf_release(&b);
    return code;
}

/** A top-level folder that may be a link into /usr. */
static void add_top(struct pc_argv *argv, const char *path)
{
    char target[256];
    ssize_t len = readlink(path, target, sizeof target - 1);
    if (len > 0) {
        target[len] = '\0';
        add_all(argv, (const char *const[]){"--symlink", target, path, NULL});
    } else
        add_all(argv, (const char *const[]){"--ro-bind-try", path, path, NULL});
}

static void add_root(const struct pc_sandbox_settings *s, struct pc_argv *argv)
{
    add_all(argv, (const char *const[]){"--ro-bind", "/usr", "/usr", NULL});
    add_top(argv, "/lib");
    add_top(argv, "/lib64");
    static const char *const also[] = {"/etc/ld.so.cache", "/etc/alternatives"};
    for (size_t i = 0; i < sizeof also / sizeof *also; i++)
        add_all(argv, (const char *const[]){"--ro-bind-try", also[i], also[i], NULL});
    for (size_t i = 0; i < s->interpreter->n_roots; i++)
        add_all(argv,
            (const char *const[]){"--ro-bind", s->interpreter->roots[i], s->interpreter->roots[i], NULL});
    /* Their modes and times are the host's, and root's process is their owner: the filter has no calls for
     * those. */
    static const char *const devices[] = {"/dev/null", "/dev/urandom"};
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
        add_all(argv, (const char *const[]){"--dev-bind", devices[i], devices[i], NULL});
    /* A tmpfs that cannot be bounded is not given: /tmp is then a folder nobody can write to. */
    if (s->has_size) {
        pc_argv_add(argv, "--size");
        pc_argv_printf(argv, "%llu", (unsigned long long)s->disk_size);
        pc_argv_add(argv, "--tmpfs");
    } else
        pc_argv_add(argv, "--dir");
    add_all(argv, (const char *const[]){"/tmp", "--remount-ro", "/", "--chdir", "/tmp", NULL});
}

void pc_sandbox_command(const struct pc_sandbox_settings *s, struct pc_argv *argv)
{
    if (s->isolation != PC_ISOLATION_NONE) {
        add_all(argv, (const char *const[]){s->bwrap, "--unshare-pid", "--unshare-net", "--unshare-ipc",
                          "--unshare-uts", "--unshare-cgroup-try", "--die-with-parent", "--new-session",
                          "--cap-drop", "ALL", "--hostname", "sandbox", NULL});
        if (s->isolation == PC_ISOLATION_USER_NAMESPACE)
            add_all(argv, (const char *const[]){"--unshare-user", "--uid", "65534", "--gid", "65534", NULL});
        pc_argv_add(argv, "--seccomp");
        pc_argv_printf(argv, "%d", PC_SANDBOX_FILTER);
        add_root(s, argv);
        pc_argv_add(argv, "--");
    }
    add_all(
        argv, (const char *const[]){s->interpreter->path, "-S", "-s", "-B", "-c", pc_sandbox_runner, NULL});
    pc_argv_printf(argv, "%.3f", s->alarm_s);
    for (size_t i = 0; i < s->interpreter->n_dirs; i++)
        pc_argv_add(argv, s->interpreter->dirs[i]);
}
