// SPDX-License-Identifier: Apache-2.0
/* Sources that are not used as they come. */
#ifndef PC_DATA_UNPACK_H
#define PC_DATA_UNPACK_H

#include "base/error.h"

#include <stddef.h>

/** The CSV files of data/dev, data/val and data/test in the tar file at path, into DIR/dev, DIR/val and
 * DIR/test. Everything else in it is left there, and no name of it leads anywhere else. *n_files: how many.
 * PACO_EFORMAT with the byte for what is no tar file, or an entry that is cut off. */
int pc_unpack_mmlu(const char *path, const char *dir, size_t *n_files, struct paco_error *err);

/** The list EXAMPLARS of the Python file at path, as JSON lines at out. *n: how many. */
int pc_unpack_exemplars(const char *path, const char *out, size_t *n, struct paco_error *err);

/** The dict MGSM_EXEMPLARS of the Python file at path, {language: {number: {"q", "a"}}}, as the member of
 * that name of a JSON object at out. *n: how many languages. */
int pc_unpack_mgsm(const char *path, const char *out, size_t *n, struct paco_error *err);

/** The gzip file at path, unpacked to out. PACO_EFORMAT for what is no gzip, or damaged; PACO_ELIMIT for what
 * becomes more than 200 times its size, and a MiB. */
int pc_unpack_gzip(const char *path, const char *out, struct paco_error *err);

/** The entry of the zip archive at path whose last part is name, unpacked to out. PACO_EFORMAT for what is no
 * zip, an entry that is damaged, and when there is none; PACO_ELIMIT as above, and beyond the size it
 * declares. */
int pc_unpack_zip(const char *path, const char *name, const char *out, struct paco_error *err);

#endif
