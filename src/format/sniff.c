// SPDX-License-Identifier: Apache-2.0
#include "format/sniff.h"

#include "base/utf8.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HEAD_SIZE = 1024, MAX_TEXT_FILE = 64 * 1024 };

static const char g_name_the_folder[] = "give the model's folder, or the file with its weights";
static const char g_lfs[] = "version https://git-lfs.github.com/spec/";
static const char g_lfs_old[] = "version https://hawser.github.com/spec/";

struct head {
    uint8_t bytes[HEAD_SIZE + 1]; /* NUL-terminated, so that text can be searched */
    size_t len;
};

static int read_head(const struct pc_file *f, struct head *h, struct paco_error *err)
{
    h->len = f->size < HEAD_SIZE ? (size_t)f->size : HEAD_SIZE;
    h->bytes[h->len] = '\0';
    return pc_file_read(f, 0, h->bytes, h->len, err);
}

static bool starts(const struct head *h, const char *magic, size_t len)
{
    return h->len >= len && memcmp(h->bytes, magic, len) == 0;
}

/* Eight bytes of header length, then JSON. */
static bool is_safetensors(const struct head *h, uint64_t file_size)
{
    uint64_t n = 0;
    if (h->len < 9 || h->bytes[8] != '{')
        return false;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | h->bytes[i];
    // The length may be a lie (that is for the reader to say), but it is small enough to have zeros on top.
    return n <= file_size || n >> 40 == 0;
}

/* A binary pickle opens with PROTO 2 to 5, or with the torch magic number as protocol 1 spells it. */
static bool is_pickle(const struct head *h)
{
    return (h->len >= 3 && h->bytes[0] == 0x80 && h->bytes[1] >= 2 && h->bytes[1] <= 5) ||
           starts(h, "L119547037146038801333356L\n.", 28);
}

static bool all_zero(const struct head *h)
{
    for (size_t i = 0; i < h->len; i++)
        if (h->bytes[i])
            return false;
    return h->len == HEAD_SIZE;
}

static bool is_text(const struct head *h)
{
    for (size_t i = 0; i < h->len; i++)
        if (h->bytes[i] < 0x20 && !memchr("\t\n\r\f", h->bytes[i], 4))
            return false;
    size_t tail = pc_utf8_incomplete_tail(h->bytes, h->len);
    return pc_utf8_valid(h->bytes, h->len - tail, NULL);
}

/* HTML, XML, JSON or plain words, from the first visible characters. */
static enum pc_file_kind text_kind(const struct head *h, uint64_t file_size)
{
    static const char *const html[] = {"<!doctype html", "<html", "<head", "<body", "<!--"};
    const char *p = (const char *)h->bytes;
    if (strncmp(p, "\xef\xbb\xbf", 3) == 0)
        p += 3;
    p += strspn(p, " \t\r\n");
    for (size_t i = 0; i < sizeof html / sizeof *html; i++)
        if (strncasecmp(p, html[i], strlen(html[i])) == 0)
            return PC_FILE_HTML;
    if (strncmp(p, "<?xml", 5) == 0)
        return PC_FILE_XML;
    if (*p == '{' || *p == '[')
        return PC_FILE_JSON;
    return file_size <= MAX_TEXT_FILE ? PC_FILE_TEXT : PC_FILE_UNKNOWN;
}

static enum pc_file_kind kind_of(const struct head *h, uint64_t file_size)
{
    static const struct {
        const char *magic;
        size_t len;
        enum pc_file_kind kind;
    } magics[] = {
        {"GGUF", 4, PC_FILE_GGUF},
        {"PK\3\4", 4, PC_FILE_ZIP},
        {"PK\5\6", 4, PC_FILE_ZIP},
        {"\x1f\x8b", 2, PC_FILE_GZIP},
        {"\x28\xb5\x2f\xfd", 4, PC_FILE_ZSTD},
        {"\xfd"
         "7zXZ",
            5, PC_FILE_XZ},
        {"\x89HDF\r\n\x1a\n", 8, PC_FILE_HDF5},
        {"\x93NUMPY", 6, PC_FILE_NPY},
        {g_lfs, sizeof g_lfs - 1, PC_FILE_LFS_POINTER},
        {g_lfs_old, sizeof g_lfs_old - 1, PC_FILE_LFS_POINTER},
    };
    if (file_size == 0)
        return PC_FILE_EMPTY;
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++)
        if (starts(h, magics[i].magic, magics[i].len))
            return magics[i].kind;
    if (is_safetensors(h, file_size))
        return PC_FILE_SAFETENSORS;
    if (is_pickle(h))
        return PC_FILE_PICKLE;
    if (h->len >= 262 && memcmp(h->bytes + 257, "ustar", 5) == 0)
        return PC_FILE_TAR;
    if (all_zero(h))
        return PC_FILE_ZEROS;
    return is_text(h) ? text_kind(h, file_size) : PC_FILE_UNKNOWN;
}

int pc_sniff(const struct pc_file *f, enum pc_file_kind *kind, struct paco_error *err)
{
    struct head h;
    int rc = read_head(f, &h, err);
    if (rc == 0)
        *kind = kind_of(&h, f->size);
    return rc;
}

static void refuse_lfs(const struct head *h, struct paco_error *err)
{
    const char *size = strstr((const char *)h->bytes, "\nsize ");
    char of[64] = "";
    if (size)
        snprintf(of, sizeof of, " of %llu bytes", strtoull(size + 6, NULL, 10));
    pc_error_set(err, PACO_EFORMAT,
        "is a git-lfs pointer, not the file%s it stands for: run `git lfs pull` where it was cloned, or "
        "download the "
        "file itself",
        of);
}

/* Whether it is called what weights are called: then text is there in their place. */
static bool has_weights_name(const char *path)
{
    static const char *const endings[] = {".bin", ".pt", ".pth", ".safetensors", ".gguf", ".ckpt", ".model"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (pc_ends_with(path, endings[i]))
            return true;
    return false;
}

/* The start of a short text, for a message: one line, at most 80 bytes. */
static void refuse_text(const struct head *h, const char *path, const char *wanted, struct paco_error *err)
{
    char line[81];
    size_t n = strcspn((const char *)h->bytes, "\r\n");
    n = n < sizeof line - 1 ? n : sizeof line - 1;
    n -= pc_utf8_incomplete_tail(h->bytes, n);
    memcpy(line, h->bytes, n);
    line[n] = '\0';
    pc_error_set(err, PACO_EFORMAT, "is a short text (\"%s\"), not %s: %s", line, wanted,
        has_weights_name(path) ? "probably an error message saved in its place; download the file again"
                               : g_name_the_folder);
}

static const char *what_is(enum pc_file_kind kind)
{
    static const char *const what[PC_N_FILE_KINDS] = {
        [PC_FILE_UNKNOWN] = "is of no known kind",
        [PC_FILE_EMPTY] = "is empty",
        [PC_FILE_SAFETENSORS] = "is a safetensors file",
        [PC_FILE_GGUF] = "is a GGUF file",
        [PC_FILE_ZIP] = "is a zip archive, as PyTorch checkpoints are",
        [PC_FILE_PICKLE] = "is a Python pickle, as old PyTorch checkpoints are",
        [PC_FILE_TAR] = "is a tar archive",
        [PC_FILE_GZIP] = "is gzip-compressed",
        [PC_FILE_ZSTD] = "is zstd-compressed",
        [PC_FILE_XZ] = "is xz-compressed",
        [PC_FILE_HDF5] = "is an HDF5 file (Keras or TensorFlow weights)",
        [PC_FILE_NPY] = "is a NumPy array",
        [PC_FILE_HTML] = "is an HTML page",
        [PC_FILE_XML] = "is an XML document",
        [PC_FILE_JSON] = "is JSON",
        [PC_FILE_ZEROS] = "starts with nothing but zero bytes",
    };
    return what[kind];
}

static const char *what_to_do(enum pc_file_kind kind, const char *path)
{
    switch (kind) {
    case PC_FILE_EMPTY:
    case PC_FILE_ZEROS: return "the download did not finish; download it again";
    case PC_FILE_GZIP:
    case PC_FILE_ZSTD:
    case PC_FILE_XZ: return "decompress it first";
    case PC_FILE_HTML:
    case PC_FILE_XML:
        return "a web page was saved in its place (does the download need a login, or the address "
               "`/resolve/` instead "
               "of `/blob/`?)";
    case PC_FILE_JSON:
        return has_weights_name(path)
                   ? "probably an error message or a configuration saved in its place; download the file "
                     "again"
                   : g_name_the_folder;
    case PC_FILE_TAR:
        return "PyTorch wrote such files before version 0.2: load and save it with a newer PyTorch first";
    case PC_FILE_SAFETENSORS:
    case PC_FILE_GGUF:
    case PC_FILE_ZIP:
    case PC_FILE_PICKLE: return "rename it to what it is";
    default: return "is the download complete, and the right file?";
    }
}

int pc_sniff_refuse(
    const struct pc_file *f, enum pc_file_kind kind, const char *wanted, struct paco_error *err)
{
    struct head h = {.len = 0};
    if (kind == PC_FILE_LFS_POINTER || kind == PC_FILE_TEXT) {
        int rc = read_head(f, &h, err);
        if (rc < 0)
            return rc;
    }
    if (kind == PC_FILE_LFS_POINTER)
        refuse_lfs(&h, err);
    else if (kind == PC_FILE_TEXT)
        refuse_text(&h, f->path, wanted, err);
    else
        pc_error_set(err, PACO_EFORMAT, "%s, not %s: %s", what_is(kind), wanted, what_to_do(kind, f->path));
    pc_error_at(err, f->path, 0);
    return PACO_EFORMAT;
}
