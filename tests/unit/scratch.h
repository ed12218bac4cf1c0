// SPDX-License-Identifier: Apache-2.0
/* A directory of its own for a unit test that needs files, gone when the test ends.
 *
 *     struct scratch s;
 *     scratch_open(&s);
 *     const char *path = scratch_write(&s, "model.safetensors", bytes, len);
 *     scratch_close(&s); */
#ifndef PC_TESTS_SCRATCH_H
#define PC_TESTS_SCRATCH_H

#include "unit.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct scratch {
    char dir[256];
    char path[1024]; /* of the last file asked for */
};

static inline void scratch_open(struct scratch *s)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(s->dir, sizeof s->dir, "%s/paco-test-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(s->dir));
}

/** The full path of name in the directory; valid until the next call. */
static inline const char *scratch_path(struct scratch *s, const char *name)
{
    snprintf(s->path, sizeof s->path, "%s/%s", s->dir, name);
    return s->path;
}

/** Create name, and the folders in it, with len bytes. Returns its path, valid until the next call. */
static inline const char *scratch_write(struct scratch *s, const char *name, const void *bytes, size_t len)
{
    scratch_path(s, name);
    for (char *p = s->path + strlen(s->dir) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(s->path, 0777);
        *p = '/';
    }
    FILE *f = fopen(s->path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
    return s->path;
}

static inline const char *scratch_text(struct scratch *s, const char *name, const char *text)
{
    return scratch_write(s, name, text, strlen(text));
}

static inline int scratch_remove(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st, (void)kind, (void)where;
    return remove(path);
}

static inline void scratch_close(struct scratch *s)
{
    nftw(s->dir, scratch_remove, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
