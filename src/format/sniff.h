// SPDX-License-Identifier: Apache-2.0
/* What a file is by its first bytes, and the words for a file that is not what its name promises.
 *
 * Weights that were never downloaded come as git-lfs pointers, error pages, empty or zeroed files. Every
 * reader calls pc_sniff first and hands what it cannot read to pc_sniff_refuse, so that all of them say the
 * same helpful thing. */
#ifndef PC_FORMAT_SNIFF_H
#define PC_FORMAT_SNIFF_H

#include "base/error.h"
#include "base/file.h"

enum pc_file_kind {
    PC_FILE_UNKNOWN,
    PC_FILE_EMPTY,
    PC_FILE_SAFETENSORS,
    PC_FILE_GGUF,
    PC_FILE_ZIP,    /* a zip archive: PyTorch since 1.6, but also .npz, .docx ... */
    PC_FILE_PICKLE, /* a pickle: PyTorch before 1.6, or anything Python */
    PC_FILE_TAR,    /* a tar archive: PyTorch before 0.2 */
    PC_FILE_GZIP,
    PC_FILE_ZSTD,
    PC_FILE_XZ,
    PC_FILE_HDF5,
    PC_FILE_NPY,
    PC_FILE_LFS_POINTER,
    PC_FILE_HTML,
    PC_FILE_XML,
    PC_FILE_JSON,
    PC_FILE_TEXT,  /* short and printable: "Entry not found", "Access to model ... is restricted" */
    PC_FILE_ZEROS, /* starts with a kilobyte of zeros: space reserved for a download that did not finish */
    PC_N_FILE_KINDS
};

/** Set *kind from the first kilobyte of f. Fails only if the file cannot be read. Thread-safe. */
int pc_sniff(const struct pc_file *f, enum pc_file_kind *kind, struct paco_error *err);

/** Set err to "is a git-lfs pointer, not ... : run `git lfs pull`", or what else fits kind and helps; wanted
 * is what the caller reads, with its article: "a PyTorch checkpoint". Returns PACO_EFORMAT. */
int pc_sniff_refuse(
    const struct pc_file *f, enum pc_file_kind kind, const char *wanted, struct paco_error *err);

#endif
