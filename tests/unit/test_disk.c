// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/disk.h"
#include "base/file.h"
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void count(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
}

/* Pieces at all sorts of offsets, laid out as they will be in the file: what arrives is what was given,
 * whether or not the file system lets pages pass its cache. */
static void every_byte_arrives(void **state)
{
    (void)state;
    enum { SIZE = 3000017, STEP = 70001 };
    struct scratch s;
    scratch_open(&s);
    for (int direct = 0; direct < 2; direct++) {
        char path[1100];
        snprintf(path, sizeof path, "%s", scratch_path(&s, direct ? "direct" : "cached"));
        struct pc_disk_file f;
        struct pc_disk *disk;
        _Atomic int n_done = 0;
        struct pc_disk_batch batch = {.n_pending = 1, .done = count, .arg = (void *)&n_done};
        struct paco_error err = {0};
        assert_int_equal(pc_disk_open(&f, path, SIZE, direct, &err), 0);
        assert_int_equal(pc_disk_new(STEP + PC_DISK_PAGE, 3, 2, &disk, &err), 0);
        for (uint64_t at = 0; at < SIZE; at += STEP) {
            size_t len = SIZE - at < STEP ? (size_t)(SIZE - at) : STEP, start = (size_t)(at % PC_DISK_PAGE);
            struct pc_disk_buffer *b = pc_disk_take(disk);
            assert_non_null(b);
            for (size_t i = 0; i < len; i++)
                b->data[start + i] = (unsigned char)((at + i) * 2654435761u >> 13);
            pc_disk_write(disk, b, &f, at, start, len, &batch);
        }
        pc_disk_batch_end(&batch);
        assert_int_equal(pc_disk_wait(disk, &err), 0);
        assert_int_equal(n_done, 1);
        pc_disk_free(disk);
        assert_int_equal(pc_disk_sync(&f, &err), 0);
        pc_disk_close(&f);
        struct pc_buf b;
        assert_int_equal(pc_file_slurp(path, SIZE, &b, &err), 0);
        assert_int_equal(b.len, SIZE);
        for (size_t i = 0; i < SIZE; i++)
            if ((unsigned char)b.data[i] != (unsigned char)(i * 2654435761u >> 13))
                fail_msg("byte %zu, direct %d", i, direct);
        pc_buf_release(&b);
    }
    scratch_close(&s);
}

/* A file without a name: zeros at first, pages and odd pieces, and what lies beyond. */
static void scratch_is_written_and_read(void **state)
{
    (void)state;
    enum { SIZE = 3 * PC_DISK_PAGE };
    struct scratch s;
    struct pc_disk_file f;
    struct paco_error err = {0};
    unsigned char *page = aligned_alloc(PC_DISK_PAGE, SIZE);
    assert_non_null(page);
    scratch_open(&s);
    assert_int_equal(pc_disk_open_unnamed(&f, s.dir, SIZE, &err), 0);
    assert_int_equal(rmdir(s.dir), 0); /* it is empty */
    assert_int_equal(pc_disk_read_at(&f, 0, page, SIZE, &err), 0);
    for (int i = 0; i < SIZE; i++)
        assert_int_equal(page[i], 0);
    for (int i = 0; i < SIZE; i++)
        page[i] = (unsigned char)(i * 2654435761u >> 13);
    assert_int_equal(pc_disk_write_at(&f, PC_DISK_PAGE, page + PC_DISK_PAGE, PC_DISK_PAGE, &err), 0);
    assert_int_equal(pc_disk_write_at(&f, 5, page + 5, 999, &err), 0);
    unsigned char odd[1000];
    assert_int_equal(pc_disk_read_at(&f, PC_DISK_PAGE + 7, odd, 1000, &err), 0);
    assert_memory_equal(odd, page + PC_DISK_PAGE + 7, 1000);
    assert_int_equal(pc_disk_read_at(&f, 5, odd, 999, &err), 0);
    assert_memory_equal(odd, page + 5, 999);
    assert_int_equal(pc_disk_read_at(&f, SIZE - 10, odd, 11, &err), PACO_EIO);
    assert_contains(err.message, "the file ends there");
    assert_int_equal(err.offset, SIZE);
    pc_disk_close(&f);
    free(page);
}

static void a_failed_write_stops_everybody(void **state)
{
    (void)state;
    struct pc_disk *disk;
    struct paco_error err = {0};
    struct pc_disk_file f = {.fd = open("/dev/full", O_WRONLY), .direct_fd = -1, .path = "the full disk"};
    _Atomic int n_done = 0;
    struct pc_disk_batch batch = {.n_pending = 1, .done = count, .arg = (void *)&n_done};
    assert_true(f.fd >= 0);
    assert_int_equal(pc_disk_new(8192, 2, 1, &disk, &err), 0);
    struct pc_disk_buffer *b = pc_disk_take(disk);
    memset(b->data, 1, 8192);
    pc_disk_write(disk, b, &f, 4096, 0, 8192, &batch);
    pc_disk_batch_end(&batch);
    assert_int_equal(pc_disk_wait(disk, &err), PACO_ENOSPC);
    assert_string_equal(err.path, "the full disk");
    assert_int_equal(err.offset, 4096);
    assert_null(pc_disk_take(disk));
    assert_int_equal(n_done, 0);
    pc_disk_free(disk);
    close(f.fd);
}

static void a_size_beyond_the_limit_is_refused_at_once(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_disk_file f;
    struct paco_error err = {0};
    scratch_open(&s);
    char path[1100];
    snprintf(path, sizeof path, "%s", scratch_path(&s, "huge"));
    assert_true(pc_disk_open(&f, path, UINT64_C(1) << 62, false, &err) < 0);
    assert_string_equal(err.path, path);
    assert_int_equal(f.fd, -1);
    scratch_close(&s);
}

/* Only a file system that cannot promise room is believed: any other failure is one. */
static void what_cannot_be_reserved_is_said(void **state)
{
    (void)state;
    struct scratch s;
    struct stat st;
    int pipes[2];
    scratch_open(&s);
    int fd = open(scratch_path(&s, "file"), O_RDWR | O_CREAT, 0666);
    assert_true(fd >= 0);
    assert_int_equal(pc_disk_reserve(fd, 10000), 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(st.st_size == 10000 || st.st_size == 0); // the latter where it was only believed
    close(fd);
    fd = open(scratch_path(&s, "file"), O_RDONLY);
    assert_int_equal(pc_disk_reserve(fd, 10000), EBADF);
    assert_int_equal(pc_disk_reserve(fd, 0), 0);
    close(fd);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(pc_disk_reserve(pipes[1], 10000), ESPIPE);
    close(pipes[0]);
    close(pipes[1]);
    scratch_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scratch_is_written_and_read),
        cmocka_unit_test(every_byte_arrives),
        cmocka_unit_test(a_failed_write_stops_everybody),
        cmocka_unit_test(what_cannot_be_reserved_is_said),
        cmocka_unit_test(a_size_beyond_the_limit_is_refused_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
