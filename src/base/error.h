// SPDX-License-Identifier: Apache-2.0
/* Writing `struct paco_error`: set at the bottom, prefix on the way up, print once at the top. */
#ifndef PC_BASE_ERROR_H
#define PC_BASE_ERROR_H

#include "paco/error.h"

#include <stddef.h>

#if defined(__GNUC__)
#define PC_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define PC_PRINTF(fmt, args)
#endif

/** Write code and message, dropping whatever err held. err may be NULL. Returns code. */
int pc_error_set(struct paco_error *err, int code, const char *fmt, ...) PC_PRINTF(3, 4);

/** Like pc_error_set with the code and text that errno_value deserves: "MESSAGE: No space left on device". */
int pc_error_os(struct paco_error *err, int errno_value, const char *fmt, ...) PC_PRINTF(3, 4);

/** Out of memory while allocating size bytes for what. Returns PACO_EMEM. */
int pc_error_mem(struct paco_error *err, uint64_t size, const char *what);

/** Name the file, and the byte in it, unless a deeper caller already did. Returns err's code (0 if NULL). */
int pc_error_path(struct paco_error *err, const char *path);
int pc_error_at(struct paco_error *err, const char *path, uint64_t offset);

/** All three in one: code, text, file and the byte in it. Returns code. */
int pc_error_file(struct paco_error *err, int code, const char *path, uint64_t offset, const char *fmt, ...)
    PC_PRINTF(5, 6);

/** Put "PREFIX: " before the message. Returns err's code, or PACO_EINVAL when err is NULL: callers that need
 * the exact code keep it themselves. */
int pc_error_prefix(struct paco_error *err, const char *fmt, ...) PC_PRINTF(2, 3);

/** Render "path: message (at byte N)" into out, control characters and broken UTF-8 escaped as \xNN. Returns
 * out. */
char *pc_error_format(const struct paco_error *err, char *out, size_t out_size);

/** Copy text into out, escaping what a terminal must not receive; for names that come from files. Returns
 * out. */
char *pc_printable(const char *text, char *out, size_t out_size);

#if defined(__clang_analyzer__) && !defined(PC_ERROR_C)
/* The analyzer cannot see that these never return 0, and would follow paths that do not exist. */
#define pc_error_set(err, code, ...) (pc_error_set(err, code, __VA_ARGS__), (code))
#define pc_error_os(err, errno_value, ...) (pc_error_os(err, errno_value, __VA_ARGS__), PACO_EIO)
#define pc_error_mem(err, size, what) (pc_error_mem(err, size, what), PACO_EMEM)
#define pc_error_path(err, path) (pc_error_path(err, path), PACO_EIO)
#define pc_error_at(err, path, offset) (pc_error_at(err, path, offset), PACO_EFORMAT)
#define pc_error_prefix(err, ...) (pc_error_prefix(err, __VA_ARGS__), PACO_EIO)
#endif

#endif
