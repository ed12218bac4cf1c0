// SPDX-License-Identifier: Apache-2.0
/* The writer, stopped at every system call that changes the disk, one after the other: killed there, or told
 * that the disk is full from there on. The next call must finish with the same bytes, and nothing else may be
 * left.
 *
 * The calls are the ones below: this program's own take the C library's place. */
#include "memory_checkpoint.h"

#include "base/file.h"
#include "base/journal.h"
#include "format/gguf_write.h"
#include "scratch.h"
#include "weights/write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { N_TENSORS = 6, COLS = 300, MAX_STEPS = 400 };

static enum { NEVER, KILL, FULL } g_mode;
static _Atomic int g_calls, g_stop_at;

/* True when the call must fail for want of space. Does not return when this is the end. */
static bool meet(void)
{
    int n = atomic_fetch_add(&g_calls, 1) + 1;
    if (g_mode == KILL && n >= g_stop_at)
        syscall(SYS_exit_group, 77);
    return g_mode == FULL && n >= g_stop_at;
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t offset)
{
    if (meet()) {
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, buf, n, offset);
}

int fdatasync(int fd)
{
    (void)fd; // the machine does not crash here, and waiting for the disk takes long
    meet();
    return 0;
}

int fsync(int fd)
{
    (void)fd;
    meet();
    return 0;
}

int rename(const char *from, const char *to)
{
    meet();
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

static bool g_no_exchange; /* as on a network's file system */

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    meet();
    if (g_no_exchange) {
        errno = EINVAL;
        return -1;
    }
    return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}

int unlink(const char *path)
{
    meet();
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    (void)fd, (void)mode, (void)offset, (void)len;
    errno = EOPNOTSUPP; // so that a full disk shows in the middle
    return -1;
}

static float g_values[N_TENSORS][40 * COLS];
static struct scratch g_scratch;
static enum pc_container g_container;

static struct pc_checkpoint *model(void)
{
    static const uint64_t rows[N_TENSORS] = {40, 1, 17, 40, 3, 9};
    struct pc_checkpoint *ck = memory_checkpoint();
    for (int i = 0; i < N_TENSORS; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        for (uint64_t k = 0; k < rows[i] * COLS; k++)
            g_values[i][k] = (float)(k * 7 + (uint64_t)i);
        memory_add(ck, name, PC_F32, rows[i], COLS, g_values[i]);
    }
    return ck;
}

static int write_model(const char *out, bool force)
{
    struct pc_checkpoint *ck = model();
    struct pc_write_input in = {.role = "source", .path = "/nowhere", .ck = ck};
    struct pc_write_file file = {"config.json", "{}\n", 3};
    struct pc_gguf_head head;
    pc_gguf_head_init(&head);
    pc_gguf_put_u32(&head, "a.number", 7);
    struct pc_write_options o = {.job = "convert",
        .phase = "converting",
        .out_dir = out,
        .container = g_container,
        .inputs = &in,
        .n_inputs = 1,
        .max_shard = 60000,
        .files = &file,
        .n_files = g_container != PC_GGUF,
        .gguf = &head,
        .force = force,
        .journal_each = true};
    struct pc_write_result r;
    struct paco_error err = {0};
    int rc = pc_write_checkpoint(ck, &o, &r, &err);
    if (rc == 0)
        pc_checkpoint_close(ck);
    pc_gguf_head_release(&head);
    return rc;
}

/* In a process of its own: its code, or 77 when it was killed. */
static int in_child(const char *out, bool force)
{
    pid_t child = fork();
    if (child == 0) {
        g_calls = 0;
        int rc = write_model(out, force);
        syscall(SYS_exit_group, -rc);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* All files of dir, name by name. */
static void slurp_dir(const char *dir, struct pc_buf *b)
{
    char **names;
    size_t n;
    pc_buf_init(b, 1 << 24);
    assert_int_equal(pc_dir_list(dir, &names, &n, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        struct pc_buf one;
        char *path = pc_path_join(dir, names[i]);
        assert_int_equal(pc_file_slurp(path, 1 << 24, &one, NULL), 0);
        pc_buf_printf(b, "%s %zu\n", names[i], one.len);
        pc_buf_add(b, one.data, one.len);
        pc_buf_release(&one);
        pc_free(path);
    }
    pc_names_free(names, n);
}

static void assert_same_dir(const char *dir, const struct pc_buf *want)
{
    struct pc_buf got;
    slurp_dir(dir, &got);
    assert_int_equal(got.len, want->len);
    assert_memory_equal(got.data, want->data, want->len);
    pc_buf_release(&got);
}

/* Stop at the first, second, third ... call until one attempt gets through. */
static void stop_everywhere(int mode, int expected, bool force)
{
    char out[1100], reference[1100], partial[1200];
    struct pc_buf want;
    scratch_open(&g_scratch);
    snprintf(reference, sizeof reference, "%s", scratch_path(&g_scratch, "reference"));
    snprintf(out, sizeof out, "%s", scratch_path(&g_scratch, "out"));
    snprintf(partial, sizeof partial, "%s.paco-partial", out);
    assert_int_equal(in_child(reference, false), 0);
    slurp_dir(reference, &want);
    int step = 1;
    for (int code = -1; code != 0; step++) {
        assert_true(step < MAX_STEPS);
        if (force)
            scratch_text(&g_scratch, "out/old", "old");
        g_mode = mode;
        g_stop_at = step;
        code = in_child(out, force);
        g_mode = NEVER;
        assert_true(code == 0 || code == expected);
        // At no moment may there be anything under the name but the old or the whole new model.
        bool replaced = pc_path_exists(out) && !pc_path_exists(scratch_path(&g_scratch, "out/old"));
        if (replaced)
            assert_true(pc_path_exists(scratch_path(&g_scratch, "out/paco-manifest.json")));
        // Without a journal all is done, and what was replaced is gone.
        if (!replaced || pc_path_exists(scratch_path(&g_scratch, "out/.paco-journal")))
            assert_int_equal(in_child(out, force), 0);
        assert_same_dir(out, &want);
        assert_false(pc_path_exists(partial));
        assert_int_equal(pc_dir_remove(out, NULL), 0);
    }
    assert_true(step > 20);
    pc_buf_release(&want);
    scratch_close(&g_scratch);
}

static void killed_anywhere_it_goes_on(void **state)
{
    (void)state;
    stop_everywhere(KILL, 77, false);
}

static void killed_anywhere_while_replacing(void **state)
{
    (void)state;
    stop_everywhere(KILL, 77, true);
}

static void killed_anywhere_while_replacing_in_two_steps(void **state)
{
    (void)state;
    g_no_exchange = true;
    stop_everywhere(KILL, 77, true);
    g_no_exchange = false;
}

/* Whose checksums of finished tensors come out of the journal. */
static void killed_anywhere_writing_bin(void **state)
{
    (void)state;
    g_container = PC_TORCH_BIN;
    stop_everywhere(KILL, 77, false);
    g_container = PC_SAFETENSORS;
}

/* A lone file and its manifest: no directory of their own to be renamed. */
static void stop_everywhere_writing_a_file(int mode, int expected, bool force)
{
    char out[1100], dir[1100], reference[1100], partial[1200], manifest[1200], journal[1300];
    struct pc_buf want, file;
    scratch_open(&g_scratch);
    g_container = PC_GGUF;
    snprintf(dir, sizeof dir, "%s", scratch_path(&g_scratch, "dir"));
    snprintf(out, sizeof out, "%s", scratch_path(&g_scratch, "dir/f.gguf"));
    snprintf(partial, sizeof partial, "%s.paco-partial", out);
    snprintf(journal, sizeof journal, "%s/.paco-journal", partial);
    snprintf(manifest, sizeof manifest, "%s.paco-manifest.json", out);
    snprintf(reference, sizeof reference, "%s", scratch_path(&g_scratch, "reference/f.gguf"));
    assert_int_equal(in_child(reference, false), 0);
    assert_int_equal(pc_file_slurp(reference, 1 << 24, &file, NULL), 0);
    slurp_dir(scratch_path(&g_scratch, "reference"), &want);
    int step = 1;
    for (int code = -1; code != 0; step++) {
        assert_true(step < MAX_STEPS);
        if (force)
            scratch_text(&g_scratch, "dir/f.gguf", "old");
        g_mode = mode;
        g_stop_at = step;
        code = in_child(out, force);
        g_mode = NEVER;
        assert_true(code == 0 || code == expected);
        struct pc_buf now = {0};
        if (pc_path_exists(out))
            assert_int_equal(pc_file_slurp(out, 1 << 24, &now, NULL), 0);
        bool old = now.len == 3, whole = now.len == file.len && memcmp(now.data, file.data, file.len) == 0;
        assert_true(whole || (force ? old : now.len == 0));
        pc_buf_release(&now);
        if (!whole || pc_path_exists(journal))
            assert_int_equal(in_child(out, force), 0);
        assert_same_dir(dir, &want);
        assert_int_equal(pc_dir_remove(dir, NULL), 0);
    }
    assert_true(step > 15);
    g_container = PC_SAFETENSORS;
    pc_buf_release(&want);
    pc_buf_release(&file);
    scratch_close(&g_scratch);
}

static void killed_anywhere_writing_a_file(void **state)
{
    (void)state;
    stop_everywhere_writing_a_file(KILL, 77, false);
}

static void killed_anywhere_replacing_a_file(void **state)
{
    (void)state;
    stop_everywhere_writing_a_file(KILL, 77, true);
}

static void full_anywhere_writing_a_file(void **state)
{
    (void)state;
    stop_everywhere_writing_a_file(FULL, -PACO_ENOSPC, false);
}

static void full_anywhere_it_goes_on(void **state)
{
    (void)state;
    stop_everywhere(FULL, -PACO_ENOSPC, false);
}

/* What was journaled before the end is not written again. */
static void finished_tensors_are_not_read_again(void **state)
{
    (void)state;
    char out[1100];
    scratch_open(&g_scratch);
    snprintf(out, sizeof out, "%s", scratch_path(&g_scratch, "out"));
    struct pc_checkpoint *ck = model();
    struct pc_pool *pool = pc_pool_new(1, NULL); // so that a failure interrupts no other tensor
    struct pc_write_options o = {.job = "convert",
        .pool = pool,
        .one_in_hand = true,
        .phase = "x",
        .out_dir = out,
        .max_shard = 60000,
        .journal_each = true};
    struct pc_write_result r = {0};
    struct paco_error err = {0};
    // Two of the tensors cannot be read: the disk is on fire there.
    ((const void **)ck->impl)[1] = ((const void **)ck->impl)[4] = NULL;
    assert_int_equal(pc_write_checkpoint(ck, &o, &r, &err), PACO_EIO);
    assert_contains(err.message, "on fire");
    // Later the others cannot, but they are there.
    for (int i = 0; i < N_TENSORS; i++)
        ((const void **)ck->impl)[i] = i == 1 || i == 4 ? g_values[i] : NULL;
    assert_int_equal(pc_write_checkpoint(ck, &o, &r, &err), 0);
    assert_int_equal(r.n_resumed, N_TENSORS - 2);
    pc_checkpoint_close(ck);
    pc_pool_free(pool);
    scratch_close(&g_scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_anywhere_it_goes_on),
        cmocka_unit_test(killed_anywhere_while_replacing),
        cmocka_unit_test(killed_anywhere_while_replacing_in_two_steps),
        cmocka_unit_test(killed_anywhere_writing_bin),
        cmocka_unit_test(killed_anywhere_writing_a_file),
        cmocka_unit_test(killed_anywhere_replacing_a_file),
        cmocka_unit_test(full_anywhere_it_goes_on),
        cmocka_unit_test(full_anywhere_writing_a_file),
        cmocka_unit_test(finished_tensors_are_not_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
