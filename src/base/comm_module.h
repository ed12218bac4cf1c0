// SPDX-License-Identifier: Apache-2.0
/* Between comm.c and the module that knows MPI. The module exports pc_comm_module and nothing else. Functions
 * return 0, or -1 after writing what is wrong into why (WHY_SIZE bytes). */
#ifndef PC_BASE_COMM_MODULE_H
#define PC_BASE_COMM_MODULE_H

#include "base/comm.h"

#include <stddef.h>

enum { PC_COMM_MODULE_VERSION = 2, PC_COMM_WHY_SIZE = 512 };

struct pc_comm_module {
    int version;
    /** *threads: whether another thread than this one may call, one at a time. */
    int (*open)(int *rank, int *size, bool *threads, char *why);
    int (*send)(int to, const void *bytes, size_t len, char *why); /* copies; does not wait */
    /** 1: a message of *len bytes from *from waits to be received; 0: none does. Also moves on what is being
     * sent. */
    int (*probe)(int *from, size_t *len, char *why);
    int (*receive)(int from, void *bytes, size_t len, char *why);
    int (*flush)(char *why); /* wait until all is sent */
    int (*barrier)(char *why);
    int (*broadcast)(void *bytes, size_t len, char *why);
    /** Begin to move n parts; *handle is to be tested until it is done. */
    int (*post)(const struct pc_comm_part *part, int n, void **handle, char *why);
    int (*test)(void *handle, char *why); /* 1: all its parts have moved, and it is gone; 0: not yet */
    int (*close)(char *why);
    void (*abort)(int code);
};

extern const struct pc_comm_module pc_comm_module;

#endif
