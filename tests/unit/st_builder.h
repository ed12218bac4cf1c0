// SPDX-License-Identifier: Apache-2.0
/* safetensors files by hand, for tests of what stands above the reader: F32 tensors filled with a formula. */
#ifndef PC_TESTS_ST_BUILDER_H
#define PC_TESTS_ST_BUILDER_H

#include "scratch.h"

struct st_tensor {
    const char *name;
    int rows, cols; /* cols 0: a vector */
    float first;    /* element i is first + i */
};

/** Write a safetensors file of n tensors under name in s. Returns its path, valid until the next call. */
static inline const char *st_write(
    struct scratch *s, const char *name, const struct st_tensor *tensors, int n)
{
    static char bytes[1 << 20];
    size_t w = 8, begin = 0;
    for (int i = 0; i < n; i++) {
        const struct st_tensor *t = &tensors[i];
        size_t size = 4 * (size_t)t->rows * (size_t)(t->cols ? t->cols : 1);
        w += (size_t)sprintf(
            bytes + w, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%d", i ? "," : "{", t->name, t->rows);
        w += (size_t)(t->cols ? sprintf(bytes + w, ",%d]", t->cols) : sprintf(bytes + w, "]"));
        w += (size_t)sprintf(bytes + w, ",\"data_offsets\":[%zu,%zu]}", begin, begin + size);
        begin += size;
    }
    w += (size_t)sprintf(bytes + w, n ? "}" : "{}");
    while (w % 8)
        bytes[w++] = ' ';
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)((w - 8) >> (8 * i));
    for (int i = 0; i < n; i++)
        for (int j = 0; j < tensors[i].rows * (tensors[i].cols ? tensors[i].cols : 1); j++) {
            float x = tensors[i].first + (float)j;
            assert_true(w + 4 <= sizeof bytes);
            memcpy(bytes + w, &x, 4);
            w += 4;
        }
    return scratch_write(s, name, bytes, w);
}

#endif
