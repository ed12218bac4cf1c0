// SPDX-License-Identifier: Apache-2.0
/* Programs nobody has read, run without harm, and a verdict they cannot make up.
 *
 *     struct pc_sandbox *sandbox;
 *     struct pc_sandbox_options options = {.unsafe = flags->unsafe_exec};
 *     if (pc_sandbox_open(&options, &sandbox, err))        refuses, and says why, where no isolation can be
 * had return err->code; struct pc_execution done; if (!pc_sandbox_run(sandbox, program, len, &done, err))
 *         ... done.verdict, done.text ...
 *     pc_execution_release(&done);
 *     pc_sandbox_close(sandbox);
 *
 * A program is Python, whole: prompt, completion, test and the call of the test. It passes when it runs to
 * its end without an exception, as in upstream's execution.py, whose words the verdict's text has. Each
 * program has an interpreter, a process, a root of read-only files and a small private /tmp of its own:
 * nothing passes from one to the next. docs/internals/sandbox.md has the layers and what each of them stops.
 */
#ifndef PC_EVAL_SANDBOX_H
#define PC_EVAL_SANDBOX_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pc_sandbox;

/** Zero means the default everywhere. */
struct pc_sandbox_options {
    bool unsafe;          /* no isolation but limits of time and memory: a program can do what the user can */
    int n_parallel;       /* programs at once; default: one for each processor */
    uint64_t memory_size; /* bytes of address space of a program; 1 GiB */
    uint64_t disk_size;   /* bytes it may write to /tmp; 16 MiB */
    double alarm_s;       /* an exception inside after so long; 3.0, as upstream */
    double kill_s;        /* and the end of it all; 4.0 */
    const char *python;   /* name or path; "python3", looked for in PATH */
    const char *bwrap;    /* name or path; "bwrap" */
};

enum pc_verdict { PC_VERDICT_FAILED, PC_VERDICT_PASSED, PC_VERDICT_TIMED_OUT };

struct pc_execution {
    enum pc_verdict verdict;
    /* "passed", "timed out" or "failed: " and Python's str() of the exception, UTF-8, at most 64 KiB:
     * upstream's `result`. A program that ended without a word (os._exit, a crash) is "timed out" there,
     * hence here; its verdict is PC_VERDICT_FAILED. *owned*: pc_execution_release. Followed by a NUL; may
     * hold others. */
    char *text;
    size_t text_len;
    char why[160];  /* what upstream has no word for ("killed by signal 11"), or "" */
    double seconds; /* from the first statement to the verdict */
};

/** A text to run; borrowed. */
struct pc_program {
    const char *text;
    size_t len;
};

/** Look for Python and bubblewrap and try both out: a program that passes, one that fails, one that cheats.
 * *out is *owned*: pc_sandbox_close. options is borrowed for the call and may be NULL. PACO_ENOENT: there is
 * no python3 or no bwrap; PACO_EUNSUPPORTED: bwrap cannot isolate here (user namespaces are forbidden, for
 * one), with its words and what to change; never a quiet fall-back. */
int pc_sandbox_open(
    const struct pc_sandbox_options *options, struct pc_sandbox **out, struct paco_error *err);
void pc_sandbox_close(struct pc_sandbox *sandbox); /* NULL is fine; no run may be under way */

/** One line for reports: "bubblewrap 0.8.0, seccomp, Python 3.11.2", or "NO ISOLATION, Python 3.11.2". Lives
 * as long as the sandbox. */
const char *pc_sandbox_describe(const struct pc_sandbox *sandbox);

/** End what runs and run nothing more: calls of run return PACO_ECANCELLED soon, with no process left. From
 * any thread, at any time before close. */
void pc_sandbox_stop(struct pc_sandbox *sandbox);

/** The version of the interpreter that programs are run by, "3.11.2": what passes may depend on it. Lives as
 * long as the sandbox. */
const char *pc_sandbox_python(const struct pc_sandbox *sandbox);

/** Run one program. Returns 0 with *out filled whatever the program did; an error means that it could not be
 * tried (no memory, no processes), never that it is wrong. Thread-safe; waits while n_parallel others run. */
int pc_sandbox_run(struct pc_sandbox *sandbox, const char *program, size_t len, struct pc_execution *out,
    struct paco_error *err);

/** The same for n of them, n_parallel at once; out[i] is program i's. On an error every one is released. */
int pc_sandbox_run_all(struct pc_sandbox *sandbox, const struct pc_program *programs, size_t n,
    struct pc_execution *out, struct paco_error *err);

/** Free what run filled; {0} is fine. */
void pc_execution_release(struct pc_execution *execution);

#endif
