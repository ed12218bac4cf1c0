// SPDX-License-Identifier: Apache-2.0
/* Between comm.c and the module that knows MPI. The module exports pc_comm_module and nothing else. Functions
 * return 0, or -1 after writing what is wrong into why (WHY_SIZE bytes). */
#ifndef PC_BASE_COMM_MODULE_H
#define PC_BASE_COMM_MODULE_H

#include <stddef.h>

enum { PC_COMM_MODULE_VERSION = 1, PC_COMM_WHY_SIZE = 512 };

struct pc_comm_module {
    int version;
    int (*open)(int *rank, int *size, char *why);
    int (*send)(int to, const void *bytes, size_t len, char *why); /* copies; does not wait */
    /** 1: a message of *len bytes from *from waits to be received; 0: none does. Also moves on what is being
     * sent. */
    int (*probe)(int *from, size_t *len, char *why);
    int (*receive)(int from, void *bytes, size_t len, char *why);
    int (*flush)(char *why); /* wait until all is sent */
    int (*barrier)(char *why);
    int (*broadcast)(void *bytes, size_t len, char *why);
    int (*close)(char *why);
    void (*abort)(int code);
};

extern const struct pc_comm_module pc_comm_module;

#endif
