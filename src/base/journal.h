// SPDX-License-Identifier: Apache-2.0
/* Directories and files that appear whole or not at all, and work that goes on after a crash. Every job that
 * makes one uses this.
 *
 *     if (pc_journal_check(target, flags, &err) < 0) ...       // before any work; touches nothing
 *     pc_journal_open(target, identity, flags, notes, &j, &err);
 *     for (i = 0; i < pc_journal_n_records(j); i++) ...         // what an earlier attempt finished
 *     ... write files under pc_journal_dir(j), sync them, then pc_journal_add(j, record, &err) ...
 *     pc_journal_commit(j, &err);                               // now it is called target
 *     pc_journal_close(j, rc < 0 && hopeless);
 *
 * Work happens in TARGET.paco-partial beside the target. `.paco-journal` in it holds one line per record,
 * each with a checksum, the first being the job's identity: what it is made of and how. Opened again with an
 * equal identity, the records are there again and the files too; with another one everything starts afresh
 * and a note says what changed. A line torn by a crash, and what follows it, is dropped.
 *
 * The journal's file is locked while a process works (flock), so two of them do not mix. Order on the disk: a
 * record is written after the data it speaks of was synced (the caller's duty), the directory and its parent
 * are synced around the rename, and the journal is removed last. Replacing with `force` exchanges the two
 * directories and then removes the old one: there is no moment without either.
 *
 * With PC_JOURNAL_FILE the target is a file F: the work is F.paco-partial/F and small files beside it, and
 * what is committed is F and, for each small file X, F.X. F gets its name first, in one step also when it
 * replaces another; until the rest has followed, the same job comes back to finish.
 *
 * One thread at a time, but pc_journal_add may be called by any. */
#ifndef PC_BASE_JOURNAL_H
#define PC_BASE_JOURNAL_H

#include "base/error.h"
#include "base/json.h"
#include "base/notes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pc_journal;

/** The journal's own file, in the directory that is worked in, and what that is called: TARGET and this. */
#define PC_JOURNAL_NAME ".paco-journal"
#define PC_JOURNAL_SUFFIX ".paco-partial"

enum pc_journal_flag {
    PC_JOURNAL_FORCE = 1, /* replace the target */
    PC_JOURNAL_FILE = 2,  /* the target is a file, not a directory */
    PC_JOURNAL_KEEP = 4,  /* an unfinished attempt at something else that has records is refused */
};

/** Whether target may be written: it does not exist, is an empty directory, or is a directory (with
 * PC_JOURNAL_FILE: a file) and PC_JOURNAL_FORCE is set. Refused: names that end in "." or "..", links, files,
 * the root, the home and the working directory or what holds them. A target that an interrupted job left one
 * step before its end counts as not existing. PACO_EEXIST, PACO_EINVAL. */
int pc_journal_check(const char *target, unsigned flags, struct paco_error *err);

/** Whether a job at target may remove path: it lies in the directory that is replaced, or in the one that is
 * worked in. Both are absolute and without links. */
bool pc_journal_replaces(const char *target, const char *path);

/** Begin, or go on. identity is an object that says what is being made, of what, how; *borrowed*. Directories
 * above target are made when missing. *out is *owned*: pc_journal_close. PACO_EEXIST when another process is
 * at it, or when the working directory's name is taken by what is no attempt of ours. */
int pc_journal_open(const char *target, const json_t *identity, unsigned flags, struct pc_notes *notes,
    struct pc_journal **out, struct paco_error *err);

/** The directory to work in; a view. */
const char *pc_journal_dir(const struct pc_journal *j);
/** Where the file called name in that directory is, also after it was committed: owned (pc_free), NULL when
 * memory is out. */
char *pc_journal_path(const struct pc_journal *j, const char *name);
/** Records of earlier attempts, oldest first; borrowed. Those added now are not among them. */
size_t pc_journal_n_records(const struct pc_journal *j);
const json_t *pc_journal_record(const struct pc_journal *j, size_t i);
/** Only the rename, or what follows it, is left to do: all files are complete. */
bool pc_journal_is_complete(const struct pc_journal *j);

/** Remove all files of the work but the journal, before pc_journal_commit: for those who write them all at
 * the end, and find what a killed attempt left, files under passing names among them. */
int pc_journal_clear(struct pc_journal *j, struct paco_error *err);

/** Append n records and sync. What they speak of must be on the disk already. */
int pc_journal_add(struct pc_journal *j, json_t *const *records, size_t n, struct paco_error *err);

/** All files are written and synced: give the directory its name. */
int pc_journal_commit(struct pc_journal *j, struct paco_error *err);

/** Let go of the lock. discard: remove the working directory, and those above that were made for it. NULL is
 * fine. */
void pc_journal_close(struct pc_journal *j, bool discard);

/** Bytes that files under the working directory of target occupy on the disk already; 0 if there is none. */
uint64_t pc_journal_occupied(const char *target);

/** Remove a directory and all in it, following no links, at most 64 levels deep. A missing one is fine. */
int pc_dir_remove(const char *path, struct paco_error *err);

#endif
