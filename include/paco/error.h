// SPDX-License-Identifier: Apache-2.0
/* Errors: one small struct the caller owns.
 *
 * Every function that can fail returns 0 or a negative `enum paco_code` and takes, as its last parameter, a
 * `struct paco_error *` which may be NULL. The function that meets the failure writes it; callers on the way
 * up put what they were doing in front of it. Nothing in the library prints or exits.
 *
 *     struct paco_error err = {0};
 *     if (paco_recover(&options, &result, &err) < 0)
 *         fprintf(stderr, "%s%s%s\n", err.path, *err.path ? ": " : "", err.message);
 */
#ifndef PACO_ERROR_H
#define PACO_ERROR_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum paco_code {
    PACO_OK = 0,
    PACO_EINVAL = -1,       /* an argument or option makes no sense */
    PACO_EMEM = -2,         /* memory could not be had */
    PACO_EIO = -3,          /* the operating system refused a read or a write */
    PACO_ENOENT = -4,       /* a file, tensor or model that should be there is not */
    PACO_EFORMAT = -5,      /* a file is malformed */
    PACO_EUNSUPPORTED = -6, /* well formed, but not something paco does */
    PACO_EMISMATCH = -7,    /* two inputs that do not belong together */
    PACO_ELIMIT = -8,       /* larger, deeper or more numerous than the stated bound */
    PACO_EEXIST = -9,       /* the output exists and `force` was not given */
    PACO_ENOSPC = -10,      /* the disk is full, or would be */
    PACO_ECANCELLED = -11,  /* the caller's progress callback asked to stop */
    PACO_EVERIFY = -12,     /* a comparison or checksum failed */
};

/** What went wrong, for people (message) and for programs (code, path, offset).
 *
 *  Allocated by the caller, zeroed before first use; holds no pointers and needs no release. */
struct paco_error {
    int code;           /* 0 or a negative enum paco_code */
    bool has_offset;    /* offset below is meaningful */
    uint64_t offset;    /* bytes from the start of the file at path */
    char path[512];     /* the file concerned, or empty; shortened from the left when too long */
    char message[1024]; /* bounded, UTF-8, no trailing newline */
};

/** The stable lower-case name of a code ("format", "mismatch", ...), for JSON and tests. Static storage. */
const char *paco_code_name(int code);

#ifdef __cplusplus
}
#endif
#endif
