// SPDX-License-Identifier: Apache-2.0
#define PC_ERROR_C
#include "base/error.h"

#include "base/utf8.h"
#include "paco/paco.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *paco_version(void)
{
    return PACO_VERSION;
}

const char *paco_code_name(int code)
{
    static const char *const names[] = {"ok", "invalid", "memory", "io", "missing", "format", "unsupported",
        "mismatch", "limit", "exists", "no-space", "cancelled", "verify"};
    size_t i = code <= 0 ? (size_t)-code : sizeof names;
    return i < sizeof names / sizeof *names ? names[i] : "unknown";
}

static void write_message(struct paco_error *err, int code, const char *fmt, va_list args)
{
    *err = (struct paco_error){.code = code};
    vsnprintf(err->message, sizeof err->message, fmt, args);
}

int pc_error_set(struct paco_error *err, int code, const char *fmt, ...)
{
    if (err) {
        va_list args;
        va_start(args, fmt);
        write_message(err, code, fmt, args);
        va_end(args);
    }
    return code;
}

static int code_of_errno(int e)
{
    switch (e) {
    case ENOMEM: return PACO_EMEM;
    case ENOENT:
    case ENOTDIR: return PACO_ENOENT;
    case ENOSPC:
    case EDQUOT: return PACO_ENOSPC;
    case EEXIST:
    case ENOTEMPTY: return PACO_EEXIST;
    default: return PACO_EIO;
    }
}

int pc_error_os(struct paco_error *err, int errno_value, const char *fmt, ...)
{
    int code = code_of_errno(errno_value);
    if (err) {
        va_list args;
        va_start(args, fmt);
        write_message(err, code, fmt, args);
        va_end(args);
        size_t len = strlen(err->message);
        snprintf(err->message + len, sizeof err->message - len, ": %s", strerror(errno_value));
    }
    return code;
}

int pc_error_mem(struct paco_error *err, uint64_t size, const char *what)
{
    return pc_error_set(err, PACO_EMEM, "out of memory: %llu bytes for %s", (unsigned long long)size, what);
}

int pc_error_path(struct paco_error *err, const char *path)
{
    if (!err)
        return 0;
    if (!err->path[0] && path) {
        size_t len = strlen(path);
        const size_t room = sizeof err->path - 1;
        if (len <= room)
            memcpy(err->path, path, len + 1);
        else
            snprintf(err->path, sizeof err->path, "...%s", path + (len - (room - 3)));
    }
    return err->code;
}

int pc_error_at(struct paco_error *err, const char *path, uint64_t offset)
{
    if (err && !err->has_offset) {
        err->has_offset = true;
        err->offset = offset;
    }
    return pc_error_path(err, path);
}

int pc_error_file(struct paco_error *err, int code, const char *path, uint64_t offset, const char *fmt, ...)
{
    if (err) {
        va_list args;
        va_start(args, fmt);
        write_message(err, code, fmt, args);
        va_end(args);
        pc_error_at(err, path, offset);
    }
    return code;
}

int pc_error_prefix(struct paco_error *err, const char *fmt, ...)
{
    if (!err)
        return PACO_EINVAL;
    char old[sizeof err->message];
    memcpy(old, err->message, sizeof old);
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n;
    if (len < sizeof err->message)
        snprintf(err->message + len, sizeof err->message - len, ": %s", old);
    return err->code;
}

char *pc_printable(const char *text, char *out, size_t out_size)
{
    size_t w = 0, len = strlen(text);
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        size_t n = pc_utf8_decode((const uint8_t *)text + i, len - i, &cp);
        bool safe = n > 0 && pc_is_harmless(cp);
        if (safe && w + n < out_size) {
            memcpy(out + w, text + i, n);
            w += n;
            i += n;
        } else if (!safe && w + 4 < out_size) {
            w += (size_t)snprintf(out + w, out_size - w, "\\x%02x", (unsigned char)text[i]);
            i++;
        } else {
            break;
        }
    }
    if (out_size)
        out[w] = '\0';
    return out;
}

char *pc_error_format(const struct paco_error *err, char *out, size_t out_size)
{
    char raw[sizeof err->path + sizeof err->message + 64];
    char where[40] = "";
    if (err->has_offset)
        snprintf(where, sizeof where, " (at byte %llu)", (unsigned long long)err->offset);
    snprintf(raw, sizeof raw, "%s%s%s%s", err->path, err->path[0] ? ": " : "",
        err->message[0] ? err->message : paco_code_name(err->code), where);
    return pc_printable(raw, out, out_size);
}
