// SPDX-License-Identifier: Apache-2.0
/* The data sets of `paco data fetch`, as a table. */
#ifndef PC_DATA_SOURCES_H
#define PC_DATA_SOURCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pc_data_kind {
    PC_DATA_PLAIN,          /* as it comes */
    PC_DATA_MMLU_TAR,       /* dev, val and test of data.tar, unpacked below path */
    PC_DATA_GSM_EXEMPLARS,  /* the list EXAMPLARS of a Python file, as JSON lines */
    PC_DATA_MGSM_EXEMPLARS, /* the dict MGSM_EXEMPLARS of a Python file, as that member of a JSON object */
    PC_DATA_GZIP,           /* unpacked */
    PC_DATA_ZIP,            /* the entry of a zip archive that is called as path's last part */
};

struct pc_data_file {
    const char *path; /* below the data folder: upstream's data/eval, or data/raw_train */
    const char *url;
    uint64_t size;      /* bytes of what comes; 0: not known */
    const char *digest; /* of what comes: its SHA-256 (64 digits), or its name in git (40); NULL: not known */
    enum pc_data_kind kind;
};

struct pc_data_set {
    const char *name, *summary, *licence;
    bool card; /* part of `paco data fetch eval` */
    const struct pc_data_file *files;
    size_t n_files;
    bool training; /* to be tuned on, and part of `paco data fetch train`; else to be scored with */
};

/** Ends with a row of zeros. */
extern const struct pc_data_set pc_data_sets[];
/** NULL when there is none. */
const struct pc_data_set *pc_data_set_find(const char *name);

#endif
