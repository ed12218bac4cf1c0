// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "format/sniff.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A file with these bytes, open; the name is gone at once. */
static struct pc_file file_of(const void *bytes, size_t len)
{
    char path[] = "/tmp/paco-sniff-XXXXXX";
    struct pc_file f;
    struct paco_error err = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
    assert_int_equal(pc_file_open(&f, path, &err), 0);
    unlink(path);
    return f;
}

static void expect(const void *bytes, size_t len, enum pc_file_kind kind, const char *part)
{
    struct paco_error err = {0};
    struct pc_file f = file_of(bytes, len);
    enum pc_file_kind found = PC_N_FILE_KINDS;
    assert_int_equal(pc_sniff(&f, &found, &err), 0);
    assert_int_equal(found, kind);
    assert_int_equal(pc_sniff_refuse(&f, found, "a PyTorch checkpoint", &err), PACO_EFORMAT);
    assert_int_equal(err.code, PACO_EFORMAT);
    assert_contains(err.message, part);
    assert_string_equal(err.path, f.path);
    assert_true(err.has_offset);
    assert_int_equal(err.offset, 0);
    pc_file_close(&f);
}

static void expect_text(const char *text, enum pc_file_kind kind, const char *part)
{
    expect(text, strlen(text), kind, part);
}

static void weights_are_told_apart(void **state)
{
    (void)state;
    expect_text("GGUF\3", PC_FILE_GGUF, "is a GGUF file, not a PyTorch checkpoint: rename it");
    expect_text("PK\3\4....", PC_FILE_ZIP, "zip archive");
    expect_text("PK\5\6....", PC_FILE_ZIP, "zip archive");
    expect("\x02\0\0\0\0\0\0\0{}", 10, PC_FILE_SAFETENSORS, "is a safetensors file");
    // A header length that is the start of a pickle too: the brace after it decides.
    expect("\x80\x02\0\0\0\0\0\0{}", 10, PC_FILE_SAFETENSORS, "is a safetensors file");
    expect_text("\x80\x02\x8a\x0al\xfc\x9c", PC_FILE_PICKLE, "Python pickle");
    expect_text("\x80\x05N.", PC_FILE_PICKLE, "Python pickle");
    expect_text("L119547037146038801333356L\n.", PC_FILE_PICKLE, "Python pickle");
    expect_text("\x80\x09N.", PC_FILE_UNKNOWN, "of no known kind");
    expect_text("\x93NUMPY\1", PC_FILE_NPY, "NumPy");
    expect_text("\x89HDF\r\n\x1a\n", PC_FILE_HDF5, "HDF5");
    expect_text("\x1f\x8b\x08", PC_FILE_GZIP, "decompress it first");
    expect_text("\x28\xb5\x2f\xfd", PC_FILE_ZSTD, "decompress it first");
    expect_text("\xfd"
                "7zXZ",
        PC_FILE_XZ, "decompress it first");
    char tar[512] = "sys_info";
    memcpy(tar + 257, "ustar", 5);
    expect(tar, sizeof tar, PC_FILE_TAR, "before version 0.2");
}

static void failed_downloads_are_named(void **state)
{
    (void)state;
    expect_text("", PC_FILE_EMPTY, "is empty, not a PyTorch checkpoint: the download did not finish");
    expect_text("version https://git-lfs.github.com/spec/v1\noid sha256:4665\nsize 9877989586\n",
        PC_FILE_LFS_POINTER,
        "is a git-lfs pointer, not the file of 9877989586 bytes it stands for: run `git lfs pull`");
    expect_text(
        "version https://git-lfs.github.com/spec/v1\n", PC_FILE_LFS_POINTER, "not the file it stands for");
    expect_text("\n\n<!DOCTYPE html><html>", PC_FILE_HTML, "is an HTML page");
    expect_text("\xef\xbb\xbf<HTML>", PC_FILE_HTML, "`/resolve/`");
    expect_text("<?xml version=\"1.0\"?><Error>AccessDenied</Error>", PC_FILE_XML, "is an XML document");
    expect_text("{\"error\":\"Repository not found\"}", PC_FILE_JSON, "is JSON");
    expect_text("Entry not found\nmore", PC_FILE_TEXT,
        "is a short text (\"Entry not found\"), not a PyTorch checkpoint");
    char zeros[4096] = {0};
    expect(zeros, sizeof zeros, PC_FILE_ZEROS, "nothing but zero bytes");
    expect(zeros, 100, PC_FILE_UNKNOWN, "of no known kind");
}

/* The same text is a download gone wrong only where weights should be. */
static void what_text_may_be_depends_on_its_name(void **state)
{
    (void)state;
    static const struct {
        const char *path, *text, *part;
    } cases[] = {{"x/model.safetensors", "Not found", "probably an error message saved in its place"},
        {"README.md", "A model", ": give the model's folder, or the file with its weights"},
        {"model.bin", "{}", "probably an error message or a configuration"},
        {"config.json", "{}", "is JSON, not weights: give the model's folder"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct paco_error err = {0};
        struct pc_file f = file_of(cases[i].text, strlen(cases[i].text));
        enum pc_file_kind kind;
        assert_int_equal(pc_sniff(&f, &kind, &err), 0);
        char *own = f.path;
        f.path = (char *)cases[i].path;
        assert_int_equal(pc_sniff_refuse(&f, kind, "weights", &err), PACO_EFORMAT);
        assert_contains(err.message, cases[i].part);
        f.path = own;
        pc_file_close(&f);
    }
}

static void a_quoted_text_is_cut_between_characters(void **state)
{
    (void)state;
    char text[200];
    memset(text, 'a', sizeof text);
    memcpy(text + 78, "\xe2\x82\xac", 3);
    expect(text, sizeof text, PC_FILE_TEXT, "aaaaa\"), not");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_told_apart),
        cmocka_unit_test(failed_downloads_are_named),
        cmocka_unit_test(what_text_may_be_depends_on_its_name),
        cmocka_unit_test(a_quoted_text_is_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
