// SPDX-License-Identifier: Apache-2.0
/* What a file's bytes are called: by their SHA-256, and by git. */
#ifndef PC_BASE_FILE_DIGEST_H
#define PC_BASE_FILE_DIGEST_H

#include "base/digest.h"

/** Let h go on with the bytes of the file at path. Errors are those of reading. */
int pc_sha256_update_file(struct pc_sha256 *h, const char *path, struct paco_error *err);

/** The SHA-256 of the file at path, in lower-case hexadecimal. Errors are those of reading. */
int pc_file_sha256(const char *path, char hex[PC_SHA256_HEX], struct paco_error *err);

/** The name git has for a file of these bytes: SHA-1 of "blob SIZE", a NUL, and the bytes. */
#define PC_GIT_BLOB_HEX 41
int pc_git_blob(const char *path, char hex[PC_GIT_BLOB_HEX], struct paco_error *err);

#endif
